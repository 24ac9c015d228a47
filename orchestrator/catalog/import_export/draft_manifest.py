"""Draft the manifest of an imported model: inferred fields, and conservative defaults for the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import PurePosixPath
from typing import Any

from orchestrator.catalog.import_export.infer.bindings import ParameterBindings
from orchestrator.catalog.import_export.infer.constants import InputRef
from orchestrator.catalog.import_export.infer.off_grid import require_even_sides
from orchestrator.catalog.import_export.result_nodes import result_media
from orchestrator.catalog.import_export.ui.ui_to_api import ConvertedWorkflow
from orchestrator.catalog.known_folders import UNKNOWN_FOLDER, find_folders
from orchestrator.catalog.parameters.values import MAX_SEED

# Price class until the author changes it: that of an expensive model of the same kind.
_DEFAULT_PRICE_CLASSES = {
    "image": "flux-2-dev",
    "upscale": "4x-ultrasharp",
    "video": "wan2.2-t2v-14b",
    "i2v": "wan2.2-i2v-14b",
    "audio": "audio",
    "text": "text",
    "3d": "3d",
}

_WEIGHT_FILE_PATTERN = re.compile(r".+\.(safetensors|sft|ckpt|pt|pth|bin|gguf|onnx|patch)", re.IGNORECASE)
_EXAMPLE_TYPES = ("string", "image", "video", "audio")
_MAX_EXAMPLE_LENGTH = 32_000
_DTYPES = ("nvfp4", "mxfp8", "fp8", "int8", "bf16", "fp16", "fp32")


def draft_manifest(
    id: str,
    bindings: ParameterBindings,
    source: ConvertedWorkflow,
    outputs: list[str],
    needed: Iterable[str],
    *,
    today: date,
    comfyui_version: str,
) -> dict[str, Any]:
    """Return all fields of `model.toml`."""
    media = {output: result_media(bindings.graph, output, bindings.facts) for output in outputs}
    results = [{"node": output, "media": media[output]} for output in outputs]
    if "video" in media.values():
        require_even_sides(bindings)
    kind = _infer_kind(bindings, {result["media"] for result in results}, needed)
    width, height = (bindings.parameters.get(name, {}).get("maximum", 2048) for name in ("width", "height"))
    packs = sorted({pack for pack in source.unknown_classes.values() if pack})
    return {
        "id": id,
        "name": id.replace("-", " ").title(),
        "kind": kind,
        "owner": "imported",
        "architecture": "unknown",
        "description": "Imported from a ComfyUI workflow.",
        "created": today.isoformat(),
        "license": "unknown",
        "max_resolution": f"{width}x{height}",
        "price_class": _DEFAULT_PRICE_CLASSES[kind],
        "parameters": bindings.parameters,
        "example": _draft_example(bindings),
        "outputs": results,
        "weights": _draft_weight_rows(bindings, source, needed),
        "requires": {"comfyui": comfyui_version, "packs": [{"name": pack} for pack in packs]},
        "resources": {"vram_bytes": 0, "load_seconds": 10.0, "step_seconds": 1.0},
    }


def _draft_example(bindings: ParameterBindings) -> dict[str, Any]:
    """Return the author's own values of parameters without a default: prompt, seed, names of images."""
    example: dict[str, Any] = {}
    for name, spec in bindings.parameters.items():
        places = (place for place, text in bindings.expressions.items() if text == f"{{{{ {name} }}}}")
        value = next((bindings.literal_at(place) for place in places if place.node in bindings.graph), None)
        if spec["type"] == "seed" and type(value) is int and 0 <= value <= spec.get("max", MAX_SEED):
            example[name] = value
        is_needed = "default" not in spec and spec["type"] in _EXAMPLE_TYPES
        if is_needed and isinstance(value, str) and value.strip() and len(value) <= _MAX_EXAMPLE_LENGTH:
            example[name] = value
    return example


def _infer_kind(bindings: ParameterBindings, media: set[str], needed: Iterable[str]) -> str:
    if "video" in media:
        return "i2v" if "image" in bindings.parameters else "video"
    for kind, name in (("mesh", "3d"), ("audio", "audio"), ("text", "text")):
        if kind in media and "image" not in media:
            return name
    classes = {bindings.graph[id]["class_type"] for id in needed}
    enlarges = "ImageUpscaleWithModel" in classes and "seed" not in bindings.parameters
    return "upscale" if enlarges and "image" in bindings.parameters else "image"


def _draft_weight_rows(
    bindings: ParameterBindings, source: ConvertedWorkflow, needed: Iterable[str]
) -> list[dict[str, Any]]:
    """Return a row for every weight file that a loader names, each with its own slot."""
    rows: dict[str, dict[str, Any]] = {}
    for class_type, name, file in find_weight_files(bindings, needed):
        download = source.model_downloads.get(PurePosixPath(file).name, {})
        folders = list_weight_folders(class_type, name, file, bindings, source)
        path = f"{folders[0] if folders else UNKNOWN_FOLDER}/{file}"
        if ".." in PurePosixPath(path).parts or path in rows:
            continue
        slot = f"weight_{len(rows) + 1}"
        rows[path] = {"slot": slot, "path": path, "dtype": _infer_dtype(file)}
        if download.get("url", "").startswith(("http://", "https://")):
            rows[path]["url"] = download["url"].partition("?")[0]
    return list(rows.values())


def find_weight_files(bindings: ParameterBindings, needed: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the class, input and file of each loader; LoRAs are read from the defaults of their lists."""
    for id in needed:
        for name, value in bindings.graph[id]["inputs"].items():
            if InputRef(id, name) in bindings.expressions:
                continue
            if isinstance(value, str) and _WEIGHT_FILE_PATTERN.fullmatch(value):
                yield bindings.graph[id]["class_type"], name, value.replace("\\", "/")
    for spec in bindings.parameters.values():
        for item in spec["default"] if spec["type"] == "loras" else ():
            yield "", "lora_name", f"{item['name']}.safetensors"


def list_weight_folders(
    class_type: str, name: str, file: str, bindings: ParameterBindings, source: ConvertedWorkflow
) -> list[str]:
    """Return the folders below `models/` that a file may belong into, the likeliest first.

    The author's own computer knows best; then the folders that ComfyUI searches for the input, then the
    folder that the graph names for a download.
    """
    searched = [*find_folders(class_type, name, bindings.facts)]
    at_author = [path.removesuffix(f"/{file}") for path in source.weight_paths if path.endswith(f"/{file}")]
    named = source.model_downloads.get(PurePosixPath(file).name, {}).get("directory", "")
    if at_author:
        return [folder for folder in at_author if folder in searched] or at_author
    if re.fullmatch(r"[A-Za-z0-9_-]+", named) and (named in searched or not searched):
        return [named]
    return searched


def _infer_dtype(file: str) -> str:
    return next((dtype for dtype in _DTYPES if dtype in file.lower()), "fp16")
