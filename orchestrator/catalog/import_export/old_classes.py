"""Brings nodes of old files to today's classes: renamed classes, and inputs that others have replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts, NodeInput, resolve_inputs
from orchestrator.catalog.rendering.graph import ApiGraph

#: Old name -> today's name of a class with the same inputs; ComfyUI itself replaces them in prompts.
RENAMED_CLASSES = {
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
    "Load3DAnimation": "Load3D",
    "Preview3DAnimation": "Preview3D",
    "T2IAdapterLoader": "ControlNetLoader",
}
#: Class -> old name -> today's name of an input.
_RENAMED_INPUTS = {"ControlNetLoader": {"t2i_adapter_name": "control_net_name"}}


#: Widgets of ImageResize+ while its fourth one was a switch.
_RESIZE_WIDGETS = ("width", "height", "interpolation", "keep_proportion", "condition", "multiple_of")


def current_class(name: str, facts: NodeFacts) -> str:
    """Return today's name of a class; the name itself if it is known, or not known to have changed."""
    renamed = RENAMED_CLASSES.get(name, name)
    return renamed if name not in facts and renamed in facts else name


def read_old_widgets(class_type: str, values: Sequence[Any]) -> dict[str, Any] | None:
    """Return the inputs of a node with the widgets of a known older version; None for any other."""
    if class_type == "ImageResize+" and len(values) == len(_RESIZE_WIDGETS) and isinstance(values[3], bool):
        return dict(zip(_RESIZE_WIDGETS, values, strict=True))
    is_old_join = class_type == "Text Concatenate" and len(values) == 1 and values[0] in ("true", "false")
    return {"linebreak_addition": values[0]} if is_old_join else None


def modernise_graph(graph: ApiGraph, facts: NodeFacts) -> list[str]:
    """Change old nodes of a graph in place; return what was changed, one line each."""
    changes: list[str] = []
    for id, node in graph.items():
        class_type = current_class(node["class_type"], facts)
        if class_type != node["class_type"]:
            changes.append(f"node {id}: {class_type} is today's name of {node['class_type']}")
            node["class_type"] = class_type
        for old, new in _RENAMED_INPUTS.get(class_type, {}).items():
            if old in node["inputs"] and new not in node["inputs"]:
                node["inputs"][new] = node["inputs"].pop(old)
        for item in resolve_inputs(facts[class_type], node["inputs"]).values() if class_type in facts else ():
            if (option := _find_annotated_option(item, node["inputs"].get(item.name))) is not None:
                changes.append(f"node {id}, input {item.name}: {option} is today's name of the option")
                node["inputs"][item.name] = option
        change = _CHANGED_INPUTS.get(class_type)
        if change is not None and class_type in facts and (text := change(node["inputs"], facts[class_type])):
            changes.append(f"node {id}: {text}")
    return changes


def _find_annotated_option(item: NodeInput, value: Any) -> str | None:
    """Return the only option that is the value with a remark behind it, as in `Google [free]`."""
    if item.type != "COMBO" or not item.choices or not isinstance(value, str) or value in item.choices:
        return None
    found = [
        one for one in item.choices if isinstance(one, str) and one.startswith((f"{value} [", f"{value} ("))
    ]
    return found[0] if value and len(found) == 1 else None


def _change_join(inputs: dict[str, Any], entry: Mapping[str, Any]) -> str:
    """Replace the line break between joined texts by a delimiter of the same effect."""
    if "delimiter" not in entry["input"].get("required", {}) or "linebreak_addition" not in inputs:
        return ""
    is_break = inputs.pop("linebreak_addition") == "true"
    if is_break or "delimiter" not in inputs:
        inputs["delimiter"] = "\n" if is_break else ""
    inputs.setdefault("clean_whitespace", "false")
    return "delimiter replaces linebreak_addition of an older version, with the same effect"


def _change_resize(inputs: dict[str, Any], entry: Mapping[str, Any]) -> str:
    """Replace the switch that keeps proportions by the method of the same effect."""
    name = "keep_proportion" if "keep_proportion" in inputs else "method"
    if not isinstance(inputs.get(name), bool) or "method" not in entry["input"].get("required", {}):
        return ""
    inputs["method"] = "keep proportion" if inputs.pop(name) else "stretch"
    return "method replaces keep_proportion of an older version, with the same effect"


_CHANGED_INPUTS: Mapping[str, Callable[[dict[str, Any], Mapping[str, Any]], str]] = {
    "ImageResize+": _change_resize,
    "Text Concatenate": _change_join,
}
