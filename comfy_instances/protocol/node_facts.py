"""What the nodes of a ComfyUI version take and give, recorded from its `/object_info`.

The facts of the pinned version ship with the project, so that graphs can be checked and simulated
where no ComfyUI is installed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

#: The ComfyUI version whose facts ship.
RECORDED_VERSION = "0.33.0"

#: What a record keeps of a node. Names for people, tooltips and module paths are left out.
KEPT_FIELDS = ("input", "input_order", "output", "output_name", "output_is_list", "output_node", "category")
#: And these where they are true: what its authors warn of.
KEPT_FLAGS = ("experimental", "deprecated")
#: What an input's options say to people.
UI_TEXT_OPTIONS = ("tooltip", "display_name")


def load_core_node_facts() -> Mapping[str, Any]:
    """Class name -> facts of every core node of the pinned version."""
    packed = resources.files("comfy_instances").joinpath(f"facts/comfyui-{RECORDED_VERSION}.json.gz")
    nodes: dict[str, Any] = json.loads(gzip.decompress(packed.read_bytes()))["nodes"]
    return nodes


def load_pack_node_facts() -> Mapping[str, Any]:
    """Class name -> facts of the nodes of those custom packs that our models may use."""
    nodes: dict[str, Any] = {}
    for pack in sorted(resources.files("comfy_instances").joinpath("facts/packs").iterdir(), key=str):
        nodes |= json.loads(pack.read_bytes())["nodes"]
    return nodes


def extract_node_facts(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a server's `/object_info` answer that is worth keeping, by class name."""
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
    """An input's `[type, options]` without words for people, those of the inputs inside of it included;
    hidden inputs may be a bare type name."""
    if isinstance(spec, dict):
        return {key: _strip_ui_text(value) for key, value in spec.items() if not _is_ui_text(key, value)}
    if not isinstance(spec, list):
        return spec
    items = [_strip_ui_text(item) for item in spec]
    return items[:1] if len(items) == 2 and items[1] == {} != spec[1] else items


def _is_ui_text(key: str, value: Any) -> bool:
    """An input that happens to have such a name is a list."""
    return key in UI_TEXT_OPTIONS and isinstance(value, str)
