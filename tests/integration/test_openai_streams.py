"""`stream=true`: unfinished images, then the finished ones, as the SDKs' events."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator

import openai
import pytest
from openai.types import ImageEditCompletedEvent, ImageEditPartialImageEvent
from openai.types import ImageGenCompletedEvent as Completed
from openai.types import ImageGenPartialImageEvent as Partial

from tests.support.api import inject_fault, wait_for_job
from tests.support.images import png, size_of
from tests.support.service import ServiceProcess

#: Half a second of the simulated GPU. Previews are made only once the stream is open.
SLOWLY = {"steps": 100}


@pytest.fixture
def client(paced: ServiceProcess, paced_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{paced.url}/v1", api_key=paced_key, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(paced: ServiceProcess, paced_key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{paced.url}/v1", api_key=paced_key, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("partial_images", [1, 2, 3])
def test_streams_the_requested_number_of_partial_images(client: openai.OpenAI, partial_images: int) -> None:
    with client.images.generate(
        model="sdxl-1.0",
        prompt="a cat",
        size="1024x768",
        stream=True,
        partial_images=partial_images,
        extra_body=SLOWLY,
    ) as stream:
        events = list(stream)
    *partials, last = events
    assert [type(event) for event in partials] == [Partial] * partial_images
    assert [getattr(event, "partial_image_index", None) for event in partials] == list(range(partial_images))
    assert isinstance(last, Completed)
    assert last.type == "image_generation.completed"
    assert size_of(base64.b64decode(last.b64_json)) == (1024, 768)
    assert (last.size, last.quality, last.output_format) == ("1024x768", "medium", "png")
    assert last.usage.total_tokens == 0
    images = [base64.b64decode(event.b64_json) for event in events]
    assert len(set(images)) == len(images)
    assert all(image.startswith(b"\x89PNG") for image in images)


def test_streams_only_the_finished_image_by_default(client: openai.OpenAI) -> None:
    with client.images.generate(
        model="flux-1-schnell", prompt="a cat", stream=True, size="256x256"
    ) as stream:
        (event,) = stream
    assert isinstance(event, Completed)


def test_streams_images_in_the_requested_format(client: openai.OpenAI) -> None:
    with client.images.generate(
        model="sdxl-1.0", prompt="a cat", size="256x256", stream=True, partial_images=1, output_format="webp"
    ) as stream:
        for event in stream:
            assert event.output_format == "webp"
            assert base64.b64decode(event.b64_json).startswith(b"RIFF")


def test_streams_an_edit(client: openai.OpenAI) -> None:
    with client.images.edit(
        image=png(), prompt="at night", stream=True, partial_images=1, extra_body={"steps": 50}
    ) as stream:
        partial, done = stream
    assert isinstance(partial, ImageEditPartialImageEvent)
    assert isinstance(done, ImageEditCompletedEvent)


async def test_streams_several_images(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.images.generate(
        model="flux-1-schnell", prompt="a cat", n=2, size="256x256", stream=True
    )
    events = [event async for event in stream]
    assert [event.model_dump()["image_index"] for event in events] == [0, 1]
    assert len({event.b64_json for event in events}) == 2


async def test_rejects_an_invalid_request_by_status(async_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await async_client.images.generate(model="sdxl-1.0", prompt="a", size="1x1", stream=True)
    assert raised.value.code == "invalid_size"


async def test_reports_a_later_failure_as_the_last_event(
    async_client: openai.AsyncOpenAI, paced: ServiceProcess
) -> None:
    await inject_fault(paced, "node_error", 9)
    stream = await async_client.images.generate(
        model="flux-1-schnell", prompt="a failure", size="256x256", stream=True
    )
    with pytest.raises(openai.APIError) as failed:
        async for _ in stream:
            pass
    assert failed.value.code in ("node_failed", "node_failed_repeatedly")
    assert failed.value.type == "generation_failed"
    await inject_fault(paced, "node_error", 0)


async def test_cancels_the_job_when_the_client_disconnects(
    async_client: openai.AsyncOpenAI, paced: ServiceProcess
) -> None:
    response = await async_client.images.with_raw_response.generate(
        model="flux-2-dev", prompt="a cat", size="2048x2048", stream=True
    )
    job = response.headers["X-PixelFactory-Job"]
    assert response.headers["X-Request-Id"].startswith("req_")
    await response.http_response.aclose()
    async with paced.client(async_client.api_key) as http:
        await wait_for_job(http, job, "cancelled")
