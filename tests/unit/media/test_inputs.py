"""Pictures from outside: every wrapping, every limit, every way to be broken."""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageOps

from orchestrator.errors import InvalidRequest
from orchestrator.media.formats import CorruptMedia, probe_media
from orchestrator.media.inputs.input_images import ImageLimits, InputImage, read_image
from orchestrator.media.marks.metadata import strip_metadata
from tests.support.media_samples import (
    SECRET,
    animation,
    encoded,
    exif,
    film,
    gif_of_size,
    gradient,
    jpeg_of_size,
    png_chunk,
    png_of_size,
    webp_of_size,
)

KINDS = ("PNG", "JPEG", "WEBP")
PNG = encoded(gradient(), "PNG")


async def read(value: str | bytes, **limits: Any) -> InputImage:
    return await read_image(value, limits=ImageLimits(**limits), param="image")


async def refusal(value: str | bytes, **limits: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        await read_image(value, limits=ImageLimits(**limits), param="start_frame")
    assert caught.value.param == "start_frame"
    return caught.value


def pixels(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")


def differ(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of one colour of one pixel; pictures of two sizes differ by 255."""
    if one.size != other.size:
        return 255
    extrema = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema()
    return max(int(band[1]) for band in extrema)  # type: ignore[index]


@pytest.mark.parametrize(
    "wrapped",
    [
        PNG,
        base64.b64encode(PNG).decode(),
        base64.urlsafe_b64encode(PNG).decode(),
        base64.b64encode(PNG).decode().rstrip("="),
        base64.encodebytes(PNG).decode(),
        "  \n" + base64.encodebytes(PNG).decode().replace("\n", "\r\n"),
        "data:image/png;base64," + base64.b64encode(PNG).decode(),
        "DATA:image/jpeg;charset=x;BASE64," + base64.urlsafe_b64encode(PNG).decode(),
        "data:," + "".join(f"%{byte:02x}" for byte in PNG),
    ],
    ids=["bytes", "plain", "urlsafe", "unpadded", "lines", "crlf", "data-url", "loud-data-url", "percent"],
)
async def test_every_wrapping_is_taken_off(wrapped: str | bytes) -> None:
    image = await read(wrapped)
    assert (image.content_type, image.width, image.height, image.has_alpha) == ("image/png", 48, 32, False)
    assert image.sha256 == hashlib.sha256(image.data).hexdigest()
    assert image.ext == "png"
    assert differ(pixels(image.data), gradient()) == 0


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/a.png", "https://example.com/a.png", " HTTPS://x", "file:///etc/passwd", "s3://b/k"],
)
async def test_addresses_are_not_fetched(address: str) -> None:
    assert (await refusal(address)).code == "image_url_not_supported"


@pytest.mark.parametrize("value", ["", " \n", "data:,", "data:image/png;base64,", b""])
async def test_nothing_is_no_image(value: str | bytes) -> None:
    assert (await refusal(value)).code == "invalid_image"


@pytest.mark.parametrize("value", ["!!!", "abcde", "\ud800", "\x00" * 8, "data:image/png;base64,%%%", "ÄÖÜ="])
async def test_rejects_invalid_base64(value: str) -> None:
    error = await refusal(value)
    assert (error.code, error.status) == ("invalid_image", 400)
    assert f"must be base64 text or a data URL (got {value[:40]!r})" in error.message


@pytest.mark.parametrize(
    "data",
    [
        b"plain text",
        encoded(gradient(), "BMP"),
        encoded(gradient(), "TIFF"),
        film(),
        b"<svg/>",
        b"%PDF-1.7",
        b"PK\x03\x04",
    ],
    ids=["text", "bmp", "tiff", "mp4", "svg", "pdf", "zip"],
)
async def test_other_formats_are_named_in_the_refusal(data: bytes) -> None:
    error = await refusal(base64.b64encode(data).decode())
    assert error.code == "unsupported_image_format"
    assert "gif, jpg, png, webp" in error.message


async def test_the_limits_decide_which_formats_are_taken() -> None:
    only_png = frozenset({"image/png"})
    assert (await read(PNG, formats=only_png)).content_type == "image/png"
    jpeg = encoded(gradient(), "JPEG")
    assert (await refusal(jpeg, formats=only_png)).code == "unsupported_image_format"


@pytest.mark.parametrize("kind", [*KINDS, "GIF"])
@pytest.mark.parametrize("left", [0.05, 0.5, 0.97])
async def test_a_truncated_image_is_invalid(kind: str, left: float) -> None:
    whole = encoded(Image.effect_noise((64, 64), 50).convert("RGB"), kind)
    error = await refusal(whole[: int(len(whole) * left)])
    assert error.code == "invalid_image"


async def test_a_checksum_that_does_not_fit_is_invalid() -> None:
    """Pillow alone would decode past the last one of the pixels."""
    damaged = bytearray(encoded(gradient(), "PNG"))
    damaged[damaged.index(b"IEND") - 8] ^= 1
    with pytest.raises(InvalidRequest) as refused:
        await read(bytes(damaged))
    assert refused.value.code == "invalid_image"


async def test_a_file_over_the_limit_is_too_large() -> None:
    assert (await read(PNG, max_bytes=len(PNG))).width == 48
    for value in (PNG, base64.b64encode(PNG).decode()):
        assert (await refusal(value, max_bytes=len(PNG) - 1)).code == "image_too_large"


@pytest.mark.parametrize(
    "header",
    [
        png_of_size(30_000, 30_000),
        png_of_size(2**31 - 1, 2**31 - 1),
        jpeg_of_size(65_000, 65_000),
        gif_of_size(65_535, 65_535),
        webp_of_size(16_384, 16_384),
        png_of_size(1, 20_000),
    ],
    ids=["png", "png-extreme", "jpeg", "gif", "webp", "thin"],
)
async def test_the_size_is_checked_before_anything_is_decoded(header: bytes) -> None:
    """None of these files could be decoded: that would be another error."""
    assert (await refusal(header)).code == "image_too_large"


async def test_a_real_bomb_is_too_large() -> None:
    bomb = encoded(Image.new("1", (12_000, 12_000)), "PNG")
    assert len(bomb) < 100_000
    assert (await refusal(bomb)).code == "image_too_large"


async def test_a_bomb_in_the_metadata_is_never_unpacked() -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9))
    image = await read(PNG[:33] + text + PNG[33:])
    assert image.data == (await read(PNG)).data


@pytest.mark.parametrize("size", [(0, 10), (10, 0)])
async def test_an_image_without_pixels_is_invalid(size: tuple[int, int]) -> None:
    assert (await refusal(png_of_size(*size))).code == "invalid_image"


@pytest.mark.parametrize("kind", KINDS)
async def test_metadata_goes_and_pixels_stay(kind: str) -> None:
    dirty = encoded(gradient(), kind, exif=exif(), quality=95, comment=SECRET, xmp=SECRET.encode())
    assert SECRET.encode() in dirty
    image = await read(dirty + b"<?php hung on behind ?>")
    assert SECRET.encode() not in image.data
    assert b"php" not in image.data
    assert image.content_type == f"image/{kind.lower()}"
    assert differ(pixels(image.data), pixels(dirty)) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
async def test_images_are_turned_upright(kind: str, orientation: int) -> None:
    """What a viewer shows is what comes out, also for readers that know nothing of orientations."""
    data = encoded(gradient(), kind, exif=exif(orientation), quality=100)
    with Image.open(io.BytesIO(data)) as photograph:
        upright = ImageOps.exif_transpose(photograph)
    image = await read(data)
    assert (image.width, image.height) == upright.size
    assert differ(pixels(image.data), upright) == 0
    assert SECRET.encode() not in image.data


@pytest.mark.parametrize(
    "block",
    [b"MM\0*\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09", b"II*\0", b"", exif(9).tobytes()[6:]],
    ids=["far", "short", "shorter", "empty", "ninth"],
)
async def test_a_broken_exif_block_turns_nothing(block: bytes) -> None:
    jpeg = encoded(gradient(), "JPEG", exif=b"Exif\0\0" + block)
    image = await read(jpeg)
    assert (image.content_type, image.width, image.height) == ("image/jpeg", 48, 32)


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
async def test_of_an_animation_the_first_frame_is_taken(kind: str, options: dict[str, bool]) -> None:
    image = await read(animation(kind, **options))
    assert image.content_type == "image/png"
    assert image.is_animated
    assert probe_media(image.data).frames is None
    assert differ(pixels(image.data), Image.new("RGB", (24, 16), "black")) == 0


@pytest.mark.parametrize(
    ("picture", "kind", "mode", "alpha"),
    [
        (gradient(mode="P"), "PNG", "RGB", False),
        (gradient(mode="1"), "PNG", "L", False),
        (gradient(mode="L"), "JPEG", "L", False),
        (gradient(mode="LA"), "PNG", "RGBA", True),
        (gradient(mode="RGBA"), "PNG", "RGBA", True),
        (Image.new("RGBA", (48, 32), (9, 9, 9, 99)), "WEBP", "RGBA", True),
        (gradient(mode="CMYK"), "JPEG", "RGB", False),
        (Image.new("I;16", (48, 32), 0x8000), "PNG", "L", False),
    ],
    ids=["palette", "bits", "grey-jpeg", "grey-alpha", "rgba", "rgba-webp", "cmyk", "16-bit"],
)
async def test_odd_pixels_become_plain_ones(picture: Image.Image, kind: str, mode: str, alpha: bool) -> None:
    image = await read(encoded(picture, kind))
    with Image.open(io.BytesIO(image.data)) as plain:
        assert (plain.mode, plain.size) == (mode, (48, 32))
    assert image.has_alpha is alpha


@pytest.mark.parametrize("kind", [*KINDS, "GIF"])
async def test_a_still_is_no_animation(kind: str) -> None:
    assert not (await read(encoded(gradient(), kind))).is_animated
    if kind != "JPEG":
        assert not (await read(animation(kind, frames=1))).is_animated


@pytest.mark.parametrize(
    ("alpha", "is_transparent"), [(0, True), (254, True), (255, False), (None, False)], ids=str
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
async def test_an_alpha_channel_alone_is_not_transparent(
    kind: str, alpha: int | None, is_transparent: bool
) -> None:
    picture = gradient(mode="RGB" if alpha is None else "RGBA")
    if alpha is not None:
        picture.putalpha(255)
        picture.putpixel((5, 5), (1, 2, 3, alpha))
    image = await read(encoded(picture, kind, lossless=True) if kind == "WEBP" else encoded(picture, kind))
    assert image.is_transparent is is_transparent


@pytest.mark.parametrize(
    ("picture", "most"),
    [
        (Image.new("RGB", (8, 8), (0, 9, 9)), 0),
        (Image.new("RGBA", (8, 8), (7, 0, 0, 0)), 7),
        (Image.new("L", (8, 8), 0), 0),
        (Image.new("L", (8, 8), 255), 255),
        (Image.new("1", (8, 8), 0), 0),
        (Image.new("P", (8, 8), 0), 0),
    ],
    ids=["rgb", "rgba", "black", "white", "bits", "palette"],
)
async def test_knows_the_reddest_pixel(picture: Image.Image, most: int) -> None:
    assert (await read(encoded(picture, "PNG"))).most_red == most


async def test_a_transparent_colour_becomes_alpha() -> None:
    image = await read(encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3)))
    assert image.has_alpha
    with Image.open(io.BytesIO(image.data)) as picture:
        assert picture.getpixel((4, 4)) == (1, 2, 3, 0)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200) | st.binary(max_size=200))
async def test_any_value_is_read_or_refused(value: str | bytes) -> None:
    with pytest.raises(InvalidRequest):
        await read(value)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([*KINDS, "GIF"]), st.booleans(), st.data())
async def test_damaged_images_are_read_or_refused(kind: str, animated: bool, data: st.DataObject) -> None:
    options = {} if kind == "GIF" else {"exif": exif(6)}
    sample = encoded(gradient(), kind, **options) if kind == "JPEG" or not animated else animation(kind)
    damaged = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, min(len(damaged) - 1, 400)))] = data.draw(st.integers(0, 255))
    try:
        image = await read(bytes(damaged), max_pixels=1_000_000)
    except InvalidRequest as error:
        assert error.code in ("invalid_image", "image_too_large", "unsupported_image_format")  # noqa: PT017
    else:
        assert probe_media(image.data).width == image.width


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["image/png", "image/jpeg", "image/webp"]), st.binary(max_size=120))
def test_stripping_takes_any_bytes(content_type: str, rest: bytes) -> None:
    magic = {"image/png": PNG[:8], "image/jpeg": b"\xff\xd8\xff", "image/webp": b"RIFF\x40\0\0\0WEBP"}[
        content_type
    ]
    try:
        stripped = strip_metadata(magic + rest, content_type)
    except CorruptMedia:
        return
    assert len(stripped.data) <= len(magic + rest) + 2
