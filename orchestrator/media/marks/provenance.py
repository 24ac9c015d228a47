"""Strip the graph that ComfyUI embeds in output files, and write tags into containers of streams.

Outputs must not disclose graphs and file names to callers; and without them equal pixels give equal files,
whichever instance made them. Other metadata stays, such as the mark of the simulator.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.ffmpeg import ffmpeg_errors, open_media
from orchestrator.media.marks.image_provenance import (
    GRAPH_KEYWORDS,
    is_graph_text,
    strip_jpeg_graph,
    strip_png_graph,
    strip_webp_graph,
)

if TYPE_CHECKING:
    from av.container import InputContainer

_IMAGE_STRIPPERS: Mapping[str, Callable[[bytes], bytes]] = {
    "image/png": strip_png_graph,
    "image/webp": strip_webp_graph,
    "image/jpeg": strip_jpeg_graph,
}
#: FFmpeg's formats of containers with metadata.
CONTAINERS = {
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "matroska",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/mp4": "mp4",
    "audio/webm": "webm",
}
_GLB_HEADER = struct.Struct("<4sIIII")


def strip_graph_metadata(data: bytes, content_type: str) -> bytes:
    """Return the same media without the graph. CPU-bound: call it in a worker thread. Raises CorruptMedia."""
    try:
        if content_type in _IMAGE_STRIPPERS:
            return _IMAGE_STRIPPERS[content_type](data)
        if content_type == "model/gltf-binary":
            return _strip_mesh_graph(data)
        if content_type in CONTAINERS:
            return _strip_container_graph(data, CONTAINERS[content_type])
    except ffmpeg_errors(struct.error) as error:
        raise CorruptMedia(f"the {content_type} cannot be rewritten: {error}") from error
    return data


def _strip_mesh_graph(data: bytes) -> bytes:
    """Return a binary glTF without the graph in the extras of its asset."""
    magic, version, _, length, kind = _GLB_HEADER.unpack_from(data)
    start, end = _GLB_HEADER.size, _GLB_HEADER.size + length
    document = json.loads(data[start:end])
    extras = document.get("asset", {}).get("extras")
    kept = _without_graph(extras) if isinstance(extras, dict) else extras
    if kept == extras:
        return data
    document["asset"] = {key: value for key, value in document["asset"].items() if key != "extras"}
    if kept:
        document["asset"]["extras"] = kept
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    rest = data[end:]
    header = _GLB_HEADER.pack(magic, version, _GLB_HEADER.size + len(text) + len(rest), len(text), kind)
    return header + text + rest


def _strip_container_graph(data: bytes, container: str) -> bytes:
    with _open_container(data, container) as source:
        found = [source.metadata, *(stream.metadata for stream in source.streams)]  # Ogg has it in streams
        if all(_without_graph(metadata) == metadata for metadata in found):
            return data
        return _remux(source, container, _without_graph)


def read_container_tags(data: bytes, content_type: str) -> dict[str, str]:
    """Return the tags of a container by their names in capitals. Raises CorruptMedia."""
    try:
        with _open_container(data, CONTAINERS[content_type]) as source:
            found = [source.metadata, *(stream.metadata for stream in source.streams)]
            return {key.upper(): text for tags in found for key, text in tags.items()}
    except ffmpeg_errors() as error:
        raise CorruptMedia(f"the {content_type} cannot be read: {error}") from error


def write_container_tag(data: bytes, content_type: str, name: str, text: str) -> bytes:
    """Return the same packets with a tag. CPU-bound: call it in a worker thread. Raises CorruptMedia."""
    container = CONTAINERS[content_type]
    try:
        with _open_container(data, container) as source:
            # An Ogg has the tags in its streams.
            in_streams = container == "ogg"
            tags = [stream.metadata for stream in source.streams] if in_streams else [source.metadata]
            if tags and all(_find_tag(each, name) == text for each in tags):
                return data
            own = {name: text}

            def change(metadata: Mapping[str, Any], is_stream: bool) -> dict[str, Any]:
                kept = {key: value for key, value in metadata.items() if key.upper() != name}
                return kept | own if is_stream == in_streams else kept

            return _remux(source, container, change)
    except ffmpeg_errors() as error:
        raise CorruptMedia(f"the {content_type} cannot be rewritten: {error}") from error


def _find_tag(metadata: Mapping[str, str], name: str) -> str | None:
    return next((text for key, text in metadata.items() if key.upper() == name), None)


def _open_container(data: bytes, container: str) -> InputContainer:
    reader = "matroska" if container == "webm" else container
    return open_media(data, reader)


def _without_graph(metadata: Mapping[str, Any], _: bool = False) -> dict[str, Any]:
    return {key: text for key, text in metadata.items() if not _is_graph(key, text)}


def _is_graph(key: str, text: object) -> bool:
    """Return whether an entry of metadata holds the graph, by its key or by its text."""
    return key.lower() in GRAPH_KEYWORDS or (isinstance(text, str) and is_graph_text(text))


def _remux(
    source: InputContainer, container: str, change: Callable[[Mapping[str, Any], bool], dict[str, Any]]
) -> bytes:
    """Copy the packets unchanged, so that the frames stay identical bit for bit.

    `change(metadata, is_stream)` returns the metadata to write.
    """
    import av

    buffer = io.BytesIO()
    # Without the first flag the mp4 writer drops unknown keywords; the second one leaves out random ids.
    options = {"movflags": "use_metadata_tags"} if container in ("mp4", "mov") else {"fflags": "+bitexact"}
    with av.open(buffer, "w", format=container, container_options=options) as target:
        target.metadata.update(change(source.metadata, False))
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for stream in source.streams:
            streams[stream.index].metadata.clear()
            streams[stream.index].metadata.update(change(stream.metadata, True))
        for packet in source.demux():
            if (
                packet.size
            ):  # the last one of a stream is empty; Matroska's have no decoding time here and there
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return buffer.getvalue()
