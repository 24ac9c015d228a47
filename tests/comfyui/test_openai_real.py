"""OpenAI's API on a real ComfyUI on the CPU: a sampler's own previews, edits and videos."""

from __future__ import annotations

import base64
import io
from typing import Literal

import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent
from PIL import Image

from tests.comfyui.test_service_real import (  # noqa: F401 - fixtures
    client,
    key,
    pytestmark,
    service,
)
from tests.support.images import png, size_of
from tests.support.videos import VideoInfo, film

pytestmark = [*pytestmark, pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")]


async def test_the_samplers_own_previews(client: openai.AsyncOpenAI) -> None:  # noqa: F811
    stream = await client.images.generate(
        model="sd-1.5", prompt="a cat", size="256x256", stream=True, partial_images=2, extra_body={"steps": 8}
    )
    events = [event async for event in stream]
    kinds = [ImageGenPartialImageEvent, ImageGenPartialImageEvent, ImageGenCompletedEvent]
    assert [type(event) for event in events] == kinds
    assert "simulated" not in events[-1].model_dump()
    pictures = [base64.b64decode(event.b64_json) for event in events]
    assert len(set(pictures)) == 3
    assert size_of(pictures[-1]) == (256, 256)


@pytest.mark.parametrize("output_format", ["png", "webp"])
async def test_a_background_where_a_model_can_leave_it_out(
    client: openai.AsyncOpenAI,  # noqa: F811
    output_format: Literal["png", "webp"],
) -> None:
    made = await client.images.generate(
        model="test-transparent", prompt="nothing", background="transparent", output_format=output_format
    )
    assert (made.background, made.output_format) == ("transparent", output_format)
    assert made.data
    with Image.open(io.BytesIO(base64.b64decode(str(made.data[0].b64_json)))) as picture:
        assert picture.getchannel("A").getextrema() == (0, 0)
    seen = await client.images.generate(model="test-transparent", prompt="nothing", background="opaque")
    assert seen.data
    with Image.open(io.BytesIO(base64.b64decode(str(seen.data[0].b64_json)))) as picture:
        assert picture.mode == "RGB"


async def test_edits_an_image(client: openai.AsyncOpenAI) -> None:  # noqa: F811
    made = await client.images.edit(model="test-upscale", image=png(64, 48), prompt="", output_format="webp")
    assert made.data
    data = base64.b64decode(str(made.data[0].b64_json))
    assert (data[:4], size_of(data)) == (b"RIFF", (256, 192))


async def test_a_video_and_its_remix(client: openai.AsyncOpenAI) -> None:  # noqa: F811
    made = await client.videos.create_and_poll(
        model="test-video",
        prompt="waves",
        seconds="4",
        size="256x256",
        poll_interval_ms=100,
    )
    assert (made.status, made.seconds, made.progress) == ("completed", "4", 100)
    content = await client.videos.download_content(made.id)
    assert film(content.content) == VideoInfo(256, 256, 64, 16.0, "h264")
    still = await client.videos.download_content(made.id, variant="thumbnail")
    assert size_of(still.content) == (256, 256)
    remix = await client.videos.remix(made.id, prompt="a storm")
    assert (await client.videos.poll(remix.id, poll_interval_ms=100)).status == "completed"


async def test_a_video_begins_with_an_image(client: openai.AsyncOpenAI) -> None:  # noqa: F811
    made = await client.videos.create_and_poll(
        model="test-i2v",
        prompt="zoom in",
        input_reference=("start.png", png(256, 256), "image/png"),
        poll_interval_ms=100,
    )
    assert made.status == "completed"
    assert film((await client.videos.download_content(made.id)).content).frames == 17
