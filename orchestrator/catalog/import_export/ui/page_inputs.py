"""Inputs that no class declares: a node's own page code adds them, and its class takes whatever it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

PageInputs = Callable[[Sequence[Any]], dict[str, Any]]


def _custom_combo_inputs(values: Sequence[Any]) -> dict[str, Any]:
    """Return the inputs for `[choice, index, option1, option2, ...]`."""
    found = dict(zip(("choice", "index"), values, strict=False))
    return found | {f"option{number}": value for number, value in enumerate(values[2:], start=1)}


def _power_lora_inputs(values: Sequence[Any]) -> dict[str, Any]:
    """Return an input for each row `{"on", "lora", "strength"}`; the other values are buttons."""
    rows = [value for value in values if isinstance(value, dict) and "lora" in value]
    return {f"lora_{number}": row for number, row in enumerate(rows, start=1)}


#: Class -> the inputs for a node's positional values.
PAGE_INPUTS_BY_CLASS: Mapping[str, PageInputs] = {
    "CustomCombo": _custom_combo_inputs,
    "Power Lora Loader (rgthree)": _power_lora_inputs,
}

#: Classes that take inputs which they do not declare.
OPEN_CLASSES = frozenset(PAGE_INPUTS_BY_CLASS)

#: Values of the buttons and previews that pages add to nodes. ComfyUI saves them behind those of the widgets,
#: and sends them as inputs that no class reads.
BUTTON_VALUES = (None, "", "okay")
