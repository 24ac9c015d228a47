"""Sizes that depend on a picture, and edits that would change nothing, on the running service."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.images import base64_png
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess

PATH = "/api/v1/images/generations"
PORTRAIT, PICTURE = base64_png(300, 500), base64_png(320, 256)


def generate(service: ServiceProcess, key: str, **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    given = {"prompt": "a fox", "response_format": "url", **body}
    return httpx.post(f"{service.url}{PATH}", json=given, headers=headers, timeout=120).json()


@pytest.mark.parametrize(
    ("model", "resolution", "pixels"),
    [("wan2.1-i2v-480p", "480p", 480 * 800), ("flux-1-kontext-dev", "720p", 720 * 1200)],
)
def test_a_resolution_keeps_the_shape_of_the_picture(
    service: ServiceProcess, key: str, model: str, resolution: str, pixels: int
) -> None:
    frames = {"num_frames": 5} if "i2v" in model else {}
    usage = generate(service, key, model=model, image=PORTRAIT, resolution=resolution, **frames)["usage"]
    assert usage["width"] / usage["height"] == pytest.approx(3 / 5, rel=0.05)
    assert pixels * 0.85 < usage["width"] * usage["height"] <= pixels


@pytest.mark.parametrize(
    ("model", "resolution", "size"),
    first_always(
        [
            ("ltx2.3-t2v", "1080p", "1920x1080"),
            ("ltx2.3-t2v", "720p", "1280x720"),
            ("wan2.2-5b", "720p", "1280x720"),
        ]
    ),
)
def test_a_video_has_the_resolution_that_its_name_says(
    service: ServiceProcess, key: str, model: str, resolution: str, size: str
) -> None:
    made = generate(service, key, model=model, num_frames=9, resolution=resolution)
    assert (made["usage"]["size"], made["usage"]["warnings"]) == (size, [])


@pytest.mark.parametrize("model", ["flux-1-fill-dev", "qwen-image-edit-inpaint"])
def test_an_edit_without_an_area_to_edit_is_refused(service: ServiceProcess, key: str, model: str) -> None:
    error = generate(service, key, model=model, image=PICTURE)["error"]
    assert (error["code"], error["param"]) == ("missing_mask", "mask")
    assert "transparent pixels" in error["message"]


def test_a_size_of_a_canvas_gives_no_warning(service: ServiceProcess, key: str) -> None:
    usage = generate(service, key, model="birefnet-cutout", prompt="", image=PICTURE, size="304x304")["usage"]
    assert (usage["size"], usage["warnings"]) == ("304x304", [])


def test_a_quality_beside_steps_gives_a_warning(service: ServiceProcess, key: str) -> None:
    body = {"model": "flux-1-schnell", "size": "256x256", "steps": 2, "quality": "high"}
    assert generate(service, key, **body)["usage"]["warnings"] == [
        "`quality` has no effect: the request sets the number of steps"
    ]


def test_a_cutout_cannot_be_a_jpeg(service: ServiceProcess, key: str) -> None:
    error = generate(service, key, model="birefnet-cutout", prompt="", image=PICTURE, output_format="jpeg")[
        "error"
    ]
    assert (error["code"], error["param"]) == ("invalid_background", "background")


def test_a_result_of_another_size_than_its_picture_says_so(service: ServiceProcess, key: str) -> None:
    body = {"model": "flux-1-kontext-dev", "image": base64_png(1500, 1000)}
    usage = generate(service, key, **body)["usage"]
    (warning,) = usage["warnings"]
    assert warning.startswith(f"the result has {usage['width']}x{usage['height']} pixels, not the 1500x1000")
    assert generate(service, key, **body, size="1200x800")["usage"]["warnings"] == []
    assert generate(service, key, **body | {"image": PICTURE})["usage"]["warnings"] == []
