"""The workflow in a file: JSON, or the metadata that ComfyUI writes into its pictures and videos."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import av
from PIL import Image

from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow, is_ui_format
from orchestrator.catalog.rendering.graph import check_nesting_depth

#: Bytes of JSON; the largest workflows that people publish are below 2 MB.
MAX_JSON_BYTES = 16 * 2**20

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_EXIF_TEXT_TAGS = (0x010E, 0x010F, 0x0110)  # description, make, model: ComfyUI's places in a WebP


def read_workflow(data: bytes) -> dict[str, Any]:
    """The graph in a `.json`, PNG, WebP or MP4 file, in UI or API format. Raises InvalidWorkflow.

    Where a file carries both, the UI format is taken: it says more.
    """
    texts = _read_embedded_texts(data)
    if texts is None:
        return _unwrap_graph(_parse_json(data))
    found = {name: text for name, text in texts if name in ("workflow", "prompt")}
    if not found:
        raise InvalidWorkflow("the file carries no workflow")
    return _unwrap_graph(_parse_json(found.get("workflow") or found["prompt"]))


def is_api_format(data: Any) -> bool:
    return (
        isinstance(data, dict)
        and bool(data)
        and all(isinstance(node, dict) and "class_type" in node for node in data.values())
    )


def _unwrap_graph(data: Any) -> dict[str, Any]:
    """The graph itself, also where it is wrapped as for `POST /prompt`."""
    if isinstance(data, dict) and is_api_format(data.get("prompt")):
        data = data["prompt"]
    if not is_ui_format(data) and not is_api_format(data):
        raise InvalidWorkflow("neither a workflow nor an API-format graph of ComfyUI")
    graph: dict[str, Any] = data
    return graph


def _parse_json(text: bytes | str) -> Any:
    if len(text) > MAX_JSON_BYTES:
        raise InvalidWorkflow(f"more than {MAX_JSON_BYTES} bytes of JSON")
    try:
        data = json.loads(text)
        check_nesting_depth(data)
        return data
    except (ValueError, RecursionError) as error:
        raise InvalidWorkflow(f"not JSON: {error}") from error


def _read_embedded_texts(data: bytes) -> Iterator[tuple[str, str]] | None:
    """Metadata by name; None for a file that is JSON itself."""
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
        raise InvalidWorkflow(f"a text in the picture is broken: {error}") from error
    if unpacker.unconsumed_tail:
        raise InvalidWorkflow(f"more than {MAX_JSON_BYTES} bytes of JSON")
    return text


def _read_webp_texts(data: bytes) -> Iterator[tuple[str, str]]:
    try:
        exif: Mapping[int, Any] = Image.open(io.BytesIO(data)).getexif()
    except (OSError, ValueError, SyntaxError) as error:
        raise InvalidWorkflow(f"the picture can not be read: {error}") from error
    for tag in _EXIF_TEXT_TAGS:
        name, _, text = str(exif.get(tag, "")).partition(":")
        yield name.lower(), text


def _read_video_texts(data: bytes) -> Iterator[tuple[str, str]]:
    try:
        with av.open(io.BytesIO(data)) as container:
            metadata = dict(container.metadata)
    except (av.FFmpegError, ValueError) as error:
        raise InvalidWorkflow(f"the video can not be read: {error}") from error
    yield from ((name.lower(), text) for name, text in metadata.items())
