"""Node facts: the inputs and outputs of node classes, recorded from ComfyUI's `/object_info`.

The facts of the pinned version ship with the project, so that graphs can be checked and simulated without
an installed ComfyUI.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

#: The ComfyUI version of the shipped facts.
RECORDED_VERSION = "0.33.0"

#: Fields of a node that a record keeps. Display names, tooltips and module paths are left out.
KEPT_FIELDS = ("input", "input_order", "output", "output_name", "output_is_list", "output_node", "category")
#: Warnings by the node's authors that a record keeps if they are true.
KEPT_FLAGS = ("experimental", "deprecated")
#: Options of an input that are texts for the user interface.
UI_TEXT_OPTIONS = ("tooltip", "display_name")


def load_core_node_facts() -> Mapping[str, Any]:
    """Return the facts of every core node of the pinned version, by class name."""
    packed = resources.files("comfy_instances").joinpath(f"facts/comfyui-{RECORDED_VERSION}.json.gz")
    nodes: dict[str, Any] = json.loads(gzip.decompress(packed.read_bytes()))["nodes"]
    return nodes


def load_pack_node_facts() -> Mapping[str, Any]:
    """Return the facts of the nodes in the custom node packs that our models use, by class name."""
    nodes: dict[str, Any] = {}
    for pack in sorted(resources.files("comfy_instances").joinpath("facts/packs").iterdir(), key=str):
        nodes |= json.loads(pack.read_bytes())["nodes"]
    return nodes


def extract_node_facts(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recorded part of an `/object_info` response, by class name."""
    return {name: _extract_facts(info) for name, info in sorted(object_info.items())}


def _extract_facts(info: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: info[key] for key in KEPT_FIELDS if key in info} | {
        flag: True for flag in KEPT_FLAGS if info.get(flag)
    }
    facts["input"] = {
        section: {name: _strip_ui_text(spec) for name, spec in inputs.items()}
        for section, inputs in info["input"].items()
    }
    return facts


def _strip_ui_text(spec: Any) -> Any:
    """Remove user interface texts from an input's `[type, options]` and from nested inputs. A hidden input
    may be a bare type name."""
    if isinstance(spec, dict):
        return {key: _strip_ui_text(value) for key, value in spec.items() if not _is_ui_text(key, value)}
    if not isinstance(spec, list):
        return spec
    items = [_strip_ui_text(item) for item in spec]
    return items[:1] if len(items) == 2 and items[1] == {} != spec[1] else items


def _is_ui_text(key: str, value: Any) -> bool:
    """Whether an entry is such a text; an input that happens to have the same name is a list."""
    return key in UI_TEXT_OPTIONS and isinstance(value, str)
