"""Graph validation for `POST /prompt`, with ComfyUI's order of checks and error messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_instances.protocol.lora_files import is_uploaded_lora
from comfy_instances.simulator.validation import refusals
from comfy_instances.simulator.validation.input_specs import InputSpec, expand_input_specs
from comfy_instances.simulator.validation.refusals import PromptError

Graph = dict[str, Any]

#: Node class -> the input that must name an existing file, and the kind of file.
FILE_INPUTS: Mapping[str, tuple[str, str]] = {
    "LoadImage": ("image", "image"),
    "LoadImageMask": ("image", "image"),
    "LoadImageOutput": ("image", "image"),
    "LoadLatent": ("latent", "latent"),
    "LoadAudio": ("audio", "audio"),
    "LoadVideo": ("file", "video"),
    "PixelFactoryImage": ("image", "image"),
    "PixelFactoryMask": ("image", "image"),
    "PixelFactoryAudio": ("audio", "audio"),
    "PixelFactoryVideo": ("file", "video"),
}
#: Node class -> inputs that accept any value.
UNCHECKED_INPUTS: Mapping[str, frozenset[str]] = {
    "CustomCombo": frozenset({"choice"}),
    "PixelFactoryChoice": frozenset({"value"}),
    "PixelFactoryImages": frozenset({"images"}),
}

#: Suffixes of weight files. The simulator treats every weight file as present.
WEIGHT_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf")

#: Exceptions that a malformed graph raises in the checks: dangling links, nodes without inputs.
MALFORMED_GRAPH_ERRORS = (LookupError, TypeError, AttributeError, ValueError, RecursionError)

_CONVERTERS: Mapping[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The result of validating a graph."""

    #: The reason for rejecting the graph; None if it is accepted.
    error: PromptError | None = None
    #: Output nodes that will run.
    outputs: list[str] = field(default_factory=list)
    #: Node id -> its errors, the outputs that they disable, and its class. May be set when `outputs` is too.
    node_errors: dict[str, Any] = field(default_factory=dict)


def validate_graph(
    graph: Graph,
    node_facts: Mapping[str, Any],
    *,
    has_file: Callable[[str], bool],
    targets: list[str] | None = None,
) -> ValidationResult:
    """Validate everything that the outputs of `graph` need; convert literal values in place.

    `has_file` returns whether the file of an annotated name (`x.png [temp]`) exists; `targets` limits
    the outputs.
    """
    outputs = []
    for node_id, node in graph.items():
        if "class_type" not in node or node["class_type"] not in node_facts:
            return ValidationResult(refusals.missing_node_type(node_id, node))
        if node_facts[node["class_type"]]["output_node"] and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return ValidationResult(refusals.prompt_no_outputs())
    return _GraphValidator(graph, node_facts, has_file).validate_outputs(outputs)


@dataclass(slots=True)
class _GraphValidator:
    graph: Graph
    node_facts: Mapping[str, Any]
    has_file: Callable[[str], bool]
    #: Node id -> whether it and everything upstream is valid, and its own errors.
    node_results: dict[str, tuple[bool, list[PromptError]]] = field(default_factory=dict)

    def validate_outputs(self, outputs: list[str]) -> ValidationResult:
        good: list[str] = []
        failures: list[PromptError] = []
        node_errors: dict[str, Any] = {}
        for output in outputs:
            try:
                valid, reasons = self.validate_node(output, [])
            except MALFORMED_GRAPH_ERRORS as error:
                valid, reasons = False, [refusals.exception_during_validation(error)]
                self.node_results[output] = (valid, reasons)
            if valid:
                good.append(output)
                continue
            failures += reasons
            self._add_node_errors(output, node_errors)
        return ValidationResult(
            None if good else refusals.prompt_outputs_failed_validation(failures), good, node_errors
        )

    def _add_node_errors(self, output: str, node_errors: dict[str, Any]) -> None:
        for node_id, (_, reasons) in self.node_results.items():
            if reasons:
                entry = node_errors.setdefault(
                    node_id,
                    {
                        "errors": reasons,
                        "dependent_outputs": [],
                        "class_type": self.graph[node_id]["class_type"],
                    },
                )
                entry["dependent_outputs"].append(output)

    def validate_node(self, node_id: str, path: list[str]) -> tuple[bool, list[PromptError]]:
        if node_id in self.node_results:
            return self.node_results[node_id]
        if node_id in path:
            return self._mark_cycle(path[path.index(node_id) :])
        node = self.graph[node_id]
        class_type, values = node["class_type"], node["inputs"]
        valid, errors = True, []
        for spec in expand_input_specs(self.node_facts[class_type], values).values():
            upstream, error = self._validate_input(class_type, spec, values, [*path, node_id])
            valid = valid and upstream
            errors += [error] if error else []
        errors += self._find_missing_files(class_type, values)
        before, known = self.node_results.get(node_id, (True, []))
        errors = known + [error for error in errors if error not in known]
        self.node_results[node_id] = (before and valid and not errors, errors)
        return self.node_results[node_id]

    def _mark_cycle(self, nodes: list[str]) -> tuple[bool, list[PromptError]]:
        path = " -> ".join(f"{node} ({self.graph[node]['class_type']})" for node in [*nodes, nodes[0]])
        for node in nodes:
            self.node_results[node] = (False, [refusals.dependency_cycle(node, path, nodes)])
        return self.node_results[nodes[0]]

    def _validate_input(
        self, class_type: str, spec: InputSpec, values: dict[str, Any], path: list[str]
    ) -> tuple[bool, PromptError | None]:
        """Return whether everything upstream of the input is valid, and the error of the input itself."""
        if spec.name not in values:
            return True, refusals.required_input_missing(spec) if spec.required else None
        if isinstance(values[spec.name], list):
            return self._validate_link(spec, values[spec.name], path)
        return True, self._validate_literal(class_type, spec, values)

    def _validate_link(
        self, spec: InputSpec, link: list[Any], path: list[str]
    ) -> tuple[bool, PromptError | None]:
        if len(link) != 2:
            return True, refusals.bad_linked_input(spec, link)
        source, slot = link
        received = self.node_facts[self.graph[source]["class_type"]]["output"][slot]
        if not is_type_compatible(received, spec.type):
            return True, refusals.return_type_mismatch(spec, link, received)
        try:
            return self.validate_node(source, path)[0], None
        except MALFORMED_GRAPH_ERRORS as error:
            self.node_results[source] = (
                False,
                [refusals.exception_during_inner_validation(spec, link, error)],
            )
            return False, None

    def _validate_literal(
        self, class_type: str, spec: InputSpec, values: dict[str, Any]
    ) -> PromptError | None:
        value = values[spec.name]
        if isinstance(value, dict) and "__value__" in value:
            value = values[spec.name] = value["__value__"]
        convert = _CONVERTERS.get(spec.type) if isinstance(spec.type, str) else None
        if convert is not None:
            try:
                value = values[spec.name] = convert(value)
            except (TypeError, ValueError, OverflowError) as error:
                return refusals.invalid_input_type(spec, value, error)
        own_check = FILE_INPUTS.get(class_type, ("", ""))[0] == spec.name
        if own_check or spec.name in UNCHECKED_INPUTS.get(class_type, ()):
            return None
        return _validate_range(spec, value)

    def _find_missing_files(self, class_type: str, values: Mapping[str, Any]) -> list[PromptError]:
        name, kind = FILE_INPUTS.get(class_type, ("", ""))
        value = values.get(name)
        if value is None or isinstance(value, list) or self.has_file(value):
            return []
        return [refusals.custom_validation_failed(name, f"Invalid {kind} file: {value}")]


def is_type_compatible(received: Any, expected: Any) -> bool:
    """Return whether an output type may link to an input type; both may be comma-separated lists."""
    if received == expected or {"*", "COMFY_MATCHTYPE_V3"} & {str(received), str(expected)}:
        return True
    if isinstance(received, list) and expected == "COMBO":
        return True
    if not isinstance(received, str) or not isinstance(expected, str):
        return False
    ours, theirs = ({part.strip() for part in types.split(",")} for types in (received, expected))
    return bool(ours & theirs) or "*" in ours | theirs


def _validate_range(spec: InputSpec, value: Any) -> PromptError | None:
    if "min" in spec.options and value < spec.options["min"]:
        return refusals.value_smaller_than_min(spec, value)
    if "max" in spec.options and value > spec.options["max"]:
        return refusals.value_bigger_than_max(spec, value)
    choices = spec.choices
    if choices is None or value in choices or _is_weight_file_choice(choices, value):
        return None
    if spec.options.get("multiselect") and isinstance(value, list) and set(value) <= set(choices):
        return None
    return refusals.value_not_in_list(spec, value, choices)


def _is_weight_file_choice(choices: list[Any], value: Any) -> bool:
    """Return whether `choices` is a list of weight files, recorded without any, and `value` is a weight file.

    Uploaded LoRAs must exist, as on a real instance.
    Loaders list built-in choices together with the files, such as `pixel_space` in VAELoader.
    """
    listed = [choice for choice in choices if choice not in ("pixel_space", "none")]
    plausible = isinstance(value, str) and value.lower().endswith(WEIGHT_SUFFIXES)
    if plausible and is_uploaded_lora(value):
        return False
    return plausible and all(str(choice).lower().endswith(WEIGHT_SUFFIXES) for choice in listed)
