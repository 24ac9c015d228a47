"""Results that the requested format does not hold fail their run, so that the job is not charged."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from orchestrator.execution.failures import FormatUnsupported
from orchestrator.execution.results.outputs import prepare_file
from orchestrator.media.formats import ImageEncoding
from orchestrator.media.images import MAX_ANIMATION_PIXELS
from orchestrator.media.marks.content_credentials import MediaOrigin
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.media.marks.source_marks import mark_source
from orchestrator.media.sniffing import MediaInfo


def prepare(data: bytes, encoding: ImageEncoding) -> tuple[bytes, MediaInfo, str]:
    return prepare_file(data, encoding, marker=MediaMarker(), origin=MediaOrigin(model="test"))


def animation(frames: int) -> bytes:
    """Return a PNG that declares so many frames."""
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (24, 16), (shade, 0, 0)) for shade in (10, 90))
    first.save(buffer, "PNG", save_all=True, append_images=[second], duration=100)
    data = bytearray(buffer.getvalue())
    at = data.index(b"acTL")
    data[at + 4 : at + 8] = struct.pack(">I", frames)
    data[at + 12 : at + 16] = struct.pack(">I", zlib.crc32(data[at : at + 12]))
    return bytes(data)


@pytest.mark.parametrize(("frames", "format"), [(MAX_ANIMATION_PIXELS // (24 * 16) + 1, "webp"), (2, "jpeg")])
def test_a_format_that_does_not_hold_an_animation_fails_the_run(frames: int, format: str) -> None:
    with pytest.raises(FormatUnsupported):
        prepare(animation(frames), ImageEncoding(f"image/{format}", 100))


def test_an_animation_in_its_own_format_stays_as_it_is_whatever_its_length() -> None:
    huge = animation(MAX_ANIMATION_PIXELS // (24 * 16) + 1)
    data, info, _ = prepare(huge, ImageEncoding("image/png", 100))
    assert (data, info.content_type) == (mark_source(huge, "image/png"), "image/png")
