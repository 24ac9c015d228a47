"""What a node class takes and gives, read from one entry of ComfyUI's `/object_info`.

Inputs that depend on other values (dynamic combos, growing groups) are resolved for the values at hand,
so that what comes out is a flat list of plain inputs, named as in an API-format graph (`format.codec`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Class name -> its entry of `/object_info`.
NodeFacts = Mapping[str, Mapping[str, Any]]

# Types whose values an author enters; all others come through a link.
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
_UPLOAD_FLAGS = ("image_upload", "video_upload", "audio_upload", "file_upload")


@dataclass(frozen=True, slots=True)
class NodeInput:
    """One input of a node."""

    name: str
    #: ComfyUI's type name; several separated by commas; `*` takes all. Every option list is a COMBO.
    type: str
    required: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    #: What a COMBO offers; None where the list is not known.
    choices: tuple[Any, ...] | None = None

    @property
    def is_widget(self) -> bool:
        """Whether an author may enter a value."""
        kind = self.options.get("widgetType") or self.type
        return kind in WIDGET_TYPES and not self.is_link_only

    @property
    def is_link_only(self) -> bool:
        """Whether it is a widget type that only takes a link here."""
        return bool(self.options.get("forceInput") or self.options.get("defaultInput"))

    @property
    def default(self) -> Any:
        """What the widget shows before anybody has touched it; None where that is not known."""
        if "default" in self.options:
            return self.options["default"]
        if self.choices is not None or self.type == "COMBO":
            return self.choices[0] if self.choices else None
        return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(self.type, "" if self.is_widget else None)

    @property
    def accepts_uploads(self) -> bool:
        """Whether its choices are files that callers may add to."""
        return any(self.options.get(flag) for flag in _UPLOAD_FLAGS)

    def accepts_type(self, type: str) -> bool:
        """Whether an output of `type` may be linked to it, by ComfyUI's own rule: some overlap."""
        ours, theirs = set(self.type.split(",")), set(type.split(","))
        return ANY_TYPE in ours | theirs or bool(ours & theirs)


def declared_inputs(entry: Mapping[str, Any]) -> Iterator[NodeInput]:
    """Inputs as the class declares them, unresolved, in the order of the node's widgets."""
    order = entry.get("input_order") or {}
    for section in ("required", "optional"):
        specs = entry["input"].get(section) or {}
        names = [name for name in order.get(section) or specs if name in specs]
        for name in names:
            yield _parse_input(name, specs[name], section == "required")


def resolve_inputs(entry: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, NodeInput]:
    """All inputs that the node has for the given `values`, by name."""
    found: dict[str, NodeInput] = {}
    for declared in declared_inputs(entry):
        found |= {item.name: item for item in expand_dynamic_input(declared, values)}
    return found


def expand_dynamic_input(item: NodeInput, values: Mapping[str, Any]) -> Iterator[NodeInput]:
    """`item`, or the inputs that it stands for."""
    if item.type == "COMFY_DYNAMICCOMBO_V3":
        yield item
        for sub in dynamic_combo_inputs(item, values.get(item.name, (item.choices or (None,))[0])):
            yield from expand_dynamic_input(sub, values)
    elif item.type == "COMFY_AUTOGROW_V3":
        yield from _expand_autogrow(item, values)
    else:
        yield item


def dynamic_combo_inputs(item: NodeInput, selected_option: Any) -> list[NodeInput]:
    """The inputs that the option `selected_option` of a dynamic combo brings with it, unresolved."""
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
    """The types of a node's outputs, by slot."""
    return [_output_type_name(type) for type in entry.get("output") or ()]


def _expand_autogrow(item: NodeInput, values: Mapping[str, Any]) -> Iterator[NodeInput]:
    """The members of a growing group: those that must be there, and those that are."""
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
        return NodeInput(name, "COMBO", required, options, tuple(type))
    if type == "COMFY_MATCHTYPE_V3":
        return NodeInput(
            name, str((options.get("template") or {}).get("allowed_types", ANY_TYPE)), required, options
        )
    if type == "COMFY_DYNAMICCOMBO_V3":
        keys = tuple(option["key"] for option in options.get("options", ()))
        return NodeInput(name, type, required, options, keys)
    listed = options.get("options") if type == "COMBO" else None
    return NodeInput(name, str(type), required, options, None if listed is None else tuple(listed))


def _split_input_spec(spec: Any) -> tuple[Any, Mapping[str, Any]]:
    """Type and options of an input's entry, which may be a bare type."""
    if not isinstance(spec, list | tuple):
        return spec, {}
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
    return spec[0], options


def _output_type_name(type: Any) -> str:
    if isinstance(type, list):
        return "COMBO"
    # The type of such an output is that of whatever is linked to the node's inputs.
    return ANY_TYPE if type == "COMFY_MATCHTYPE_V3" else str(type)
