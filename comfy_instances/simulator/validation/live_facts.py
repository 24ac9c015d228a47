"""Option lists that are computed for each request: the folders in the input folder."""

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


def with_input_folders(node_facts: Mapping[str, Any], folders: InstanceFolders) -> Mapping[str, Any]:
    """Return `node_facts` with the current folders as options."""
    found = sorted(str(path.relative_to(folders.input)) for path in folders.input.rglob("*/"))
    return ChainMap(
        {name: _with_folder_choices(node_facts[name], found) for name in FOLDER_LOADERS}, dict(node_facts)
    )


def _with_folder_choices(facts: Mapping[str, Any], folder_names: list[str]) -> dict[str, Any]:
    kind, options = facts["input"]["required"]["folder"]
    folder = [kind, {**options, "options": folder_names}]
    return {**facts, "input": {**facts["input"], "required": {"folder": folder}}}
