"""Stills out of films: a thumbnail, and a sheet of frames. CPU work: call it in a worker thread."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import av
from PIL import Image

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.sniffing import sniff
from orchestrator.media.streams import DEMUXERS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

#: Pixels of the longer side of a thumbnail, and of each picture on a sheet.
THUMBNAIL_SIDE, TILE_SIDE = 512, 240
#: Pictures on a sheet: at most, and side by side.
TILES, COLUMNS = 25, 5


def thumbnail(film: bytes) -> bytes:
    """The first frame as a small WebP. Raises CorruptMedia."""
    with _opened(film) as container:
        for frame in container.decode(video=0):
            return _encoded(_shrunk(frame, THUMBNAIL_SIDE), "WEBP")
    raise CorruptMedia("the film has no frame")


def spritesheet(film: bytes) -> bytes:
    """Frames that lie evenly over the film, five to a row, as a JPEG. Raises CorruptMedia."""
    with _opened(film) as container:
        count = sum(1 for packet in container.demux(video=0) if packet.size)
        container.seek(0)
        wanted = {index * count // min(TILES, count) for index in range(min(TILES, count))}
        frames = enumerate(container.decode(video=0))
        tiles = [_shrunk(frame, TILE_SIDE) for index, frame in frames if index in wanted]
    if not tiles:
        raise CorruptMedia("the film has no frame")
    width, height = tiles[0].size
    sheet = Image.new("RGB", (width * min(COLUMNS, len(tiles)), height * -(-len(tiles) // COLUMNS)))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (width * (index % COLUMNS), height * (index // COLUMNS)))
    return _encoded(sheet, "JPEG")


@contextmanager
def _opened(film: bytes) -> Iterator[InputContainer]:
    demuxer = DEMUXERS.get(sniff(film) or "")
    if demuxer is None:
        raise CorruptMedia("this is no film")
    try:
        with av.open(io.BytesIO(film), "r", format=demuxer) as container:
            yield container
    except (av.FFmpegError, ValueError, EOFError, IndexError) as error:
        raise CorruptMedia(f"the film can not be decoded: {error}") from error


def _shrunk(frame: VideoFrame, side: int) -> Image.Image:
    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _encoded(picture: Image.Image, format: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, quality=85)
    return buffer.getvalue()
