"""A result that continues a video has its shape and frame rate; what it cannot have is in a warning."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import PreparedRequest, RequestPreparer
from orchestrator.settings import Settings
from orchestrator.web.dialects.openai import videos
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.request_body import parse_body
from scripts.fuzz.parameters import OWNER
from tests.support.images import png
from tests.support.media_samples import clip

MODEL = "ltx-2-pro-extend"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


PORTRAIT = encoded(clip(16, Fraction(16), 256, 448))
LANDSCAPE = encoded(clip(24, Fraction(24), 448, 256))
FAST = encoded(clip(90, Fraction(90), 64, 64))
TALL = encoded(png(100, 2000))

pytestmark = pytest.mark.asyncio(loop_scope="module")
Offline = tuple[RequestPreparer, Catalog]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def offline() -> AsyncIterator[Offline]:
    async with build_offline_service(Settings()) as (_, service):
        yield service.request_preparer, service.catalog


async def run(offline: Offline, model: str, **fields: Any) -> PreparedRequest:
    preparer, catalog = offline
    body = parse_body(pixeldojo.RunBody, {"prompt": "on", **fields})
    request = pixeldojo.to_request(model, body, catalog, idempotency_key=None)
    return await preparer.prepare(request, OWNER)


def size_of(prepared: PreparedRequest) -> tuple[int, int]:
    return prepared.params["width"], prepared.params["height"]


@pytest.mark.parametrize("resolution", ["480p", "720p", "1080p"])
async def test_a_resolution_keeps_the_shape_of_the_video(offline: Offline, resolution: str) -> None:
    for video, ratio in ((PORTRAIT, 256 / 448), (LANDSCAPE, 448 / 256)):
        prepared = await run(offline, MODEL, video=video, resolution=resolution)
        width, height = size_of(prepared)
        assert width / height == pytest.approx(ratio, rel=0.08)
        warnings = prepared.request.warnings
        if width / height == pytest.approx(ratio, rel=0.04):
            assert warnings == ()
        else:
            assert f"the result has {width}x{height} pixels, not the shape of its input video" in warnings[0]


async def test_a_resolution_of_a_video_is_not_that_of_another(offline: Offline) -> None:
    areas = [
        (await run(offline, MODEL, video=PORTRAIT, resolution=name)).params["height"]
        for name in ("480p", "720p", "1080p")
    ]
    assert areas == sorted(set(areas))


async def test_warns_of_an_aspect_ratio_that_the_model_does_not_make(offline: Offline) -> None:
    prepared = await run(offline, MODEL, video=PORTRAIT, aspect_ratio="16:9")
    assert size_of(prepared) == (1280, 704)
    assert prepared.request.warnings == (
        "the result has 1280x704 pixels, not the aspect ratio 16:9, which the model does not make at this"
        " size",
    )
    exact = await run(offline, MODEL, video=PORTRAIT, aspect_ratio="1:1")
    assert exact.request.warnings == ()
    assert (await run(offline, "ltx2.3-t2v", aspect_ratio="16:9")).request.warnings == ()


@pytest.mark.parametrize(("duration", "frames"), [(1, 16), (1.5, 24), (5, 80)])
async def test_a_duration_counts_frames_at_the_rate_of_the_video(
    offline: Offline, duration: float, frames: int
) -> None:
    prepared = await run(offline, MODEL, video=PORTRAIT, duration=duration)
    assert (prepared.params["fps"], prepared.params["num_frames"]) == (16, frames)
    assert prepared.params == (await run(offline, MODEL, video=PORTRAIT, duration=duration, fps=16)).params


async def test_seconds_count_frames_at_the_rate_of_the_video(offline: Offline) -> None:
    preparer, catalog = offline
    fields = {"model": MODEL, "prompt": "on", "video": PORTRAIT, "seconds": "1.5"}
    body = parse_body(videos.VideoCreateBody, fields)
    request = videos.to_request(body, catalog, form=False, idempotency_key=None)
    prepared = await preparer.prepare(request, OWNER)
    assert (prepared.params["fps"], prepared.params["num_frames"]) == (16, 24)


async def film(offline: Offline, **fields: Any) -> PreparedRequest:
    preparer, catalog = offline
    body = parse_body(videos.VideoCreateBody, {"model": MODEL, "prompt": "on", **fields})
    request = videos.to_request(body, catalog, form=False, idempotency_key=None)
    return await preparer.prepare(request, OWNER)


async def test_a_length_and_a_number_of_frames_agree_at_the_rate_of_the_video(offline: Offline) -> None:
    run_made = await run(offline, MODEL, video=PORTRAIT, duration=1, num_frames=16)
    film_made = await film(offline, video=PORTRAIT, seconds=1, num_frames=16)
    for prepared in (run_made, film_made):
        assert (prepared.params["num_frames"], prepared.params["fps"]) == (16, 16)


async def test_rejects_a_length_with_other_frames_at_the_rate_of_the_video(offline: Offline) -> None:
    # 24 frames are a second at the default rate of the model, and not at that of the video.
    for send, length in ((run, "duration"), (film, "seconds")):
        fields = {"video": PORTRAIT, length: 1, "num_frames": 24}
        with pytest.raises(InvalidRequest, match="has 16 frames at 16 frames per second") as refused:
            await (run(offline, MODEL, **fields) if send is run else film(offline, **fields))
        assert (refused.value.code, refused.value.param) == ("conflicting_fields", "num_frames")


async def test_rejects_a_duration_between_frames_of_the_video(offline: Offline) -> None:
    with pytest.raises(InvalidRequest, match="at 16 fps") as refused:
        await run(offline, MODEL, video=PORTRAIT, duration=1.2)
    assert refused.value.param == "duration"


async def test_rejects_another_rate_than_the_video_has(offline: Offline) -> None:
    with pytest.raises(InvalidRequest, match="`fps` must be 16") as refused:
        await run(offline, MODEL, video=PORTRAIT, fps=24)
    assert refused.value.param == "fps"
    with pytest.raises(InvalidRequest, match="1 to 60 frames per second") as refused:
        await run(offline, MODEL, video=FAST)
    assert refused.value.param == "video"


@pytest.mark.parametrize("model", ["wan2.1-i2v-480p", "ltx2.3-i2v"])
async def test_warns_of_a_video_without_the_shape_of_its_image(offline: Offline, model: str) -> None:
    for fields in ({}, {"resolution": "480p"}, {"height": 480}):
        prepared = await run(offline, model, image=TALL, **fields)
        width, height = size_of(prepared)
        (warning,) = prepared.request.warnings
        assert warning.startswith(f"the result has {width}x{height} pixels, not the shape")
    sized = await run(offline, model, image=TALL, width=512, height=512)
    assert sized.request.warnings == ()
    near = await run(offline, model, image=encoded(png(480, 832)))
    assert near.request.warnings == ()


async def test_warns_of_an_image_without_the_shape_of_the_one_it_edits(offline: Offline) -> None:
    image = encoded(png(600, 1000))
    prepared = await run(offline, "qwen-image-edit", image=image, height=400)
    assert size_of(prepared) == (256, 400)
    assert prepared.request.warnings[0].startswith("the result has 256x400 pixels, not the shape")
    assert (await run(offline, "qwen-image-edit", image=image, height=800)).request.warnings == ()
