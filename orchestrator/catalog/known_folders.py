"""Knows into which folder below `models/` the file of a loader's input belongs.

The table was recorded from ComfyUI and public node packs, by files that a trial start puts into each folder
(`python -m scripts.record_packs`). Facts of installed packs have the same in `file_folders`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

FILE_FOLDERS_KEY = "file_folders"
#: Folder of a file whose own folder is not known: a model with such a file cannot be live.
UNKNOWN_FOLDER = "unknown-folder"
#: Inputs that have the same folder in every class: names that ComfyUI's own loaders have made customary.
_FOLDER_BY_INPUT = {
    "unet_name": "diffusion_models",
    "ckpt_name": "checkpoints",
    "vae_name": "vae",
    "lora_name": "loras",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "audio_encoder_name": "audio_encoders",
}


#: Folders of ComfyUI for whose files its own nodes have no input, or one that the table does not show.
_CORE_FOLDERS = (
    "checkpoints",
    "classifiers",
    "configs",
    "controlnet",
    "diffusers",
    "diffusion_models",
    "embeddings",
    "gligen",
    "hypernetworks",
    "loras",
    "photomaker",
    "style_models",
    "text_encoders",
    "upscale_models",
    "vae",
    "vae_approx",
)


def find_folders(class_name: str, input_name: str, facts: Mapping[str, Any]) -> Sequence[str]:
    """Return the folders in which ComfyUI looks for the file of an input; none if they are not known."""
    entry = facts.get(class_name)
    recorded = entry.get(FILE_FOLDERS_KEY) if isinstance(entry, Mapping) else None
    found = recorded.get(input_name) if isinstance(recorded, Mapping) else None
    if isinstance(found, list) and found and all(isinstance(folder, str) for folder in found):
        return found
    table = _load_table()
    if class_name in table:
        return table[class_name].get(input_name, ())
    folder = _FOLDER_BY_INPUT.get(input_name)
    return (folder,) if folder else ()


def list_folders(facts: Mapping[str, Any], weight_paths: Iterable[str] = ()) -> frozenset[str]:
    """Return all folders below `models/` that are known.

    They are ComfyUI's own, those of public packs, those in facts, and those of weight files.
    """
    tables: list[Any] = [*_load_table().values()]
    tables += [entry.get(FILE_FOLDERS_KEY) for entry in facts.values() if isinstance(entry, Mapping)]
    found = {*_CORE_FOLDERS}
    for table in tables:
        for folders in table.values() if isinstance(table, Mapping) else ():
            found |= {str(folder) for folder in folders if isinstance(folders, list)}
    for path in weight_paths:
        # A file may be in a folder of its folder.
        parts = PurePosixPath(path).parts[:-1]
        found |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return frozenset(found - {UNKNOWN_FOLDER})


@cache
def _load_table() -> Mapping[str, Mapping[str, Sequence[str]]]:
    text = resources.files("orchestrator.catalog").joinpath("known_folders.json").read_text("utf-8")
    table: dict[str, dict[str, list[str]]] = json.loads(text)
    return table
