"""A name that stands for a video model has its own size and length, on every path of a request."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from fractions import Fraction
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.app.openapi_app import build_offline_service
from orchestrator.catalog import Catalog
from orchestrator.catalog.tasks import TaskModels
from orchestrator.errors import InvalidRequest
from orchestrator.intake.request_preparer import GenerationRequest, PreparedRequest, RequestPreparer
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings
from orchestrator.web.dialects.openai import videos
from orchestrator.web.dialects.openai.image_bodies import ImageGenerationBody
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.pixeldojo.name_schema import schema_of_name
from orchestrator.web.dialects.request_body import parse_body
from scripts.fuzz.parameters import OWNER
from tests.support.images import png
from tests.support.media_samples import clip

ROWS = {
    "sora-2": TaskModels(video="ltx2.3-t2v", image_video="ltx2.3-i2v", size="720x1280", seconds=4),
    "short": TaskModels(model="wan2.1-t2v-fast", size="480x480", seconds=1),
    "half": TaskModels(model="wan2.1-t2v-fast", seconds=2.5),
    "only-size": TaskModels(model="wan2.1-t2v-fast", size="480x480"),
    "longer": TaskModels(model="ltx2.3-extend", seconds=2),
}
CATALOG = Catalog.load(SHIPPED_WORKFLOWS_DIR).with_stand_ins(ROWS)
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def preparer() -> AsyncIterator[RequestPreparer]:
    async with build_offline_service(Settings()) as (_, service):
        service.request_preparer.live_catalog.catalog = CATALOG
        yield service.request_preparer


def generation(name: str, **fields: Any) -> GenerationRequest:
    body = parse_body(ImageGenerationBody, {"model": name, "prompt": "waves", **fields})
    return pixel_factory.to_request(body, CATALOG, form=False, idempotency_key=None)


def video(name: str, **fields: Any) -> GenerationRequest:
    body = parse_body(videos.VideoCreateBody, {"model": name, "prompt": "waves", **fields})
    return videos.to_request(body, CATALOG, form=False, idempotency_key=None)


def run(name: str, **fields: Any) -> GenerationRequest:
    body = parse_body(pixeldojo.RunBody, {"prompt": "waves", **fields})
    return pixeldojo.to_request(name, body, CATALOG, idempotency_key=None)


def pixelapi_generation(name: str, **fields: Any) -> GenerationRequest:
    body = parse_body(pixelapi.PixelApiGenerateBody, {"model": name, "prompt": "waves", **fields})
    return pixelapi.to_request(body, CATALOG, idempotency_key=None)


def playground(name: str, **fields: Any) -> GenerationRequest:
    return GenerationRequest(model=name, params={"prompt": "waves", **fields})


PATHS = [generation, video, run, pixelapi_generation, playground]


def shape(prepared: PreparedRequest) -> tuple[int, int, int]:
    params = prepared.params
    return params["width"], params["height"], params["num_frames"]


@pytest.mark.parametrize("send", PATHS)
async def test_has_the_size_and_length_of_the_name(
    preparer: RequestPreparer, send: Callable[..., GenerationRequest]
) -> None:
    for name, expected in {
        "sora-2": (720, 1280, 96),
        "short": (480, 480, 16),
        "only-size": (480, 480, 81),
        "ltx2.3-t2v": shape(await preparer.prepare(send("ltx2.3-t2v"), OWNER)),
    }.items():
        assert shape(await preparer.prepare(send(name), OWNER)) == expected, name


@pytest.mark.parametrize("send", PATHS)
async def test_what_a_request_sets_takes_precedence(
    preparer: RequestPreparer, send: Callable[..., GenerationRequest]
) -> None:
    sized = send("sora-2", width=1280, height=704)
    assert shape(await preparer.prepare(sized, OWNER)) == (1280, 704, 96)
    assert shape(await preparer.prepare(send("sora-2", num_frames=49), OWNER)) == (720, 1280, 49)


async def test_a_video_that_starts_with_an_image_has_its_shape(preparer: RequestPreparer) -> None:
    picture = base64.b64encode(png(640, 640)).decode()
    made = await preparer.prepare(run("sora-2", image=picture), OWNER)
    assert (made.model.id, made.params["num_frames"]) == ("ltx2.3-i2v", 96)
    assert made.params["width"] == made.params["height"]


async def test_a_name_that_continues_videos_has_its_length_at_their_rate(preparer: RequestPreparer) -> None:
    sample = base64.b64encode(clip(16, Fraction(16), 256, 448)).decode()
    made = await preparer.prepare(run("longer", video=sample), OWNER)
    assert (made.params["num_frames"], made.params["fps"]) == (32, 16)
    asked = await preparer.prepare(run("longer", video=sample, duration=1), OWNER)
    assert asked.params["num_frames"] == 16


async def test_rejects_a_rate_that_does_not_make_the_length_of_the_name(preparer: RequestPreparer) -> None:
    assert shape(await preparer.prepare(run("half", fps=8), OWNER))[2] == 20
    with pytest.raises(InvalidRequest, match=r"the 2\.5 seconds that half has by default") as refused:
        await preparer.prepare(run("half", fps=15), OWNER)
    assert refused.value.param == "fps"


async def test_a_schema_says_the_defaults_of_the_name() -> None:
    properties = schema_of_name(CATALOG, "sora-2")["properties"]
    defaults = {name: properties[name]["default"] for name in ("width", "height", "num_frames")}
    assert defaults == {"width": 720, "height": 1280, "num_frames": 96}
    assert schema_of_name(CATALOG, "ltx2.3-t2v")["properties"]["width"]["default"] == 1280
