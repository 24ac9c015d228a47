"""Node facts: the inputs and outputs of node classes, from the entries of ComfyUI's `/object_info`.

Inputs that depend on other values (dynamic combos, growing groups) are resolved for given values to a flat
list of plain inputs, named as in an API-format graph (`format.codec`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Class name -> its entry of `/object_info`.
NodeFacts = Mapping[str, Mapping[str, Any]]

# Types whose values are entered in a widget; all others are linked to an output.
# fmt: off
WIDGET_TYPES = frozenset({
    "INT", "FLOAT", "BOOLEAN", "STRING", "MARKDOWN", "COMBO", "IMAGEUPLOAD", "COLOR", "IMAGECOMPARE",
    "BOUNDING_BOX", "BOUNDING_BOXES", "CHART", "GALLERIA", "PAINTER", "COMPOSITOR", "TEXTAREA", "CURVE",
    "RANGE", "VIDEO_EDIT", "RESOLUTION_PREVIEW", "LIGHT_INFO_PREVIEW", "COLORS", "LOAD_3D",
    "LOAD_3D_ADVANCED", "PREVIEW_3D", "AUDIO_UI", "AUDIOUPLOAD", "AUDIO_RECORD", "WEBCAM",
    "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICGROUP_V3",
})
# fmt: on
ANY_TYPE = "*"
_DYNAMIC_COMBO, _AUTOGROW = "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3"
#: Types of inputs that expand to others, depending on values.
_DYNAMIC_TYPES = frozenset({_DYNAMIC_COMBO, _AUTOGROW})
#: Names of seed inputs.
SEED_INPUT_NAMES = ("seed", "noise_seed")
#: Settings of numbers, and what is no number of a range: infinity, and integers that no float can be.
_RANGE = ("min", "max", "step")
_MAX_NUMBER = 10.0**300
_NUMBERED_DEVICE = re.compile(r"(?:cuda|xpu|npu|mlu|mps|directml):\d+")
_UPLOAD_FLAGS = frozenset({"image_upload", "video_upload", "audio_upload", "file_upload"})


@dataclass(frozen=True, slots=True)
class NodeInput:
    """One input of a node."""

    name: str
    #: ComfyUI's type name, several separated by commas; `*` accepts all. Every option list is a COMBO.
    type: str
    required: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Options of a COMBO; None if unknown.
    choices: tuple[Any, ...] | None = None

    @property
    def is_widget(self) -> bool:
        """Whether a value may be entered in a widget."""
        kind = self.options.get("widgetType") or self.type
        return kind in WIDGET_TYPES and not self.is_link_only

    @property
    def is_link_only(self) -> bool:
        """Whether the input must be linked although its type has a widget."""
        return bool(self.options.get("forceInput") or self.options.get("defaultInput"))

    @property
    def default(self) -> Any:
        """The initial value of the widget; None if unknown."""
        if "default" in self.options:
            return self.options["default"]
        if self.choices is not None or self.type == "COMBO":
            return self.choices[0] if self.choices else None
        return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(self.type, "" if self.is_widget else None)

    @property
    def accepts_uploads(self) -> bool:
        """Whether its options are uploaded files."""
        return not _UPLOAD_FLAGS.isdisjoint(self.options) and any(
            self.options.get(flag) for flag in _UPLOAD_FLAGS
        )


def types_overlap(one: str, other: str) -> bool:
    """Return whether two type names, each perhaps several separated by commas, have one in common.

    By ComfyUI's rule, an output of the one type may then be linked to an input of the other.
    """
    ones, others = set(one.split(",")), set(other.split(","))
    return ANY_TYPE in ones | others or bool(ones & others)


class ParsedEntry(dict[str, Any]):
    """An entry whose inputs are parsed when they are first asked for, and not again. Not to be changed."""

    __slots__ = ("_declared", "_resolved")

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        self._declared: tuple[NodeInput, ...] | None = None
        self._resolved: dict[str, NodeInput] = {}

    @property
    def declared(self) -> tuple[NodeInput, ...]:
        """The inputs as the class declares them."""
        if self._declared is None:
            declared = tuple(_parse_inputs(self))
            if not any(item.type in _DYNAMIC_TYPES for item in declared):
                self._resolved = _expand_inputs(declared, {})
            self._declared = declared
        return self._declared

    def resolve(self, values: Mapping[str, Any]) -> Mapping[str, NodeInput]:
        """Return all inputs that a node has for the given `values`."""
        declared = self.declared
        return self._resolved or _expand_inputs(declared, values)


def parse_once(facts: NodeFacts) -> NodeFacts:
    """Return the same facts, for graphs of many nodes: the inputs of each class are parsed once."""
    return {
        name: entry if isinstance(entry, ParsedEntry) else ParsedEntry(entry) for name, entry in facts.items()
    }


def declared_inputs(entry: Mapping[str, Any]) -> Iterable[NodeInput]:
    """Return the inputs as the class declares them, unresolved, in the order of the node's widgets."""
    return entry.declared if isinstance(entry, ParsedEntry) else _parse_inputs(entry)


def _parse_inputs(entry: Mapping[str, Any]) -> Iterator[NodeInput]:
    order = entry.get("input_order") or {}
    for section in ("required", "optional"):
        specs = entry["input"].get(section) or {}
        names = [name for name in order.get(section) or specs if name in specs]
        for name in names:
            yield _parse_input(name, specs[name], section == "required")


def resolve_inputs(entry: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, NodeInput]:
    """Return all inputs that the node has for the given `values`, by name."""
    if isinstance(entry, ParsedEntry):
        return entry.resolve(values)
    return _expand_inputs(declared_inputs(entry), values)


def _expand_inputs(declared: Iterable[NodeInput], values: Mapping[str, Any]) -> dict[str, NodeInput]:
    return {item.name: item for each in declared for item in expand_dynamic_input(each, values)}


class InputResolver:
    """Resolves the inputs of the nodes of a graph; the entry of each class is parsed once."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts
        self._entries: dict[str, ParsedEntry] = {}

    def resolve(self, class_type: str, values: Mapping[str, Any]) -> Mapping[str, NodeInput]:
        """Return all inputs that a node has for the given `values`; none for an unknown class."""
        entry = self._facts.get(class_type)
        if not entry:
            return {}
        if class_type not in self._entries:
            self._entries[class_type] = entry if isinstance(entry, ParsedEntry) else ParsedEntry(entry)
        return self._entries[class_type].resolve(values)


def expand_dynamic_input(item: NodeInput, values: Mapping[str, Any]) -> Iterator[NodeInput]:
    """Yield `item`, or the inputs that a dynamic input expands to."""
    if item.type == _DYNAMIC_COMBO:
        yield item
        for sub in dynamic_combo_inputs(item, values.get(item.name, (item.choices or (None,))[0])):
            yield from expand_dynamic_input(sub, values)
    elif item.type == _AUTOGROW:
        yield from _expand_autogrow(item, values)
    else:
        yield item


def dynamic_combo_inputs(item: NodeInput, selected_option: Any) -> list[NodeInput]:
    """Return the inputs that the option `selected_option` of a dynamic combo adds, unresolved."""
    for option in item.options.get("options", ()):
        if option["key"] == selected_option:
            sections = option.get("inputs") or {}
            return [
                _parse_input(f"{item.name}.{name}", spec, section == "required" and item.required)
                for section in ("required", "optional")
                for name, spec in (sections.get(section) or {}).items()
            ]
    return []


def output_types(entry: Mapping[str, Any]) -> list[str]:
    """Return the types of a node's outputs, by slot."""
    return [_output_type_name(type) for type in entry.get("output") or ()]


def _expand_autogrow(item: NodeInput, values: Mapping[str, Any]) -> Iterator[NodeInput]:
    """Yield the members of a growing group that are required or have a value."""
    template = item.options.get("template") or {}
    sections = template.get("input") or {}
    specs = (sections.get("required") or {}) | (sections.get("optional") or {})
    if not specs:
        return
    spec = next(iter(specs.values()))
    names = template.get("names")
    if names is None:
        names = [f"{template.get('prefix', '')}{index}" for index in range(template.get("max", 100))]
    for index, name in enumerate(names):
        full = f"{item.name}.{name}"
        needed = item.required and index < template.get("min", 0)
        if needed or full in values:
            yield _parse_input(full, spec, needed)


def _parse_input(name: str, spec: Any, required: bool) -> NodeInput:
    type, options = _split_input_spec(spec)
    if isinstance(type, list):
        return NodeInput(name, "COMBO", required, options, None if _lists_devices(type) else tuple(type))
    if type == "COMFY_MATCHTYPE_V3":
        return NodeInput(
            name, str((options.get("template") or {}).get("allowed_types", ANY_TYPE)), required, options
        )
    if type == _DYNAMIC_COMBO:
        keys = tuple(option["key"] for option in options.get("options", ()))
        return NodeInput(name, type, required, options, keys)
    listed = options.get("options") if type == "COMBO" else None
    return NodeInput(name, str(type), required, options, None if listed is None else tuple(listed))


def _lists_devices(choices: list[Any]) -> bool:
    """Return whether the choices are the devices of the server that gave the facts; others have others."""
    return "cpu" in choices and all(
        choice == "cpu" or (isinstance(choice, str) and _NUMBERED_DEVICE.fullmatch(choice))
        for choice in choices
    )


def _split_input_spec(spec: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return the type and options of an input's entry, which may be a bare type."""
    if not isinstance(spec, list | tuple):
        return spec, {}
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
    if spec[0] in ("INT", "FLOAT") and not all(_is_number(options.get(name, 0)) for name in _RANGE):
        # Of packs: ComfyUI's page takes any text for a number, and its server fails on it at a run only.
        options = {key: value for key, value in options.items() if key not in _RANGE or _is_number(value)}
    return spec[0], options


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < _MAX_NUMBER


def _output_type_name(type: Any) -> str:
    if isinstance(type, list):
        return "COMBO"
    # The type of such an output is that of the link to the matching input.
    return ANY_TYPE if type == "COMFY_MATCHTYPE_V3" else str(type)
