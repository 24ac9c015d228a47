"""Have one of ComfyUI's own nodes save its files, in another thread than the graph's, and read them."""

from __future__ import annotations

import io
import shutil
import uuid
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .encoding import EncodedFile

#: Content types of what savers write, by suffix.
CONTENT_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".opus": "audio/ogg",
    ".ogg": "audio/ogg",
    ".glb": "model/gltf-binary",
    ".safetensors": "application/octet-stream",
    ".txt": "text/plain",
}
#: Types that the service fetches: it may have to convert them.
_OFFERED = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
_FOLDER = "pixel_factory_delivery-"
#: What a value counts if its size is not known.
UNKNOWN_BYTES = 32 * 2**20


def held_bytes(value: Any) -> int:
    """Return the bytes that a value holds in memory, as far as it can be seen."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(held_bytes(each) for each in value.values())
    if isinstance(value, list | tuple):
        return sum(held_bytes(each) for each in value)
    if type(value).__name__ == "VideoFromComponents":
        parts = value.get_components()
        return held_bytes(parts.images) + (held_bytes(parts.audio) if parts.audio else 0)
    tensors = (
        [each for each in vars(value).values() if hasattr(each, "nbytes")]
        if hasattr(value, "__dict__")
        else []
    )
    if isinstance(value, str | bytes | int | float | bool) or value is None:
        return 0
    return sum(int(each.nbytes) for each in tensors) or UNKNOWN_BYTES


def run_saver(saver: str, inputs: Mapping[str, Any], prefix_input: str) -> list[EncodedFile]:
    """Run a saving node and return its files, which are deleted.

    It gets no graph, so that the files hold none. Raises what the node raises.
    """
    folder_paths = import_module("folder_paths")
    name = f"{_FOLDER}{uuid.uuid4().hex}"
    folder = Path(folder_paths.get_output_directory(), name)
    torch = import_module("torch")
    try:
        folder.mkdir(parents=True)
        with torch.inference_mode():
            _call(
                import_module("nodes").NODE_CLASS_MAPPINGS[saver],
                {**inputs, prefix_input: f"{name}/file"},
            )
        return [_describe(file) for file in sorted(folder.rglob("*")) if file.is_file()]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _call(saver: Any, inputs: dict[str, Any]) -> None:
    """Call a node of either generation as the executor does."""
    if not hasattr(saver, "PREPARE_CLASS_CLONE"):
        node = saver()
        getattr(node, saver.FUNCTION)(**inputs)
        return
    latest = import_module("comfy_api.latest._io")
    _, _, data = latest.get_finalized_class_inputs(saver.INPUT_TYPES(), inputs)
    data["hidden_inputs"] = {}
    saver.VALIDATE_CLASS()
    nested = latest.build_nested_inputs(inputs, data)
    saver.PREPARE_CLASS_CLONE(data).execute(**nested)


def _describe(file: Path) -> EncodedFile:
    data = file.read_bytes()
    content_type = CONTENT_TYPES.get(file.suffix.lower())
    if content_type is None:
        raise ValueError(f"files with the suffix {file.suffix or 'none'} cannot be delivered")
    if content_type in _OFFERED:
        return EncodedFile(data, content_type, must_offer=True)
    if content_type.startswith(("video/", "audio/")):
        return probe_stream(data, content_type)
    if content_type == "model/gltf-binary" and int.from_bytes(data[8:12], "little") != len(data):
        raise ValueError("the mesh is truncated")
    if content_type == "application/octet-stream":
        check_tensors(data)
    return EncodedFile(data, content_type)


def check_tensors(data: bytes) -> None:
    """Raise ValueError if a trained tensor holds a value that is no number."""
    torch = import_module("torch")
    for name, tensor in import_module("safetensors.torch").load(data).items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise ValueError(f"the tensor {name} holds values that are not finite")


def probe_stream(data: bytes, content_type: str) -> EncodedFile:
    """Return a video or audio file with its size and frames. Raises ValueError if it cannot be decoded."""
    av: Any = import_module("av")
    with av.open(io.BytesIO(data), "r") as container:
        videos, sounds = container.streams.video, container.streams.audio
        if not videos and not sounds:
            raise ValueError(f"the {content_type} has neither a video nor an audio stream")
        stream = videos[0] if videos else sounds[0]
        packets = sum(1 for packet in container.demux(stream) if packet.size and not packet.is_corrupt)
        _check_first_frame(container, stream)
        if not videos:
            return EncodedFile(data, content_type.replace("video/", "audio/"))
        if packets < max(1, stream.frames):
            raise ValueError(f"the video has {packets} of its {stream.frames} frames")
        rate = float(stream.average_rate) if stream.average_rate else None
        return EncodedFile(data, content_type, stream.width, stream.height, packets, rate)


def _check_first_frame(container: Any, stream: Any) -> None:
    container.seek(0)
    frames: Iterator[Any] = container.decode(stream)
    if next(frames, None) is None:
        raise ValueError("no frame of it can be decoded")
