"""Assign the widget values of a UI node to its inputs.

`widgets_values` is positional: one slot for each widget in the order of the class's inputs, with extra slots
for controls that exist only in the UI (what happens to a seed after a run, upload buttons). The positions fit
only the version of the class that saved the file; `WidgetValues.mismatch` says where they do not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.catalog.checks.node_facts import (
    SEED_INPUT_NAMES,
    NodeInput,
    declared_inputs,
    dynamic_combo_inputs,
)
from orchestrator.catalog.import_export.old_classes import read_old_widgets
from orchestrator.catalog.import_export.ui.page_inputs import BUTTON_VALUES, PAGE_INPUTS_BY_CLASS
from orchestrator.catalog.import_export.ui.placements import CONTROLS, Slot, find_only_placement
from orchestrator.catalog.import_export.ui.ui_graph import UiNode

_CONTROL_AFTER_GENERATE = frozenset(CONTROLS)
# Buttons of the 3D loaders have slots, too.
_BUTTON_SLOTS = frozenset({"upload3dmodel", "upload 3d model", "uploadExtraResources", "clear"})
# Flags of inputs for files -> the value of the upload button that the page adds for the first one.
_UPLOAD_BUTTONS = {"image_upload": "image", "video_upload": "image", "audio_upload": ""}
# Values that only the page of a node uses.
_PREVIEW_KEYS = frozenset({"videopreview", "$$canvas-image-preview"})
_SHOWN_HTML = ("<tr>", "<details>", "<img src=")
_SWITCH_TEXTS = ("", "true")
_MAX_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class WidgetValues:
    """The values of a node's widgets, as far as their inputs are known."""

    by_input: Mapping[str, Any]
    #: Why the positions may not be those of the class; empty if they fit.
    mismatch: str = ""
    #: How values of another number were placed, which the author should know; empty if they fit.
    note: str = ""
    #: All values by position, if the inputs of some are not known.
    by_position: Sequence[Any] = ()


def read_widget_values(
    node: UiNode, entry: Mapping[str, Any] | None, *, is_tried: bool = False
) -> WidgetValues:
    """Return the values of a node; without facts (`entry`), those that the file itself names.

    `is_tried` is for one of all versions that a class has had: pages have saved empty texts for switches
    without a value, and `true` where that is the declared default; a server reads them as switches.
    """
    values = node.widget_values
    if isinstance(values, dict):
        return WidgetValues({name: value for name, value in values.items() if name not in _PREVIEW_KEYS})
    listed = _without_shown_text(values or [])
    page_inputs = PAGE_INPUTS_BY_CLASS.get(node.type)
    if page_inputs is not None:
        return WidgetValues(page_inputs(listed))
    old_inputs = read_old_widgets(node.type, listed)
    if old_inputs is not None:
        return WidgetValues(old_inputs)
    if entry is None:
        return _values_by_socket(node, listed)
    saved = {socket.widget for socket in node.inputs if socket.widget}
    layout = _choose_layout(entry, listed, saved).with_buttons(listed, saved)
    found = {name: value for name, value in layout.values.items() if value is not _MISSING}
    # Recent frontends store values by name that are missing in the list.
    missing = layout.values.keys() - found.keys()
    named = {name: node.named_widget_values[name] for name in missing & node.named_widget_values.keys()}
    for name in missing - named.keys():
        default = layout.inputs[name].default
        if default is not None:
            found[name] = default
    linked = {socket.widget for socket in node.inputs if socket.widget and socket.link is not None}
    mismatch = _describe_mismatch(layout, listed, named, linked, _SWITCH_TEXTS if is_tried else ())
    # A fitting number of values, one of which is of another type, is an error.
    is_other_number = bool(mismatch) and not layout.fits(len(listed))
    # Where the file names all widgets, the class has lost none, and further values are those of buttons.
    ignored = BUTTON_VALUES if saved and saved == layout.inputs.keys() else ()
    placed = _place_by_kind(entry, listed, ignored) if is_other_number and not named else None
    if placed is None and mismatch and not named:
        by_socket = _place_by_socket(node, listed, entry)
        if by_socket is not None:
            return by_socket
    if placed is not None:
        return WidgetValues(placed, note=f"{mismatch}; they fit its inputs in one way only")
    return WidgetValues(found | named, mismatch)


def has_own_rule(node: UiNode) -> bool:
    """Return whether the values of a node are read by a rule for its class, whatever its facts."""
    values = node.widget_values
    is_old = isinstance(values, list) and read_old_widgets(node.type, values) is not None
    return is_old or node.type in PAGE_INPUTS_BY_CLASS


def _without_shown_text(values: Sequence[Any]) -> Sequence[Any]:
    """Return the values without the HTML at the end with which pages show the size of a result, or a file."""
    shown = values and isinstance(values[-1], str) and values[-1].startswith(_SHOWN_HTML)
    return values[:-1] if shown else values


def _place_by_socket(node: UiNode, values: Sequence[Any], entry: Mapping[str, Any]) -> WidgetValues | None:
    """Return the values by the names that the file itself has; None if it does not name all of its widgets.

    Recent frontends save a socket for each widget. Widgets that the class has got since have their defaults,
    and those that it has lost are left out, as on ComfyUI's page; but not texts, such as a prompt.
    """
    items = {item.name: item for item in declared_inputs(entry) if item.is_widget}
    saved = _values_by_socket(node, values).by_input
    lost = [name for name in saved if name not in items]
    is_dynamic = any(item.type.startswith("COMFY_DYNAMIC") for item in items.values())
    if (
        len(lost) == len(saved)
        or is_dynamic
        or any(saved[name] and isinstance(saved[name], str) for name in lost)
    ):
        return None
    placed = {
        name: item.default if saved.get(name) is None else _coerce_value(item, saved[name])
        for name, item in items.items()
        if name in saved or item.required
    }
    linked = {socket.widget for socket in node.inputs if socket.widget and socket.link is not None}
    for name, value in placed.items():
        if value is None or (name not in linked and not _has_fitting_type(items[name], value)):
            return None
    names = f", of which the class has no {', '.join(lost)} any more" if lost else ""
    return WidgetValues(placed, note=f"the file names {len(saved)} widgets{names}")


def _place_by_kind(
    entry: Mapping[str, Any], values: Sequence[Any], ignored: Collection[Any]
) -> dict[str, Any] | None:
    """Return the values by input if their kinds allow only one assignment; None otherwise."""
    slots: list[Slot] = []
    for item in declared_inputs(entry):
        if item.type.startswith("COMFY_DYNAMIC"):
            return None
        if item.is_widget:
            slots += [Slot(item), *([Slot(None)] if _has_control_slot(item) else [])]
    return find_only_placement(slots, values, ignored)


_MISSING = object()


@dataclass(slots=True)
class _Layout:
    """One way to assign the positional values to the widgets of a class."""

    values: dict[str, Any]
    inputs: dict[str, NodeInput]
    #: Number of positional values that the widgets take.
    taken: int
    #: Whether the class ends with an upload button, which may have a slot.
    has_upload: bool
    #: Whether the values of widgets that the class no longer has are of their types.
    former_fit: bool = True
    #: Number of values of buttons, which the page of a node adds behind its widgets.
    buttons: int = 0

    def fits(self, count: int) -> bool:
        return count - self.buttons in (self.taken, self.taken + self.has_upload)

    def with_buttons(self, values: Sequence[Any], saved: Set[str]) -> _Layout:
        """Return the layout for values of which the last ones are those of buttons.

        An empty text at the end could also be the value of the class's last widget, and another one the
        value of a widget that the class has lost, unless the file names its widgets (`saved`).
        """
        rest = values[self.taken :]
        if self.fits(len(values)) or not all(value in BUTTON_VALUES for value in rest):
            return self
        last = next(reversed(self.inputs.values()), None)
        texts = [value for value in rest if value is not None]
        may_be_last = last is not None and any(_has_fitting_type(last, text) for text in texts)
        return self if may_be_last and saved != self.inputs.keys() else replace(self, buttons=len(rest))


def _choose_layout(entry: Mapping[str, Any], values: Sequence[Any], saved: Set[str]) -> _Layout:
    """Return the layout that uses each value: with a slot behind each seed, else without missing ones.

    An input that had a widget when the file was saved (`saved`), and must be linked now, has a slot if the
    values fit in no other way.
    """
    whole = _read_layout(entry, _WidgetSlots(values, always_control=True))
    if whole.fits(len(values)):
        return whole
    plain = _read_layout(entry, _WidgetSlots(values))
    former = {item.name for item in declared_inputs(entry) if item.is_link_only} & saved
    if plain.fits(len(values)) or not former:
        return plain
    for always in (True, False):
        old = _read_layout(entry, _WidgetSlots(values, always_control=always), former)
        is_other = _describe_mismatch(old, values, {}, frozenset())
        if old.fits(len(values)) and old.former_fit and not is_other:
            return old
    return plain


def _read_layout(entry: Mapping[str, Any], slots: _WidgetSlots, former: Set[str] = frozenset()) -> _Layout:
    declared = list(declared_inputs(entry))
    widgets = [item for item in declared if item.is_widget or item.name in former]
    required, optional = ([item for item in widgets if item.required is flag] for flag in (True, False))
    slotted = list(_assign_values(required, slots, next(iter(optional), None)))
    has_upload = any(item.accepts_uploads for item in declared) and not slots.skip_upload(required)
    slotted += _assign_values(optional, slots)
    assigned = [(item, value) for item, value in slotted if item.name not in former]
    linked = [(item, value) for item, value in slotted if item.name in former and value is not _MISSING]
    return _Layout(
        values={item.name: value for item, value in assigned},
        inputs={item.name: item for item, _ in assigned},
        taken=slots.taken,
        has_upload=has_upload,
        former_fit=all(_has_fitting_type(item, value) for item, value in linked),
    )


class _WidgetSlots:
    """The positional values, consumed from the front."""

    def __init__(self, values: Sequence[Any], *, always_control: bool = False) -> None:
        self._values = values
        #: Whether every seed has a control, whatever its value.
        self._always_control = always_control
        self.taken = 0

    def take(self) -> Any:
        self.taken += 1
        return self._values[self.taken - 1] if self.taken <= len(self._values) else _MISSING

    def skip_control(self, following: NodeInput | None) -> bool:
        """Skip what happens to a seed after a run; files of old frontends have a boolean or nothing."""
        if self._always_control:
            self.taken += 1
            return True
        value = self._peek()
        is_switch = isinstance(value, bool) and (following is None or following.type != "BOOLEAN")
        is_switch |= value is None
        found = is_switch or (isinstance(value, str) and value in _CONTROL_AFTER_GENERATE)
        self.taken += found
        return found

    def skip_upload(self, required: Sequence[NodeInput]) -> bool:
        """Skip the upload button where some versions of the page add it: behind the required inputs.

        Others add it behind all inputs. A class without optional widgets has it there anyway.
        """
        flags = next((item.options for item in required if item.accepts_uploads), {})
        buttons = [value for flag, value in _UPLOAD_BUTTONS.items() if flags.get(flag)]
        rest = self._values[self.taken :]
        found = len(rest) > 1 and rest[0] in buttons and rest[-1] not in buttons
        self.taken += found
        return found

    def skip_buttons(self) -> None:
        while isinstance(self._peek(), str) and self._peek() in _BUTTON_SLOTS:
            self.taken += 1

    def _peek(self) -> Any:
        return self._values[self.taken] if self.taken < len(self._values) else _MISSING


def _assign_values(
    widgets: Sequence[NodeInput], slots: _WidgetSlots, after: NodeInput | None = None
) -> Iterator[tuple[NodeInput, Any]]:
    """Yield widgets with their values; `after` is the widget that follows the last one."""
    for item, following in zip(widgets, [*widgets[1:], after], strict=False):
        slots.skip_buttons()
        value = slots.take()
        if value is None:
            value = _MISSING if item.default is None else item.default
        yield item, _coerce_value(item, value)
        if item.type == "COMFY_DYNAMICCOMBO_V3":
            selected = item.default if value is _MISSING else value
            inner = [sub for sub in dynamic_combo_inputs(item, selected) if sub.is_widget]
            yield from _assign_values(inner, slots)
        elif _has_control_slot(item) and slots.skip_control(following) and item.type == "COMBO":
            slots.take()  # the filter text of the list in the UI


def _has_control_slot(item: NodeInput) -> bool:
    """Return whether a slot follows that says what happens to the value after a run."""
    if item.type == "INT":
        return bool(item.options.get("control_after_generate", item.name in SEED_INPUT_NAMES))
    return item.type == "COMBO" and bool(item.options.get("control_after_generate"))


def _coerce_value(item: NodeInput, value: Any) -> Any:
    """Convert 20.0 to 20 for an INT: JavaScript frontends do not distinguish them."""
    if item.type == "INT" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _describe_mismatch(
    layout: _Layout,
    values: Sequence[Any],
    named: Mapping[str, Any],
    linked: Set[str],
    switch_texts: Collection[str] = (),
) -> str:
    """Return why the file's values may belong to other widgets; empty if all fit.

    That of a linked input is not used, and may be anything.
    """
    missing = [name for name, value in layout.values.items() if value is _MISSING and name not in named]
    if missing or (len(values) > layout.taken and not layout.fits(len(values))):
        names = ", ".join(layout.values)
        page_only = layout.taken - len(layout.values)
        names += f", and {page_only} that only the page uses" if page_only else ""
        return f"the file has {len(values)} widget values, the class takes {layout.taken} ({names})"
    for name, value in layout.values.items():
        is_switch = layout.inputs[name].type == "BOOLEAN" and isinstance(value, str) and value in switch_texts
        if value is _MISSING or name in linked or is_switch:
            continue
        if not _has_fitting_type(layout.inputs[name], value):
            shown = repr(value)[:_MAX_SHOWN_CHARACTERS]
            return f"the value {shown} at the position of {name} is not a valid {layout.inputs[name].type}"
    return ""


def _has_fitting_type(item: NodeInput, value: Any) -> bool:
    """Return whether a value may be that of a widget; options of lists may be files of another machine."""
    kind = str(item.options.get("widgetType") or item.type)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "INT" | "FLOAT":
            return is_number
        case "BOOLEAN":
            return isinstance(value, bool)
        case "STRING":
            return isinstance(value, str)
        case "COMBO":
            return _is_possible_choice(item, value)
    return True


def _is_possible_choice(item: NodeInput, value: Any) -> bool:
    """Return whether a value is an option, or the name of a file where the options are files."""
    if item.choices is None or item.accepts_uploads or value in item.choices or not item.choices:
        return True
    listed = [str(choice) for choice in item.choices]
    return isinstance(value, str) and "." in value and any("." in choice for choice in listed)


def _values_by_socket(node: UiNode, values: Sequence[Any]) -> WidgetValues:
    """Return the values of an unknown class: by name where the file has a socket for each widget."""
    if node.named_widget_values:
        return WidgetValues(dict(node.named_widget_values))
    slots = _WidgetSlots(values)
    found: dict[str, Any] = {}
    for socket in node.inputs:
        if socket.widget is None:
            continue
        found[socket.widget] = slots.take()
        if socket.widget in SEED_INPUT_NAMES:
            slots.skip_control(None)
    # Older frontends list only the widgets that are linked.
    if slots.taken != len(values):
        return WidgetValues({}, by_position=values)
    return WidgetValues({name: value for name, value in found.items() if value is not _MISSING})
