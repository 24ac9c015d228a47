"""Models that take a video: its motion drives a character, or it is continued."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import httpx
import pytest

from tests.support.images import png
from tests.support.media_samples import clip
from tests.support.media_samples import film as sample
from tests.support.polling import wait_until_sync
from tests.support.repeats import first_always
from tests.support.service import ServiceProcess
from tests.support.videos import film

PORTRAIT = base64.b64encode(png(240, 320)).decode()
SMALL = {"size": "256x256", "steps": 1}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


#: 2 seconds, and 1 second at another rate.
DANCE = encoded(clip(32, Fraction(16), 96, 64))
FAST = encoded(clip(30, Fraction(30), 96, 64))


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {service.key('20.00')}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=120) as client:
        yield client


def generate(client: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"prompt": "a dance", "response_format": "b64_json"} | fields
    return client.post("/api/v1/images/generations", json=body)


def result(response: httpx.Response) -> tuple[bytes, dict[str, Any]]:
    assert response.status_code == 200, response.text
    body = response.json()
    return base64.b64decode(body["data"][0]["b64_json"]), body["usage"]


def refusal(response: httpx.Response) -> tuple[str, str, str]:
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    return error["code"], error["param"], error["message"]


@pytest.mark.parametrize("model", ["wan2.2-animate", "wan2.2-replace"])
def test_a_character_moves_as_long_as_the_driving_video(client: httpx.Client, model: str) -> None:
    video, usage = result(generate(client, model=model, image=PORTRAIT, video=DANCE, **SMALL))
    made = film(video)
    assert (made.width, made.height, made.frames) == (256, 256, 32)
    assert (usage["frames"], usage["fps"], usage["seconds"]) == (32, 16, 2)


def test_the_size_follows_the_character_or_the_scene(client: httpx.Client) -> None:
    fields = {"image": PORTRAIT, "video": DANCE, "steps": 1, "num_frames": 5}
    _, moved = result(generate(client, model="wan-2.2-animate", **fields))
    _, replaced = result(generate(client, model="wan-2.2-replace", **fields))
    assert moved["width"] / moved["height"] == pytest.approx(240 / 320, rel=0.05)
    assert replaced["width"] / replaced["height"] == pytest.approx(96 / 64, rel=0.05)


def test_rejects_more_frames_than_the_driving_video_has(client: httpx.Client) -> None:
    response = generate(client, model="wan2.2-animate", image=PORTRAIT, video=DANCE, num_frames=81, **SMALL)
    code, param, message = refusal(response)
    assert (code, param) == ("invalid_num_frames", "num_frames")
    assert "at most 32" in message


def test_a_video_is_continued(client: httpx.Client) -> None:
    scene = encoded(clip(24, Fraction(24), 96, 64))
    video, usage = result(
        generate(client, model="ltx-2-pro-extend", video=scene, num_frames=8, size="256x256", steps=1)
    )
    made = film(video)
    assert (made.width, made.height, made.frames) == (256, 256, 24 + 8)
    assert usage["frames"] == 32


def test_a_video_is_continued_at_its_own_rate(client: httpx.Client) -> None:
    fields = {"model": "ltx2.3-extend", "video": FAST, "num_frames": 8, "size": "256x256", "steps": 1}
    code, param, message = refusal(generate(client, fps=24, **fields))
    assert (code, param) == ("invalid_fps", "fps")
    assert "must be 30" in message
    video, _ = result(generate(client, **fields))
    assert (film(video).fps, film(video).frames) == (30, 38)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (PORTRAIT, "unsupported_video_format"),
        (encoded(sample()[:200]), "invalid_video"),
        ("no base64!", "invalid_video"),
        ("https://127.0.0.1/dance.mp4", "video_url_refused"),
        (encoded(clip(2, Fraction(16), 96, 64)), "invalid_video"),
    ],
    ids=["an image", "truncated", "no base64", "a private address", "too short"],
)
def test_rejects_what_is_no_driving_video(client: httpx.Client, value: str, code: str) -> None:
    response = generate(client, model="wan2.2-animate", image=PORTRAIT, video=value, **SMALL)
    assert refusal(response)[:2] == (code, "video")


def test_rejects_a_video_for_a_model_that_takes_none(client: httpx.Client) -> None:
    response = generate(client, model="wan2.2-i2v-14b", image=PORTRAIT, video=DANCE)
    assert refusal(response)[:2] == ("unknown_parameter", "video")


def test_the_field_of_other_apis_is_understood(client: httpx.Client) -> None:
    response = generate(client, model="wan2.2-animate", image=PORTRAIT, video_url=PORTRAIT, **SMALL)
    assert refusal(response)[:2] == ("unsupported_video_format", "video_url")


@pytest.mark.parametrize(
    ("name", "fields", "credits", "frames"),
    first_always(
        [
            ("wan-2.2-animate", {"image_url": "data:image/png;base64," + PORTRAIT, "video": DANCE}, 2, 32),
            ("wan-video-character-swap", {"image": PORTRAIT, "video_url": DANCE}, 20, 32),
            ("wan-2.2-animate", {"image": PORTRAIT, "video": DANCE, "duration": 1}, 2, 16),
            ("ltx-2-pro-extend", {"prompt": "on", "video": FAST, "fps": 30, "num_frames": 8}, None, 38),
        ]
    ),
    ids=["animate", "swap", "a part", "extend"],
)
def test_pixeldojo_runs_them(
    client: httpx.Client, name: str, fields: dict[str, Any], credits: int | None, frames: int
) -> None:
    body = {"width": 256, "height": 256, "steps": 1} | fields
    response = client.post(f"/api/v1/models/{name}/run", json=body)
    assert response.status_code in (200, 202), response.text
    assert credits in (None, response.json()["creditCost"])

    def read_job() -> dict[str, Any]:
        job: dict[str, Any] = client.get(f"/api/v1/jobs/{response.json()['jobId']}").json()
        return job

    wait_until_sync(lambda: read_job()["status"] in ("completed", "failed"))
    job = read_job()
    assert job["status"] == "completed", job
    video = httpx.get(job["output"]["videos"][0])
    assert film(video.content).frames == frames
