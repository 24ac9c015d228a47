"""Takes the graph out of a result, which ComfyUI writes into its files, and leaves all else.

A customer's picture must not carry our graphs and file names; and without them the same pixels are the
same file, whichever instance made it. What else the metadata says, such as that the picture is a
simulator's, stays.
"""

from __future__ import annotations

import io
import struct

import av
from av.container import InputContainer

from orchestrator.media.errors import CorruptMedia

#: Keywords under which ComfyUI keeps the graph as it ran and as it was drawn.
GRAPH_KEYWORDS = frozenset({"prompt", "workflow"})

_PNG_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_VIDEO_CONTAINERS = {"video/mp4": "mp4", "video/webm": "webm", "video/x-matroska": "matroska"}


def strip_graph_metadata(data: bytes, content_type: str) -> bytes:
    """The same media without the graph: CPU work, call it in a worker thread. Raises CorruptMedia."""
    try:
        if content_type == "image/png":
            return _strip_png_graph(data)
        if content_type in _VIDEO_CONTAINERS:
            return _strip_video_graph(data, _VIDEO_CONTAINERS[content_type])
    except (struct.error, av.FFmpegError, ValueError) as error:
        raise CorruptMedia(f"the {content_type} can not be rewritten: {error}") from error
    return data


def _strip_png_graph(data: bytes) -> bytes:
    kept, at = [data[:8]], 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise CorruptMedia("the picture is cut off")
        keyword = data[at + 8 : end].partition(b"\0")[0] if kind in _PNG_TEXT_CHUNKS else b""
        if keyword.decode("latin-1") not in GRAPH_KEYWORDS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _strip_video_graph(data: bytes, container: str) -> bytes:
    reader = "matroska" if container == "webm" else container
    with av.open(io.BytesIO(data), "r", format=reader) as source:
        if not GRAPH_KEYWORDS & {key.lower() for key in source.metadata}:
            return data
        return _remux_without_graph(source, container)


def _remux_without_graph(source: InputContainer, container: str) -> bytes:
    """Packets go over as they are, so the pictures stay bit for bit."""
    buffer = io.BytesIO()
    # Without this flag the mp4 writer drops keywords that it does not know.
    options = {"movflags": "use_metadata_tags"} if container == "mp4" else {}
    with av.open(buffer, "w", format=container, container_options=options) as target:
        target.metadata.update(
            {key: text for key, text in source.metadata.items() if key.lower() not in GRAPH_KEYWORDS}
        )
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return buffer.getvalue()
