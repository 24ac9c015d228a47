"""Results have exactly the size and the length that was asked for; edits and videos follow their image."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.images import png, png_with_hole, size_of
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess
from tests.support.videos import film

RED = (200, 30, 30)


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {service.key('20.00')}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=120) as client:
        yield client


def generate(client: httpx.Client, **fields: Any) -> tuple[bytes, dict[str, Any]]:
    """Return the first result of a generation and its usage."""
    body = {"prompt": "a lighthouse", "response_format": "b64_json"} | fields
    return result(client.post("/api/v1/images/generations", json=body))


def edit(client: httpx.Client, image: bytes, mask: bytes | None = None, **fields: str) -> tuple[bytes, Any]:
    files = {"image": ("image.png", image)} | ({"mask": ("mask.png", mask)} if mask else {})
    return result(client.post("/v1/images/edits", files=files, data={"prompt": "dusk"} | fields))


def result(response: httpx.Response) -> tuple[bytes, dict[str, Any]]:
    assert response.status_code == 200, response.text
    body = response.json()
    return base64.b64decode(body["data"][0]["b64_json"]), body["usage"]


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def saved(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("flux-1-schnell", "1080x608"),
        ("flux-2-klein-4b", "632x360"),
        ("z-image-turbo", "360x632"),
        ("sdxl-1.0", "1000x344"),
        ("flux-1-schnell-cutout", "264x456"),
    ],
)
def test_images_have_the_requested_size(client: httpx.Client, model: str, size: str) -> None:
    image, usage = generate(client, model=model, size=size)
    assert "x".join(map(str, size_of(image))) == size
    assert (usage["size"], f"{usage['width']}x{usage['height']}") == (size, size)


@pytest.mark.parametrize(
    ("model", "size", "frames", "fps"),
    [
        ("wan2.1-t2v-fast", (328, 264), 18, 8),
        ("ltx2-t2v", (360, 328), 20, 16),
        ("cogvideox-1.5-5b", (264, 280), 14, 8),
        ("wan2.2-5b", (328, 264), 7, 24),
    ],
)
def test_videos_have_the_requested_size_and_length(
    client: httpx.Client, model: str, size: tuple[int, int], frames: int, fps: int
) -> None:
    video, usage = generate(client, model=model, size=f"{size[0]}x{size[1]}", num_frames=frames, fps=fps)
    made = film(video)
    assert (made.width, made.height, made.frames) == (*size, frames)
    assert (usage["frames"], usage["fps"], usage["seconds"]) == (frames, fps, frames / fps)
    assert (usage["width"], usage["height"]) == size


@pytest.mark.parametrize(
    ("fields", "nearest"),
    [
        ({"model": "flux-1-schnell", "size": "1023x1024"}, ["1024x1024"]),
        ({"model": "flux-1-schnell", "size": "4096x2048"}, ["2048x1024"]),
        ({"model": "wan2.1-t2v-fast", "size": "832x832"}, []),
        ({"model": "ltx2-t2v", "size": "776x1184"}, []),
    ],
)
def test_rejects_other_sizes_with_the_two_nearest(
    client: httpx.Client, fields: dict[str, Any], nearest: list[str]
) -> None:
    response = client.post("/api/v1/images/generations", json={"prompt": "a cat"} | fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_size", "size")
    named = error["message"].partition("the nearest sizes are ")[2].split(" and ")
    assert len(named) == 2
    assert set(nearest) <= set(named)
    for size in named:
        quote = client.post("/api/v1/quote", json={"prompt": "a cat"} | fields | {"size": size})
        assert quote.status_code == 200


@pytest.mark.parametrize("model", first_always(["flux-1-kontext-dev", "qwen-image-edit", "flux-2-klein-4b"]))
def test_edits_keep_the_shape_of_their_image(client: httpx.Client, model: str) -> None:
    image, _ = edit(client, png(640, 360), model=model)
    assert size_of(image) == (640, 360)
    large, _ = edit(client, png(2400, 1600), model=model)
    width, height = size_of(large)
    assert width / height == pytest.approx(1.5, rel=0.01)
    assert width * height <= 1024 * 1024 * 1.01


@pytest.mark.parametrize(
    "model",
    [
        "flux-1-kontext-dev",
        "qwen-image-edit",
        "flux-1-fill-dev",
        "flux-1-outpaint",
        "flux-1-redux-dev",
        "birefnet-cutout",
        "flux-1-dev-image-to-image",
        "qwen-image-edit-inpaint",
        "hidream-e1",
    ],
)
def test_edits_have_the_requested_size(client: httpx.Client, model: str) -> None:
    mask = png_with_hole(640, 360) if model in ("flux-1-fill-dev", "qwen-image-edit-inpaint") else None
    image, usage = edit(client, png(640, 360), mask, model=model, size="512x520")
    assert size_of(image) == (512, 520)
    assert usage["size"] == "512x520"


@pytest.mark.parametrize("model", ["flux-1-fill-dev", "qwen-image-edit-inpaint"])
def test_edits_in_place_keep_odd_sizes(client: httpx.Client, model: str) -> None:
    mask = Image.new("RGBA", (301, 203), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (100, 50, 200, 150))
    image, _ = edit(client, png(301, 203), saved(mask), model=model)
    assert size_of(image) == (301, 203)
    with Image.open(io.BytesIO(image)) as made, Image.open(io.BytesIO(png(301, 203))) as original:
        corner = np.asarray(made.convert("RGB"), np.float32)[:40, :80] - np.asarray(original)[:40, :80]
    assert np.abs(corner).mean() < 12


@pytest.mark.slow
def test_scales_a_large_image_and_its_mask_down(client: httpx.Client) -> None:
    mask = Image.new("RGBA", (3000, 2000), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (1500, 0, 3000, 2000))
    image, usage = edit(client, png(3000, 2000), saved(mask), model="flux-1-fill-dev", steps="1")
    assert size_of(image) == (2048, 1365)
    assert any("scaled down from 3000x2000 to 2048x1365" in text for text in usage["warnings"])
    with Image.open(io.BytesIO(image)) as made:
        left = made.convert("RGB").getpixel((300, 300))
    assert isinstance(left, tuple)
    assert np.allclose(left, RED, atol=12)


def test_outpainting_adds_margins_up_to_the_size(client: httpx.Client) -> None:
    image, _ = edit(client, png(256, 256), model="flux-1-outpaint", size="512x256")
    with Image.open(io.BytesIO(image)) as made:
        assert made.size == (512, 256)
    red = Image.new("RGB", (256, 250), RED)
    image, usage = edit(client, saved(red), model="flux-1-outpaint", size="600x500")
    with Image.open(io.BytesIO(image)) as made:
        assert (made.size, usage["size"]) == ((600, 500), "600x500")
        middle = np.asarray(made.convert("RGB"), np.float32)[150:350, 200:400]
    assert np.abs(middle - np.asarray(RED)).mean() < 3
    response = client.post(
        "/api/v1/images/generations",
        json={
            "model": "flux-1-outpaint",
            "prompt": "a",
            "image": encoded(png()),
            "size": "512x256",
            "left": 64,
        },
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "conflicting_fields")


@pytest.mark.parametrize("model", first_always(["wan2.1-i2v-480p", "wan2.2-5b", "ltx2.3-i2v"]))
def test_videos_have_the_shape_of_their_image(client: httpx.Client, model: str) -> None:
    video, usage = generate(client, model=model, image=encoded(png(360, 640)), num_frames=9)
    made = film(video)
    assert made.width / made.height == pytest.approx(360 / 640, rel=0.05)
    assert (usage["width"], usage["height"]) == (made.width, made.height)
