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
KEPT = ("input", "input_order", "output", "output_name", "output_is_list", "output_node", "category")


def load_recorded() -> Mapping[str, Any]:
    """Class name -> facts of every core node of the pinned version."""
    packed = resources.files("comfy_instances").joinpath(f"facts/comfyui-{RECORDED_VERSION}.json.gz")
    nodes: dict[str, Any] = json.loads(gzip.decompress(packed.read_bytes()))["nodes"]
    return nodes


def load_packs() -> Mapping[str, Any]:
    """Class name -> facts of the nodes of those custom packs that our models may use."""
    nodes: dict[str, Any] = {}
    for pack in sorted(resources.files("comfy_instances").joinpath("facts/packs").iterdir(), key=str):
        nodes |= json.loads(pack.read_bytes())["nodes"]
    return nodes


def record(object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a server's `/object_info` answer that is worth keeping, by class name."""
    return {name: _facts(info) for name, info in sorted(object_info.items())}


def _facts(info: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: info[key] for key in KEPT if key in info}
    facts["input"] = {
        section: {name: _without_tooltip(spec) for name, spec in inputs.items()}
        for section, inputs in info["input"].items()
    }
    return facts


def _without_tooltip(spec: Any) -> Any:
    """An input's `[type, options]` without its `tooltip`; hidden inputs may be a bare type name."""
    if not isinstance(spec, list) or len(spec) < 2 or not isinstance(spec[1], dict):
        return spec
    options = {key: value for key, value in spec[1].items() if key != "tooltip"}
    return [spec[0], options, *spec[2:]] if options else [spec[0]]
