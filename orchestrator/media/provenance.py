"""Strip the graph that ComfyUI embeds in output files.

Outputs must not disclose graphs and file names to callers; and without them equal pixels give equal files,
whichever instance made them. Other metadata stays, such as the mark of the simulator.
"""

from __future__ import annotations

import io

import av
from av.container import InputContainer

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.metadata import PNG_SIGNATURE, iter_png_chunks

#: Metadata keywords of the graph in the API format and in the UI format.
GRAPH_KEYWORDS = frozenset({"prompt", "workflow"})

_PNG_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_VIDEO_CONTAINERS = {"video/mp4": "mp4", "video/webm": "webm", "video/x-matroska": "matroska"}


def strip_graph_metadata(data: bytes, content_type: str) -> bytes:
    """Return the same media without the graph. CPU-bound: call it in a worker thread. Raises CorruptMedia."""
    try:
        if content_type == "image/png":
            return _strip_png_graph(data)
        if content_type in _VIDEO_CONTAINERS:
            return _strip_video_graph(data, _VIDEO_CONTAINERS[content_type])
    except (av.FFmpegError, ValueError) as error:
        raise CorruptMedia(f"the {content_type} cannot be rewritten: {error}") from error
    return data


def _strip_png_graph(data: bytes) -> bytes:
    kept = [PNG_SIGNATURE]
    for chunk in iter_png_chunks(data):
        keyword = chunk.body.partition(b"\0")[0] if chunk.kind in _PNG_TEXT_CHUNKS else b""
        if keyword.decode("latin-1") not in GRAPH_KEYWORDS:
            kept.append(chunk.raw)
    return b"".join(kept)


def _strip_video_graph(data: bytes, container: str) -> bytes:
    reader = "matroska" if container == "webm" else container
    with av.open(io.BytesIO(data), "r", format=reader) as source:
        if not GRAPH_KEYWORDS & {key.lower() for key in source.metadata}:
            return data
        return _remux_without_graph(source, container)


def _remux_without_graph(source: InputContainer, container: str) -> bytes:
    """Copy the packets unchanged, so that the frames stay identical bit for bit."""
    buffer = io.BytesIO()
    # Without this flag the mp4 writer drops unknown keywords.
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
