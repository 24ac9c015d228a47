"""The first manifest of an imported model: what the graph tells, and cautious words for the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from orchestrator.catalog.checks.node_facts import output_types
from orchestrator.catalog.import_export.infer.bindings import Bindings
from orchestrator.catalog.import_export.infer.constants import Place
from orchestrator.catalog.import_export.ui.ui_to_api import Converted
from orchestrator.catalog.rendering.graph import links_of

# What a request costs until the author says otherwise: a costly model of the same kind.
_PRICES = {
    "image": "flux-2-dev",
    "upscale": "4x-ultrasharp",
    "video": "wan2.2-t2v-14b",
    "i2v": "wan2.2-i2v-14b",
}

# Where ComfyUI looks for the file that an input names.
_FOLDERS = {
    "unet_name": "diffusion_models",
    "ckpt_name": "checkpoints",
    "vae_name": "vae",
    "lora_name": "loras",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "text_encoder": "text_encoders",
    "audio_encoder_name": "audio_encoders",
}
_FOLDERS_BY_CLASS = {
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
}
_CLIP_NAME = re.compile(r"clip_name\d?")
_WEIGHT_FILE = re.compile(r".+\.(safetensors|sft|ckpt|pt|pth|bin|gguf)", re.IGNORECASE)
_DTYPES = ("nvfp4", "mxfp8", "fp8", "int8", "bf16", "fp16", "fp32")
_MEDIA = {"IMAGE": "image", "VIDEO": "video", "AUDIO": "audio", "MESH": "mesh"}


def draft_manifest(
    id: str, found: Bindings, source: Converted, outputs: list[str], needed: Iterable[str]
) -> dict[str, Any]:
    """All fields of `model.toml`."""
    results = [{"node": output, "media": _media(found, output)} for output in outputs]
    kind = _kind(found, {result["media"] for result in results}, needed)
    width, height = (found.parameters.get(name, {}).get("maximum", 2048) for name in ("width", "height"))
    packs = sorted({pack for pack in source.unknown.values() if pack})
    return {
        "id": id,
        "name": id.replace("-", " ").title(),
        "kind": kind,
        "owner": "imported",
        "architecture": "unknown",
        "description": "Imported from a ComfyUI workflow.",
        "created": "2026-01-01",
        "license": "unknown",
        "max_resolution": f"{width}x{height}",
        "price_class": _PRICES[kind],
        "parameters": found.parameters,
        "outputs": results,
        "weights": _weights(found, source.models, needed),
        "requires": {"comfyui": "0.33.0", "packs": [{"name": pack} for pack in packs]},
        "resources": {"vram_bytes": 0, "load_seconds": 10.0, "step_seconds": 1.0},
    }


def _media(found: Bindings, output: str) -> str:
    class_type = found.graph[output]["class_type"]
    if "WEBM" in class_type.upper() or "VIDEO" in class_type.upper():
        return "video"
    for _, link in links_of(found.graph[output]["inputs"]):
        types = output_types(found.entry(link.node))
        if link.slot < len(types) and types[link.slot] in _MEDIA:
            return _MEDIA[types[link.slot]]
    return "image"


def _kind(found: Bindings, media: set[str], needed: Iterable[str]) -> str:
    if "video" in media:
        return "i2v" if "image" in found.parameters else "video"
    classes = {found.graph[id]["class_type"] for id in needed}
    enlarges = "ImageUpscaleWithModel" in classes and "seed" not in found.parameters
    return "upscale" if enlarges and "image" in found.parameters else "image"


def _weights(
    found: Bindings, models: Mapping[str, Mapping[str, str]], needed: Iterable[str]
) -> list[dict[str, Any]]:
    """A row for every file that a loader names, each a slot of its own."""
    rows: dict[str, dict[str, Any]] = {}
    for class_type, name, file in _files(found, needed):
        told = models.get(PurePosixPath(file).name, {})
        path = f"{_folder(class_type, name, told)}/{file}"
        if ".." in PurePosixPath(path).parts or path in rows:
            continue
        slot = f"weight_{len(rows) + 1}"
        rows[path] = {"slot": slot, "path": path, "dtype": _dtype(file)}
        if told.get("url", "").startswith(("http://", "https://")):
            rows[path]["url"] = told["url"].partition("?")[0]
    return list(rows.values())


def _files(found: Bindings, needed: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Class and input of each loader, and the file: those of LoRAs stand in the default of their list."""
    for id in needed:
        for name, value in found.graph[id]["inputs"].items():
            if Place(id, name) in found.places:
                continue
            if isinstance(value, str) and _WEIGHT_FILE.fullmatch(value):
                yield found.graph[id]["class_type"], name, value.replace("\\", "/")
    for spec in found.parameters.values():
        for item in spec["default"] if spec["type"] == "loras" else ():
            yield "", "lora_name", f"{item['name']}.safetensors"


def _folder(class_type: str, name: str, told: Mapping[str, str]) -> str:
    known = _FOLDERS_BY_CLASS.get((class_type, name)) or _FOLDERS.get(name)
    if known is None and _CLIP_NAME.fullmatch(name):
        known = "text_encoders"
    if known is None and re.fullmatch(r"[A-Za-z0-9_-]+", told.get("directory", "")):
        known = told["directory"]
    return known or "checkpoints"


def _dtype(file: str) -> str:
    return next((dtype for dtype in _DTYPES if dtype in file.lower()), "fp16")
