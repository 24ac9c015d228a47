"""Models behind other APIs' names of open-weight models, and negative prompts, on simulated instances."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.images import png, size_of
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess
from tests.support.videos import film

PHOTO = base64.b64encode(png(96, 64)).decode()


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {service.key('20.00')}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=120) as client:
        yield client


def generate(client: httpx.Client, **fields: Any) -> tuple[bytes, dict[str, Any]]:
    body = {"prompt": "a lighthouse", "response_format": "b64_json", "steps": 1, "seed": 1} | fields
    response = client.post("/api/v1/images/generations", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    return base64.b64decode(answer["data"][0]["b64_json"]), answer["usage"]


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "ernie"},
        {"model": "flux"},
        {"model": "hidream-edit"},
        {"model": "hidream-edit", "images": [PHOTO]},
        {"model": "hidream-e1", "image": PHOTO},
        {"model": "image-relighting", "images": [PHOTO, PHOTO]},
        {"model": "change-camera-angle", "image": PHOTO, "prompt": "", "view": "back view"},
        {"model": "image-editor", "image": PHOTO},
        {"model": "ponyxl-ponyrealism-v23"},
    ],
    ids=lambda fields: "-".join((fields["model"], *(name for name in fields if name.startswith("image")))),
)
def test_makes_an_image_of_the_requested_size(client: httpx.Client, fields: dict[str, Any]) -> None:
    image, usage = generate(client, size="320x256", **fields)
    assert size_of(image) == (320, 256)
    assert usage["warnings"] == []


@pytest.mark.parametrize(
    "name", first_always(["wan-2.2-standard", "wan-2.2-extended", "wan-2.2-plus", "ltx-2-pro-i2v"])
)
def test_a_video_starts_with_its_image(client: httpx.Client, name: str) -> None:
    fields = {"model": name, "image": PHOTO, "steps": 2, "num_frames": 9}
    video, usage = generate(client, **fields)
    assert usage["width"] / usage["height"] == pytest.approx(96 / 64, rel=0.05)
    assert film(video).frames == 9


def test_wan_makes_videos_of_text_too(client: httpx.Client) -> None:
    video, _ = generate(client, model="wan-2.2-standard", size="256x256", steps=2, num_frames=5)
    assert film(video).frames == 5


@pytest.mark.parametrize(("width", "height"), [(64, 48), (61, 47)])
def test_a_creative_upscale_is_exactly_twice_as_large(client: httpx.Client, width: int, height: int) -> None:
    image = base64.b64encode(png(width, height)).decode()
    large, usage = generate(client, model="creative-upscale", image=image)
    assert size_of(large) == (2 * width, 2 * height)
    assert (usage["width"], usage["height"]) == (2 * width, 2 * height)


def test_a_negative_prompt_changes_the_result(client: httpx.Client) -> None:
    small = {"model": "flux-1-dev", "size": "256x256"}
    plain, _ = generate(client, **small)
    avoiding, usage = generate(client, negative_prompt="fog", **small)
    weakly, _ = generate(client, negative_prompt="fog", true_cfg_scale=1.5, **small)
    assert len({plain, avoiding, weakly}) == 3
    assert usage["warnings"] == []


def test_a_negative_prompt_without_an_effect_gives_a_warning(client: httpx.Client) -> None:
    small = {"model": "flux-1-schnell", "size": "256x256"}
    plain, _ = generate(client, **small)
    ignored, usage = generate(client, negative_prompt="fog", **small)
    assert plain == ignored
    assert usage["warnings"] == [
        "`negative_prompt` has no effect: the guidance of flux-1-schnell is at 1; send a `cfg_scale` above 1"
    ]
    avoided, usage = generate(client, negative_prompt="fog", cfg_scale=2.0, **small)
    assert (avoided == plain, usage["warnings"]) == (False, [])


def test_a_guidance_below_the_least_gives_a_warning(client: httpx.Client) -> None:
    _, usage = generate(client, model="sdxl", cfg_scale=0.5, size="256x256")
    assert usage["warnings"] == ["`cfg_scale` of 0.5 has the effect of 1, the least that sdxl can use"]
