"""ComfyUI makes exactly the size and the length that was asked for, with the nodes that cut outputs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.comfyui.test_service_real import (  # noqa: F401 - fixtures
    key,
    pytestmark,
    service,
)
from tests.support.images import png, size_of
from tests.support.service import ServiceProcess
from tests.support.videos import VideoInfo, film


@pytest.fixture(scope="module")
def http(service: ServiceProcess, key: str) -> Iterator[httpx.Client]:  # noqa: F811
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=200) as client:
        yield client


def result(response: httpx.Response) -> tuple[bytes, dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert "X-PixelFactory-Simulated" not in response.headers
    body = response.json()
    return base64.b64decode(body["data"][0]["b64_json"]), body["usage"]


def generate(http: httpx.Client, **fields: Any) -> tuple[bytes, dict[str, Any]]:
    return result(http.post("/api/v1/images/generations", json={"prompt": "a lighthouse"} | fields))


def edit(http: httpx.Client, image: bytes, mask: bytes, **fields: str) -> tuple[bytes, dict[str, Any]]:
    files = {"image": ("image.png", image), "mask": ("mask.png", mask)}
    return result(
        http.post("/v1/images/edits", files=files, data={"prompt": "dusk", "mask_channel": "alpha"} | fields)
    )


def center_mask(width: int, height: int) -> bytes:
    """A mask that is transparent in its middle."""
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def difference(pixels: Image.Image, place: tuple[int, int], colour: tuple[int, ...]) -> int:
    """Return by how much a pixel differs from a colour, in the channel that differs most.

    ComfyUI enlarges one colour by bilinear weights whose sum is not exactly 1, and cuts off what follows the
    decimal point when it makes 8-bit pixels. A channel is therefore one lower in some places.
    """
    found = pixels.getpixel(place)
    assert isinstance(found, tuple)
    return max(abs(one - other) for one, other in zip(found, colour, strict=True))


def test_a_video_is_cut_to_the_requested_size_and_length(http: httpx.Client) -> None:
    video, usage = generate(http, model="test-video", size="264x360", num_frames=18, fps=8)
    assert film(video) == VideoInfo(264, 360, 18, 8.0, "h264")
    assert (usage["width"], usage["height"], usage["frames"], usage["seconds"]) == (264, 360, 18, 2.25)


def test_a_sampled_image_has_the_requested_size(http: httpx.Client) -> None:
    image, _ = generate(http, model="sd-1.5", size="264x328", steps=1)
    assert size_of(image) == (264, 328)


def test_a_video_has_the_shape_of_its_image(http: httpx.Client) -> None:
    image = base64.b64encode(png(144, 256)).decode()
    video, _ = generate(http, model="test-i2v", image=image, num_frames=6, width=256)
    made = film(video)
    assert (made.width, made.height, made.frames) == (256, 456, 6)


def test_an_edit_keeps_an_odd_size_and_what_is_not_masked(http: httpx.Client) -> None:
    original = png(301, 203)
    image, usage = edit(http, original, center_mask(301, 203), model="test-fill")
    assert (size_of(image), usage["size"]) == ((301, 203), "301x203")
    with Image.open(io.BytesIO(image)) as made, Image.open(io.BytesIO(original)) as before:
        for place in ((0, 0), (300, 0), (0, 202), (300, 202), (40, 30)):
            assert made.convert("RGB").getpixel(place) == before.getpixel(place)


def test_an_edit_of_another_shape_paints_what_is_added(http: httpx.Client) -> None:
    colour = (220, 158, 196)
    seed = str(int.from_bytes(bytes(colour)))
    image, _ = edit(http, png(320, 320), center_mask(320, 320), model="test-fill", size="648x320", seed=seed)
    with Image.open(io.BytesIO(image)) as made:
        pixels = made.convert("RGB")
        assert pixels.size == (648, 320)
        for place in ((2, 2), (640, 300), (324, 160)):
            assert difference(pixels, place, colour) <= 1
        assert difference(pixels, (170, 10), colour) > 1


def test_a_larger_image_is_scaled_to_the_size_with_its_mask(http: httpx.Client) -> None:
    image, usage = edit(http, png(2500, 1250), center_mask(2500, 1250), model="test-fill", size="512x256")
    assert size_of(image) == (512, 256)
    assert not any("scaled down" in text for text in usage["warnings"])
