"""The nodes of our node pack that deliver results: they have them saved, and hand the files over."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_instances.simulator.deliveries import PROTOCOL, SimulatedFile
from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction, NodeResult
from comfy_instances.simulator.nodes.files import saving
from comfy_instances.simulator.nodes.files.png import add_chunk
from comfy_instances.simulator.nodes.models import training
from comfy_instances.simulator.nodes.values import ImageArray, VideoClip
from comfy_instances.simulator.validation.input_specs import nest_inputs

SAVERS: Mapping[str, NodeFunction] = {**saving.NODES, **training.NODES}
_FOLDER = "pixel_factory_delivery-"
_PNG = "image/png"
_CONTENT_TYPES = {
    ".png": _PNG,
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".opus": "audio/ogg",
    ".glb": "model/gltf-binary",
    ".safetensors": "application/octet-stream",
}


def deliver_images(
    context: NodeContext,
    images: ImageArray,
    filename_prefix: str,
    format: str,
    quality: int,
    protocol: str,
    metadata: str = "",
) -> NodeResult:
    """Deliver images. The service converts them if it wants another format than PNG."""

    def save(own: NodeContext, prefix: str) -> None:
        SAVERS["SaveImage"](own, images, prefix)

    made = _deliver(context, save, images)
    files = [replace(file, data=_add_xmp(file.data, metadata.encode())) for file in made]
    for file in files:
        file.state = "encoded" if format == _PNG else "offered"
    return _hand_over(context, files)


def _add_xmp(png: bytes, packet: bytes) -> bytes:
    """Return a PNG with an XMP packet behind its header."""
    return add_chunk(png, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet) if packet else png


def deliver_files(
    context: NodeContext,
    value: Any,
    saver: str,
    value_input: str,
    prefix_input: str,
    arguments: str,
    filename_prefix: str,
    protocol: str,
) -> NodeResult:
    """Have another node save its files, and deliver them."""

    def save(own: NodeContext, prefix: str) -> None:
        facts = context.all_facts[saver]
        inputs = {**json.loads(arguments), value_input: value, prefix_input: prefix}
        SAVERS[saver](replace(own, class_type=saver, node_facts=facts), **nest_inputs(facts, inputs))

    files = _deliver(context, save, value)
    for file in files:
        file.state = "offered" if file.content_type.startswith("image/") else "encoded"
    return _hand_over(context, files)


def _deliver(
    context: NodeContext, save: Callable[[NodeContext, str], None], value: Any
) -> list[SimulatedFile]:
    """Return what a saver writes into a folder of its own, without the graph."""
    started, name = time.monotonic(), f"{_FOLDER}{uuid.uuid4().hex}"
    folder = context.folders.output / name
    try:
        save(replace(context, prompt={}, extra_pnginfo={}), f"{name}/file")
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        seconds = time.monotonic() - started
        return [_read(context.node_id, path, value, seconds) for path in paths]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(node_id: str, path: Path, value: Any, seconds: float) -> SimulatedFile:
    size: dict[str, Any] = {}
    frames = value.frames if isinstance(value, VideoClip) else value
    if hasattr(frames, "shape"):
        size = {"height": int(frames.shape[1]), "width": int(frames.shape[2])}
    if isinstance(value, VideoClip):
        size |= {"frames": len(value.frames), "fps": float(value.frame_rate)}
    return SimulatedFile(
        node=node_id,
        data=path.read_bytes(),
        content_type=_CONTENT_TYPES[path.suffix],
        encode_seconds=seconds,
        **size,
    )


def _hand_over(context: NodeContext, files: list[SimulatedFile]) -> NodeResult:
    assert context.deliver is not None
    context.deliver(files)
    return NodeResult({"pixel_factory": [{"delivery": PROTOCOL, "files": []}]})


NODES: Mapping[str, NodeFunction] = {
    "PixelFactoryDeliverImages": deliver_images,
    "PixelFactoryDeliverFiles": deliver_files,
}
