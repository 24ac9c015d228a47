"""Conversions keep the frames of animations, or are refused; files of the right type stay as they are."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image, ImageSequence

from orchestrator.media.errors import ImageTooLarge
from orchestrator.media.formats import ImageEncoding, LosesFrames, convert_image, probe_media
from orchestrator.media.images import MAX_ANIMATION_PIXELS
from tests.support.media_samples import animation, encoded, gradient

ANIMATIONS = {"image/gif": "GIF", "image/png": "PNG", "image/webp": "WEBP"}


def length(frame: Image.Image) -> int:
    frame.load()
    return int(frame.info["duration"] + 0.5)


def shades(data: bytes) -> list[int]:
    """Return how red each frame is in its middle."""
    with Image.open(io.BytesIO(data)) as image:
        return [frame.convert("RGB").getpixel((12, 8))[0] for frame in ImageSequence.Iterator(image)]  # type: ignore[index]


@pytest.mark.parametrize("to", ["image/png", "image/webp"])
@pytest.mark.parametrize("source", ANIMATIONS)
@pytest.mark.parametrize("quality", [None, 90])
def test_keeps_all_frames_with_their_durations(source: str, to: str, quality: int | None) -> None:
    data = animation(ANIMATIONS[source], frames=4)
    converted = convert_image(data, to, quality)
    info = probe_media(converted)
    assert (info.content_type, info.width, info.height, info.frames) == (to, 24, 16, 4)
    assert info.fps == pytest.approx(8, abs=0.5)
    assert shades(converted) == pytest.approx([0, 80, 160, 240], abs=12)


@pytest.mark.parametrize("source", ANIMATIONS)
def test_refuses_a_format_that_holds_one_frame(source: str) -> None:
    with pytest.raises(LosesFrames, match=r"3 frames cannot become image/jpeg"):
        convert_image(animation(ANIMATIONS[source]), "image/jpeg", 80)


def test_keeps_frames_of_different_lengths_and_the_number_of_rounds() -> None:
    frames = [Image.new("RGB", (24, 16), (80 * index, 0, 0)) for index in range(3)]
    options = {"save_all": True, "append_images": frames[1:], "duration": [40, 500, 120], "loop": 2}
    for kind, to in (("WEBP", "image/png"), ("PNG", "image/webp")):
        with Image.open(io.BytesIO(convert_image(encoded(frames[0], kind, **options), to))) as image:
            assert image.info["loop"] == 2
            durations = [length(frame) for frame in ImageSequence.Iterator(image)]
        assert durations == [40, 500, 120]


@pytest.mark.parametrize(
    ("kind", "to"), [("PNG", "image/webp"), ("WEBP", "image/png"), ("GIF", "image/webp")]
)
def test_keeps_transparent_parts_of_every_frame(kind: str, to: str) -> None:
    frames = []
    for index in range(3):
        frame = Image.new("RGBA", (24, 16), (0, 0, 0, 0))
        frame.paste((200, 30, 30, 255), (8 * index, 0, 8 * index + 8, 16))
        frame.putpixel((8 * index, 0), (0, 0, 0, 0))  # without a hole, WebP would not declare its alpha
        frames.append(frame)
    options = {"disposal": 2} if kind == "GIF" else {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)
    with Image.open(io.BytesIO(convert_image(data, to))) as image:
        for index, frame in enumerate(ImageSequence.Iterator(image)):
            alpha = frame.convert("RGBA").getchannel("A")
            assert [alpha.getpixel((8 * at + 4, 8)) for at in range(3)] == [
                255 if at == index else 0 for at in range(3)
            ]


def test_leaves_out_the_default_image_that_is_no_frame() -> None:
    data = animation("PNG", frames=3, default_image=True)
    assert shades(convert_image(data, "image/webp")) == pytest.approx([80, 160], abs=12)


def test_refuses_an_animation_that_does_not_fit_into_memory() -> None:
    assert MAX_ANIMATION_PIXELS >= 81 * 1280 * 720
    data, frames = bytearray(animation("PNG")), MAX_ANIMATION_PIXELS // (24 * 16) + 1
    at = data.index(b"acTL")
    data[at + 4 : at + 8] = struct.pack(">I", frames)
    data[at + 12 : at + 16] = struct.pack(">I", zlib.crc32(data[at : at + 12]))
    with pytest.raises(ImageTooLarge, match=f"{frames} frames of 24x16 pixels"):
        convert_image(bytes(data), "image/webp")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("default_quality", [90, 100])
def test_keeps_a_file_of_the_right_type_byte_for_byte(kind: str, default_quality: int) -> None:
    data, content_type = encoded(gradient(), kind), f"image/{kind.lower()}"
    encoding = ImageEncoding(content_type, None, default_quality)
    assert encoding.keeps(content_type)
    assert encoding.encode(data) == data


def test_keeps_a_png_whatever_the_quality_since_it_has_none() -> None:
    data = animation("PNG")
    encoding = ImageEncoding("image/png", 50)
    assert encoding.keeps("image/png")
    assert encoding.encode(data) == data


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_encodes_the_same_type_again_if_a_quality_is_asked_for(kind: str) -> None:
    noise, content_type = encoded(Image.effect_noise((64, 64), 60), kind), f"image/{kind.lower()}"
    sizes = [len(ImageEncoding(content_type, quality).encode(noise)) for quality in (0, 20, 50)]
    assert sizes == sorted(sizes)
    assert sizes[0] < len(noise)
    assert not ImageEncoding(content_type, 20).keeps(content_type)


def test_uses_the_default_quality_for_other_types_only() -> None:
    noise = encoded(Image.effect_noise((64, 64), 60), "PNG")
    high, low = (len(ImageEncoding("image/webp", None, quality).encode(noise)) for quality in (100, 30))
    assert low < high
