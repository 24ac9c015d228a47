"""Stills out of real films."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.thumbnails import make_spritesheet, make_thumbnail
from tests.support.media_samples import encoded, film, gradient


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture.copy()


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("webm", "libvpx-vp9")])
def test_a_thumbnail_is_the_first_frame(container: str, codec: str) -> None:
    made = make_thumbnail(film(container, codec))
    assert made.startswith(b"RIFF")
    assert opened(made).size == opened(encoded(gradient(64, 48), "PNG")).size


@pytest.mark.parametrize(
    ("frames", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (9, 5, 2), (25, 5, 5), (30, 5, 5)]
)
def test_a_sheet_has_as_many_tiles_as_there_is_room_for(frames: int, columns: int, rows: int) -> None:
    tile = opened(make_thumbnail(film(frames=frames))).size
    sheet = opened(make_spritesheet(film(frames=frames)))
    assert sheet.format is None
    assert sheet.size == (columns * tile[0], rows * tile[1])


@pytest.mark.parametrize("data", [b"", b"no film", encoded(gradient(), "PNG"), film()[:200]])
@pytest.mark.parametrize("make", [make_thumbnail, make_spritesheet])
def test_rejects_stills_of_files_that_are_no_video(make: object, data: bytes) -> None:
    assert callable(make)
    with pytest.raises(CorruptMedia):
        make(data)
