"""Whether a graph may run: the checks of `POST /prompt`, in ComfyUI's order and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from comfy_instances.simulator.validation import refusals
from comfy_instances.simulator.validation.input_specs import InputSpec, unfold
from comfy_instances.simulator.validation.refusals import Refusal

Graph = dict[str, Any]

#: Nodes that look whether an input file is there: input and kind of file.
FILE_INPUTS: Mapping[str, tuple[str, str]] = {
    "LoadImage": ("image", "image"),
    "LoadImageMask": ("image", "image"),
    "LoadImageOutput": ("image", "image"),
    "LoadLatent": ("latent", "latent"),
    "LoadAudio": ("audio", "audio"),
    "LoadVideo": ("file", "video"),
}
#: Nodes that take any value for these inputs.
UNCHECKED: Mapping[str, frozenset[str]] = {"CustomCombo": frozenset({"choice"})}

#: Endings of files that a loader may name. A simulator has no weights and claims to have them all.
WEIGHT_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".gguf")

#: What a graph of the wrong shape makes the checks stumble over: links to nowhere, nodes without inputs.
MALFORMED = (LookupError, TypeError, AttributeError, ValueError, RecursionError)

_CONVERSIONS: Mapping[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a posted graph."""

    #: Why nothing will run; None if something will.
    error: Refusal | None = None
    #: Output nodes that will run.
    outputs: list[str] = field(default_factory=list)
    #: Node id -> its errors, the outputs that they cost, its class. May be filled beside `outputs`.
    node_errors: dict[str, Any] = field(default_factory=dict)


def validate(
    graph: Graph,
    facts: Mapping[str, Any],
    *,
    has_file: Callable[[str], bool],
    targets: list[str] | None = None,
) -> Verdict:
    """Check all that the outputs of `graph` need; literal values are converted in place.

    `has_file` says whether an annotated name (`x.png [temp]`) is there; `targets` limits the outputs.
    """
    outputs = []
    for node_id, node in graph.items():
        if "class_type" not in node or node["class_type"] not in facts:
            return Verdict(refusals.missing_node_type(node_id, node))
        if facts[node["class_type"]]["output_node"] and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return Verdict(refusals.no_outputs())
    return _Check(graph, facts, has_file).verdict(outputs)


@dataclass(slots=True)
class _Check:
    graph: Graph
    facts: Mapping[str, Any]
    has_file: Callable[[str], bool]
    #: Node id -> valid by itself and upstream, and its own errors.
    checked: dict[str, tuple[bool, list[Refusal]]] = field(default_factory=dict)

    def verdict(self, outputs: list[str]) -> Verdict:
        good: list[str] = []
        failures: list[Refusal] = []
        node_errors: dict[str, Any] = {}
        for output in outputs:
            try:
                valid, reasons = self.node(output, [])
            except MALFORMED as error:
                valid, reasons = False, [refusals.broke_at_output(error)]
                self.checked[output] = (valid, reasons)
            if valid:
                good.append(output)
                continue
            failures += reasons
            self._blame(output, node_errors)
        return Verdict(None if good else refusals.outputs_failed(failures), good, node_errors)

    def _blame(self, output: str, node_errors: dict[str, Any]) -> None:
        for node_id, (_, reasons) in self.checked.items():
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

    def node(self, node_id: str, path: list[str]) -> tuple[bool, list[Refusal]]:
        if node_id in self.checked:
            return self.checked[node_id]
        if node_id in path:
            return self._cycle(path[path.index(node_id) :])
        node = self.graph[node_id]
        class_type, values = node["class_type"], node["inputs"]
        valid, errors = True, []
        for spec in unfold(self.facts[class_type], values).values():
            upstream, error = self._input(class_type, spec, values, [*path, node_id])
            valid = valid and upstream
            errors += [error] if error else []
        errors += self._file_errors(class_type, values)
        before, known = self.checked.get(node_id, (True, []))
        errors = known + [error for error in errors if error not in known]
        self.checked[node_id] = (before and valid and not errors, errors)
        return self.checked[node_id]

    def _cycle(self, nodes: list[str]) -> tuple[bool, list[Refusal]]:
        path = " -> ".join(f"{node} ({self.graph[node]['class_type']})" for node in [*nodes, nodes[0]])
        for node in nodes:
            self.checked[node] = (False, [refusals.cycle(node, path, nodes)])
        return self.checked[nodes[0]]

    def _input(
        self, class_type: str, spec: InputSpec, values: dict[str, Any], path: list[str]
    ) -> tuple[bool, Refusal | None]:
        """Whether what is upstream of the input is valid, and the error of the input itself."""
        if spec.name not in values:
            return True, refusals.input_missing(spec) if spec.required else None
        if isinstance(values[spec.name], list):
            return self._link(spec, values[spec.name], path)
        return True, self._literal(class_type, spec, values)

    def _link(self, spec: InputSpec, link: list[Any], path: list[str]) -> tuple[bool, Refusal | None]:
        if len(link) != 2:
            return True, refusals.bad_link(spec, link)
        source, slot = link
        received = self.facts[self.graph[source]["class_type"]]["output"][slot]
        if not types_meet(received, spec.type):
            return True, refusals.wrong_link_type(spec, link, received)
        try:
            return self.node(source, path)[0], None
        except MALFORMED as error:
            self.checked[source] = (False, [refusals.broke_at_link(spec, link, error)])
            return False, None

    def _literal(self, class_type: str, spec: InputSpec, values: dict[str, Any]) -> Refusal | None:
        value = values[spec.name]
        if isinstance(value, dict) and "__value__" in value:
            value = values[spec.name] = value["__value__"]
        convert = _CONVERSIONS.get(spec.type) if isinstance(spec.type, str) else None
        if convert is not None:
            try:
                value = values[spec.name] = convert(value)
            except (TypeError, ValueError, OverflowError) as error:
                return refusals.not_convertible(spec, value, error)
        own_check = FILE_INPUTS.get(class_type, ("", ""))[0] == spec.name
        if own_check or spec.name in UNCHECKED.get(class_type, ()):
            return None
        return _out_of_range(spec, value)

    def _file_errors(self, class_type: str, values: Mapping[str, Any]) -> list[Refusal]:
        name, kind = FILE_INPUTS.get(class_type, ("", ""))
        value = values.get(name)
        if value is None or isinstance(value, list) or self.has_file(value):
            return []
        return [refusals.failed_own_check(name, f"Invalid {kind} file: {value}")]


def types_meet(received: Any, wanted: Any) -> bool:
    """Whether an output of one type may feed an input of another; either may be a comma list."""
    if received == wanted or {"*", "COMFY_MATCHTYPE_V3"} & {str(received), str(wanted)}:
        return True
    if isinstance(received, list) and wanted == "COMBO":
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    ours, theirs = ({part.strip() for part in types.split(",")} for types in (received, wanted))
    return bool(ours & theirs) or "*" in ours | theirs


def _out_of_range(spec: InputSpec, value: Any) -> Refusal | None:
    if "min" in spec.options and value < spec.options["min"]:
        return refusals.too_small(spec, value)
    if "max" in spec.options and value > spec.options["max"]:
        return refusals.too_big(spec, value)
    choices = spec.choices
    if choices is None or value in choices or _names_weights(choices, value):
        return None
    if spec.options.get("multiselect") and isinstance(value, list) and set(value) <= set(choices):
        return None
    return refusals.not_in_list(spec, value, choices)


def _names_weights(choices: list[Any], value: Any) -> bool:
    """Whether the list is one of weight files, recorded on a machine without any, and `value` a weight file.

    Loaders with built-in choices list them beside the files: `pixel_space` in VAELoader.
    """
    listed = [choice for choice in choices if choice != "pixel_space"]
    plausible = isinstance(value, str) and value.lower().endswith(WEIGHT_SUFFIXES)
    return plausible and all(str(choice).lower().endswith(WEIGHT_SUFFIXES) for choice in listed)
