"""Read the workflow in a file: JSON, or the metadata that ComfyUI embeds in images and videos."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from typing import Any

import av

from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow, is_ui_format
from orchestrator.catalog.rendering.graph import check_nesting_depth
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.metadata import exif_texts, strip_metadata

#: Maximum bytes of JSON; the largest published workflows are below 2 MB.
MAX_JSON_BYTES = 16 * 2**20

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EXIF_TEXT_TAGS = (0x010E, 0x010F, 0x0110)  # description, make, model: used by ComfyUI in WebP files


def read_workflow(data: bytes) -> dict[str, Any]:
    """Return the graph of a JSON, PNG, WebP or MP4 file, in UI or API format. Raises InvalidWorkflow.

    If a file has both, the UI format is returned, as it contains more information.
    """
    texts = _read_embedded_texts(data)
    if texts is None:
        return _unwrap_graph(_parse_json(data))
    found = {name: text for name, text in texts if name in ("workflow", "prompt")}
    if not found:
        raise InvalidWorkflow("the file contains no embedded workflow; export it from ComfyUI as JSON")
    return _unwrap_graph(_parse_json(found.get("workflow") or found["prompt"]))


def is_api_format(data: Any) -> bool:
    """Return whether JSON data is a graph in API format."""
    return (
        isinstance(data, dict)
        and bool(data)
        and all(isinstance(node, dict) and "class_type" in node for node in data.values())
    )


def _unwrap_graph(data: Any) -> dict[str, Any]:
    """Return the graph, unwrapped if it is the body of a `POST /prompt`."""
    if isinstance(data, dict) and is_api_format(data.get("prompt")):
        data = data["prompt"]
    if not is_ui_format(data) and not is_api_format(data):
        raise InvalidWorkflow("must be a ComfyUI workflow in UI or API format")
    graph: dict[str, Any] = data
    return graph


def _parse_json(text: bytes | str) -> Any:
    if len(text) > MAX_JSON_BYTES:
        raise InvalidWorkflow(f"the JSON is larger than {MAX_JSON_BYTES} bytes")
    try:
        data = json.loads(text)
        check_nesting_depth(data)
        return data
    except (ValueError, RecursionError) as error:
        raise InvalidWorkflow(f"not valid JSON: {error}") from error


def _read_embedded_texts(data: bytes) -> Iterator[tuple[str, str]] | None:
    """Return embedded metadata by name; None for a JSON file."""
    if data.startswith(_PNG_MAGIC):
        return _read_png_texts(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp_texts(data)
    if data[4:8] == b"ftyp" or data.startswith(b"\x1aE\xdf\xa3"):
        return _read_video_texts(data)
    return None


def _read_png_texts(data: bytes) -> Iterator[tuple[str, str]]:
    position = len(_PNG_MAGIC)
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4])
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += length + 12
        name, _, rest = body.partition(b"\0")
        text: bytes | None = None
        if kind == b"tEXt":
            text = rest
        elif kind == b"zTXt" and rest[:1] == b"\0":
            text = _inflate(rest[1:])
        elif kind == b"iTXt" and len(rest) > 2:
            text = rest[2:].split(b"\0", 2)[-1]
            text = _inflate(text) if rest[0] else text
        if text is not None:
            yield name.decode("latin-1"), text.decode("utf-8", "replace")


def _inflate(data: bytes) -> bytes:
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, MAX_JSON_BYTES)
    except zlib.error as error:
        raise InvalidWorkflow(f"a compressed text of the image is broken: {error}") from error
    if unpacker.unconsumed_tail:
        raise InvalidWorkflow(f"the JSON is larger than {MAX_JSON_BYTES} bytes")
    return text


def _read_webp_texts(data: bytes) -> Iterator[tuple[str, str]]:
    try:
        # Pillow would allocate the pixels, of which a small file may declare very many.
        texts = exif_texts(strip_metadata(data, "image/webp").exif)
    except CorruptMedia as error:
        raise InvalidWorkflow(f"the image cannot be read: {error}") from error
    for tag in _EXIF_TEXT_TAGS:
        name, _, text = texts.get(tag, "").partition(":")
        yield name.lower(), text


def _read_video_texts(data: bytes) -> Iterator[tuple[str, str]]:
    # The magic bytes select the demuxer: FFmpeg might choose one that opens other files and URLs.
    demuxer = "mp4" if data[4:8] == b"ftyp" else "matroska"
    try:
        with av.open(io.BytesIO(data), "r", format=demuxer) as container:
            metadata = dict(container.metadata)
    except (av.FFmpegError, ValueError) as error:
        raise InvalidWorkflow(f"the video cannot be read: {error}") from error
    yield from ((name.lower(), text) for name, text in metadata.items())
