"""Sizes are read from headers without a decoder, and are the sizes that the decoder uses."""

from __future__ import annotations

import io
import struct
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.errors import InvalidRequest
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.formats import probe_media
from orchestrator.media.image_headers import MAX_GIF_HEADER_BYTES, read_image_size
from orchestrator.media.images import IMAGE_TYPES, convert_image
from orchestrator.media.inputs.input_images import ImageLimits, inspect_image, read_image
from orchestrator.media.inputs.payloads import PayloadDecoder
from orchestrator.media.marks.metadata import MAX_BLOCKS, MAX_JPEG_SCANS, exif_orientation, exif_texts
from orchestrator.media.sniffing import detect_content_type
from orchestrator.media.thumbnails import make_spritesheet, make_thumbnail
from tests.support.media_samples import SECRET, animation, encoded, exif, gradient, png_chunk

MAGIC = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF\xff\x00\x00\x00WEBP",
    "image/gif": b"GIF89a",
}


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from(
        [
            ("PNG", {}),
            ("JPEG", {}),
            ("JPEG", {"progressive": True, "comment": b"x" * 400}),
            ("GIF", {}),
            ("WEBP", {"lossless": True}),
            ("WEBP", {}),
            ("WEBP", {"exif": exif(6)}),
        ]
    ),
)
def test_reads_the_size_that_pillow_reads(width: int, height: int, written: tuple[str, Any]) -> None:
    kind, options = written
    data = encoded(Image.new("RGB", (width, height)), kind, **options)
    assert read_image_size(data, f"image/{kind.lower()}") == (width, height)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_reads_the_size_of_an_animation(kind: str) -> None:
    assert read_image_size(animation(kind), f"image/{kind.lower()}") == (24, 16)


def gif(screen: tuple[int, int], frame: tuple[int, int, int, int], before: bytes = b"") -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", *screen, 0x80, 0, 0)
        + bytes(6)
        + before
        + b"\x2c"
        + struct.pack("<HHHHB", *frame, 0)
        + b"\x02\x02\x44\x01\x00;"
    )


def test_a_gif_is_as_large_as_a_first_frame_that_exceeds_its_screen() -> None:
    data = gif((10, 10), (5, 0, 20, 8), b"\x21\xfe\x03abc\x00")
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (25, 10)
    assert read_image_size(data, "image/gif") == (25, 10)


def test_rejects_a_gif_whose_first_frame_is_far_behind() -> None:
    comments = b"\x21\xfe" + b"\x01a" * MAX_GIF_HEADER_BYTES + b"\x00"
    with pytest.raises(CorruptMedia, match="no frame"):
        read_image_size(gif((10, 10), (0, 0, 10, 10), comments), "image/gif")


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(IMAGE_TYPES)), st.binary(max_size=200))
def test_any_bytes_have_a_size_or_are_corrupt(content_type: str, rest: bytes) -> None:
    try:
        width, height = read_image_size(MAGIC[content_type] + rest, content_type)
    except CorruptMedia:
        return
    assert width >= 0
    assert height >= 0


def test_rejects_an_image_of_two_sizes() -> None:
    small, large = (
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)) for side in (8, 64)
    )
    data = encoded(Image.new("L", (8, 8)), "PNG")
    assert small in data
    with pytest.raises(CorruptMedia, match="two sizes"):
        convert_image(data.replace(small, small + large), "image/jpeg")


async def rejected(data: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        await read_image(data, limits=ImageLimits())
    return caught.value


async def test_rejects_a_jpeg_of_many_scans() -> None:
    """A decoder would pass over all pixels for each of them."""
    data = encoded(gradient(), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    error = await rejected(data[:start] + scan * (MAX_JPEG_SCANS + 1) + data[-2:])
    assert (error.code, "scans" in error.message) == ("invalid_image", True)


@pytest.mark.parametrize(
    ("head", "block"),
    [
        (MAGIC["image/png"], png_chunk(b"IDAT", b"")),
        (b"\xff\xd8", b"\xff\xe1\x00\x02"),
        (b"RIFF" + struct.pack("<I", 4 + 8 * (MAX_BLOCKS + 1)) + b"WEBP", b"ALPH" + bytes(4)),
    ],
    ids=["png", "jpeg", "webp"],
)
async def test_rejects_an_image_of_many_blocks(head: bytes, block: bytes) -> None:
    error = await rejected(head + block * (MAX_BLOCKS + 1))
    assert (error.code, f"more than {MAX_BLOCKS} chunks" in error.message) == ("invalid_image", True)


async def test_skips_the_fill_bytes_of_a_jpeg() -> None:
    data = encoded(gradient(), "JPEG")
    filled = data[:2] + b"\xff" * 100_000 + data[2:]
    assert (await read_image(filled, limits=ImageLimits())).width == 48
    assert (await rejected(data[:2] + b"\xff" * 100_000)).code == "invalid_image"


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_inspects_the_upright_size(orientation: int) -> None:
    data = encoded(gradient(48, 32), "JPEG", exif=exif(orientation))
    inspected = await inspect_image(data, limits=ImageLimits())
    assert (inspected.width, inspected.height) == ((32, 48) if orientation >= 5 else (48, 32))


def video(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream("mjpeg", rate=8)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        pixels = np.zeros((height, width, 3), np.uint8)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    return buffer.getvalue()


def test_rejects_a_video_of_large_frames() -> None:
    large = video(7680, 4336)
    assert detect_content_type(large) == "video/x-matroska"
    for read in (probe_media, make_thumbnail, make_spritesheet):
        with pytest.raises(CorruptMedia, match="7680x4336"):
            read(large)
    assert probe_media(video(640, 480)).width == 640


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_percent_encoded_bytes_are_decoded(data: bytes, padding: int) -> None:
    """Also where an escape lies across two pieces of the text."""
    text = "data:," + "a" * (2**16 - padding) + "".join(f"%{byte:02x}" for byte in data)
    decoded = PayloadDecoder("image", 2**20).decode(text)
    assert decoded == b"a" * (2**16 - padding) + data


def test_other_percent_signs_stay() -> None:
    assert PayloadDecoder("image", 100).decode("data:,%4%zz%%41%") == b"%4%zz%A%"


def test_reads_the_texts_of_an_exif_block() -> None:
    block = exif(6)
    block[0x010F], block[0x0110] = "workflow:{}", "ab"
    texts = exif_texts(block.tobytes().removeprefix(b"Exif\0\0"))
    assert texts == {0x010E: SECRET, 0x010F: "workflow:{}", 0x0110: "ab"}


@given(st.binary(max_size=80), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]))
def test_any_exif_block_has_texts_and_an_orientation(rest: bytes, head: bytes) -> None:
    assert all(isinstance(text, str) for text in exif_texts(head + rest).values())
    assert 1 <= exif_orientation(head + rest) <= 8


def test_rejects_a_video_of_an_unknown_codec() -> None:
    damaged = video(64, 48).replace(b"V_MJPEG", b"V_NOSUC")
    for read in (probe_media, make_thumbnail, make_spritesheet):
        with pytest.raises(CorruptMedia, match="codec of its video stream is unknown"):
            read(damaged)
