"""Knows into which folder below `models/` the file of a loader's input belongs.

The table was recorded from ComfyUI and public node packs, by files that a trial start puts into each folder
(`python -m scripts.record_packs`). Facts of installed packs have the same in `file_folders`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
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


@cache
def _load_table() -> Mapping[str, Mapping[str, Sequence[str]]]:
    text = resources.files("orchestrator.catalog").joinpath("known_folders.json").read_text("utf-8")
    table: dict[str, dict[str, list[str]]] = json.loads(text)
    return table
