"""Stills out of films: a thumbnail, and a sheet of frames. CPU work: call it in a worker thread."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import av
from PIL import Image

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.sniffing import detect_content_type
from orchestrator.media.streams import DEMUXERS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

#: Pixels of the longer side of a thumbnail, and of each picture on a sheet.
THUMBNAIL_SIDE, TILE_SIDE = 512, 240
#: Pictures on a sheet: at most, and side by side.
MAX_TILES, SPRITESHEET_COLUMNS = 25, 5


def make_thumbnail(video: bytes) -> bytes:
    """The first frame as a small WebP. Raises CorruptMedia."""
    with _open_video(video) as container:
        for frame in container.decode(video=0):
            return _encode_image(_resize_frame(frame, THUMBNAIL_SIDE), "WEBP")
    raise CorruptMedia("the film has no frame")


def make_spritesheet(video: bytes) -> bytes:
    """Frames that lie evenly over the film, five to a row, as a JPEG. Raises CorruptMedia."""
    with _open_video(video) as container:
        count = sum(1 for packet in container.demux(video=0) if packet.size)
        container.seek(0)
        wanted = {index * count // min(MAX_TILES, count) for index in range(min(MAX_TILES, count))}
        frames = enumerate(container.decode(video=0))
        tiles = [_resize_frame(frame, TILE_SIDE) for index, frame in frames if index in wanted]
    if not tiles:
        raise CorruptMedia("the film has no frame")
    width, height = tiles[0].size
    sheet = Image.new(
        "RGB", (width * min(SPRITESHEET_COLUMNS, len(tiles)), height * -(-len(tiles) // SPRITESHEET_COLUMNS))
    )
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (width * (index % SPRITESHEET_COLUMNS), height * (index // SPRITESHEET_COLUMNS)))
    return _encode_image(sheet, "JPEG")


@contextmanager
def _open_video(video: bytes) -> Iterator[InputContainer]:
    demuxer = DEMUXERS.get(detect_content_type(video) or "")
    if demuxer is None:
        raise CorruptMedia("this is no film")
    try:
        with av.open(io.BytesIO(video), "r", format=demuxer) as container:
            yield container
    except (av.FFmpegError, ValueError, EOFError, IndexError) as error:
        raise CorruptMedia(f"the film can not be decoded: {error}") from error


def _resize_frame(frame: VideoFrame, side: int) -> Image.Image:
    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _encode_image(image: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, quality=85)
    return buffer.getvalue()
