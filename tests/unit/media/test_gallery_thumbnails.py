"""Thumbnails for galleries: small WebP images of every kind of result that can be seen."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.gallery_thumbnails import MAX_BYTES, SIDE, has_thumbnail, make_gallery_thumbnail
from tests.support.media_samples import film


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def thumbnail(data: bytes, content_type: str) -> Image.Image:
    made = make_gallery_thumbnail(data, content_type)
    assert len(made) <= MAX_BYTES
    image = Image.open(io.BytesIO(made))
    assert image.format == "WEBP"
    return image


def noise(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 90).convert("RGB")


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_keeps_the_aspect_ratio_of_an_image(image_format: str) -> None:
    data = encoded(Image.new("RGB", (1344, 768), "teal"), image_format)
    small = thumbnail(data, f"image/{image_format.lower()}")
    assert small.size == (SIDE, round(SIDE * 768 / 1344))
    red, green, blue = small.convert("RGB").getpixel((10, 10))  # type: ignore[misc]
    assert red < 20
    assert abs(green - 128) + abs(blue - 128) < 20


def test_noise_stays_within_the_limit() -> None:
    assert max(thumbnail(encoded(noise(2048, 2048), "PNG"), "image/png").size) <= SIDE


def test_a_small_image_is_not_enlarged() -> None:
    assert thumbnail(encoded(noise(64, 48), "PNG"), "image/png").size == (64, 48)


def test_transparent_pixels_stay_transparent() -> None:
    image = Image.new("RGBA", (600, 600), (255, 0, 0, 0))
    pixel = thumbnail(encoded(image, "PNG"), "image/png").convert("RGBA").getpixel((5, 5))
    assert pixel is not None
    assert pixel[3] == 0  # type: ignore[index]


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "1", "LA"])
def test_reads_every_mode_of_pixels(mode: str) -> None:
    image = Image.new("I;16", (700, 20), 40_000) if mode == "I;16" else noise(700, 20).convert(mode)
    assert thumbnail(encoded(image, "PNG"), "image/png").size == (512, 15)


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("RGB", (600, 600), color) for color in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100)
    small = thumbnail(data, "image/webp")
    assert getattr(small, "n_frames", 1) == 1
    assert small.convert("RGB").getpixel((5, 5))[0] > 200  # type: ignore[index]


def test_a_video_shows_its_first_frame() -> None:
    small = thumbnail(film(), "video/mp4")
    assert max(small.size) <= SIDE


def test_other_files_have_none() -> None:
    wanted = {type: has_thumbnail(type) for type in ("image/png", "video/mp4", "audio/mp4", "text/plain")}
    assert wanted == {"image/png": True, "video/mp4": True, "audio/mp4": False, "text/plain": False}


def test_rejects_a_truncated_image() -> None:
    with pytest.raises(CorruptMedia):
        make_gallery_thumbnail(encoded(noise(300, 300), "PNG")[:5000], "image/png")
