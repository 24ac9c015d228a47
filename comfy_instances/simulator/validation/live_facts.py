"""Option lists that are computed for each request: the folders in the input folder, and the LoRAs."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from comfy_instances.simulator.options import InstanceFolders

#: Nodes that load all files of the folder that their only input names.
FOLDER_LOADERS = (
    "LoadImageDataSetFromFolder",
    "LoadImageTextDataSetFromFolder",
    "LoadVideoDataSetFromFolder",
    "LoadVideoTextDataSetFromFolder",
)


#: Nodes that load a LoRA by `lora_name`.
LORA_LOADERS = (
    "CreateHookLora",
    "CreateHookLoraModelOnly",
    "LoraLoader",
    "LoraLoaderBypass",
    "LoraLoaderBypassModelOnly",
    "LoraLoaderModelOnly",
)


def with_current_files(node_facts: Mapping[str, Any], folders: InstanceFolders) -> Mapping[str, Any]:
    """Return `node_facts` with the current input folders and LoRAs as options."""
    found = sorted(str(path.relative_to(folders.input)) for path in folders.input.rglob("*/"))
    loras = folders.list_model_files("loras")
    current = {name: _with_folder_choices(node_facts[name], found) for name in FOLDER_LOADERS}
    current |= {name: _with_lora_choices(node_facts[name], loras) for name in LORA_LOADERS}
    return ChainMap(current, dict(node_facts))


def _with_folder_choices(facts: Mapping[str, Any], folder_names: list[str]) -> dict[str, Any]:
    kind, options = facts["input"]["required"]["folder"]
    folder = [kind, {**options, "options": folder_names}]
    return {**facts, "input": {**facts["input"], "required": {"folder": folder}}}


def _with_lora_choices(facts: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    required = facts["input"]["required"]
    _, *options = required["lora_name"]
    return {**facts, "input": {**facts["input"], "required": {**required, "lora_name": [names, *options]}}}
