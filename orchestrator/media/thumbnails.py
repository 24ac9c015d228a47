"""Make a thumbnail or a spritesheet of frames from a video. CPU-bound: call it in a worker thread."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.ffmpeg import ffmpeg_errors, open_media
from orchestrator.media.sniffing import detect_content_type
from orchestrator.media.streams import DEMUXERS, limit_frame_size

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

#: Longer side in pixels of a thumbnail, and of each tile of a spritesheet.
THUMBNAIL_SIDE, TILE_SIDE = 512, 240
#: Maximum number of tiles of a spritesheet, and tiles per row.
MAX_TILES, SPRITESHEET_COLUMNS = 25, 5


def make_thumbnail(video: bytes) -> bytes:
    """Return the first frame as a small WebP image. Raises CorruptMedia."""
    with _open_video(video) as container:
        for frame in container.decode(video=0):
            return _encode_image(_resize_frame(frame, THUMBNAIL_SIDE), "WEBP")
    raise CorruptMedia("the video has no frame")


def make_spritesheet(video: bytes) -> bytes:
    """Return evenly spaced frames as a JPEG, five per row. Raises CorruptMedia."""
    with _open_video(video) as container:
        count = sum(1 for packet in container.demux(video=0) if packet.size)
        container.seek(0)
        wanted = {index * count // min(MAX_TILES, count) for index in range(min(MAX_TILES, count))}
        frames = enumerate(container.decode(video=0))
        tiles = [_resize_frame(frame, TILE_SIDE) for index, frame in frames if index in wanted]
    if not tiles:
        raise CorruptMedia("the video has no frame")
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
        raise CorruptMedia("the data is not a video")
    try:
        with open_media(video, demuxer) as container:
            limit_frame_size(container)
            yield container
    except ffmpeg_errors(EOFError, IndexError) as error:
        raise CorruptMedia(f"the video cannot be decoded: {error}") from error


def _resize_frame(frame: VideoFrame, side: int) -> Image.Image:
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _encode_image(image: Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, quality=85)
    return buffer.getvalue()
