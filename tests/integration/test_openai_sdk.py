"""The official OpenAI SDKs, unchanged but for base URL and key."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import httpx
import openai
import pytest

from tests.support.images import base64_png, png, size_of
from tests.support.node_project import run_node
from tests.support.service import ServiceProcess
from tests.support.videos import VideoInfo, film


@pytest.fixture
def client(service: ServiceProcess, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/api/v1", api_key=key, max_retries=0)


def _data(response: object) -> bytes:
    return base64.b64decode(response.data[0].b64_json)  # type: ignore[attr-defined]


def test_returns_an_image_as_base64(client: openai.OpenAI) -> None:
    with client:
        response = client.images.generate(model="flux-1-schnell", prompt="a cat", size="768x512")
        assert size_of(_data(response)) == (768, 512)
        assert response.usage.cost_cents == 1


def test_returns_four_images_as_urls(client: openai.OpenAI) -> None:
    with client:
        response = client.images.generate(
            model="sdxl-1.0", prompt="a cat", n=4, size="512x512", response_format="url"
        )
        assert response.data is not None
        files = [httpx.get(str(item.url)) for item in response.data]
        assert [file.headers["content-type"] for file in files] == ["image/png"] * 4
        assert len({file.content for file in files}) == 4


def test_makes_a_video(client: openai.OpenAI) -> None:
    with client:
        response = client.images.generate(
            model="wan2.1-t2v-fast", prompt="waves", extra_body={"num_frames": 17, "fps": 8}
        )
        made = film(_data(response))
        assert (made.frames, made.fps, made.codec) == (17, 8.0, "h264")


def test_makes_a_video_from_an_image(client: openai.OpenAI) -> None:
    with client:
        response = client.images.generate(
            model="wan2.1-i2v-480p",
            prompt="zoom in",
            size="320x256",
            extra_body={"image": base64_png(320, 256), "num_frames": 9},
        )
        assert film(_data(response)) == VideoInfo(320, 256, 9, 16.0, "h264")


def test_upscales_an_image(client: openai.OpenAI) -> None:
    with client:
        response = client.images.generate(
            model="4x-ultrasharp", prompt="", extra_body={"image": base64_png(64, 48)}
        )
        assert size_of(_data(response)) == (256, 192)


def test_the_same_seed_gives_the_same_images(client: openai.OpenAI) -> None:
    def images(n: int) -> list[str | None]:
        response = client.images.generate(
            model="flux-1-schnell", prompt="a dog", size="256x256", n=n, extra_body={"seed": 7}
        )
        return [item.b64_json for item in response.data or []]

    with client:
        three = images(n=3)
        assert images(n=2) == three[:2]
        assert len(set(three)) == 3


def test_accepts_openais_path_and_fields(service: ServiceProcess, key: str) -> None:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client:
        response = client.images.generate(
            prompt="a cat", model="flux-1-schnell", size="auto", quality="high", style="vivid", user="u1"
        )
        assert size_of(_data(response)) == (1024, 1024)
        assert "flux-1-schnell" in [model.id for model in client.models.list()]
        assert client.models.retrieve("sdxl-1.0").owned_by


def test_errors_become_the_sdks_exceptions(service: ServiceProcess, key: str, client: openai.OpenAI) -> None:
    with client:
        with pytest.raises(openai.BadRequestError) as bad:
            client.images.generate(model="flux-1-schnell", prompt="a", size="1x1")
        assert (bad.value.code, bad.value.param) == ("invalid_size", "size")
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="pk-nobody").images.generate(prompt="a")
        poor = service.run("keys", "create")["key"]
        with pytest.raises(openai.APIStatusError) as unpaid:
            client.with_options(api_key=poor).images.generate(prompt="a")
        assert unpaid.value.status_code == 402


async def test_the_async_client_runs_requests_concurrently(service: ServiceProcess, key: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client:
        made = await asyncio.gather(
            *(client.images.generate(prompt=f"cat {i}", size="256x256") for i in range(8))
        )
    assert len({response.data[0].b64_json for response in made if response.data}) == 8


NODE = """
import fs from "node:fs";
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const made = await client.images.generate({
  model: "flux-1-schnell", prompt: "a lighthouse", size: "512x256", response_format: "b64_json",
});
fs.writeFileSync("image.png", Buffer.from(made.data[0].b64_json, "base64"));
const named = await client.images.generate({
  model: "flux-1-schnell", prompt: "a lighthouse", size: "256x256", response_format: "url",
});
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let refused;
try { await client.images.generate({ model: "nobody", prompt: "a" }); } catch (error) { refused = error; }
console.log(JSON.stringify({
  url: named.data[0].url, usage: made.usage, models, refused: [refused.constructor.name, refused.code],
}));
"""


def test_the_node_sdk_makes_images_and_lists_models(
    service: ServiceProcess, key: str, node_project: Path
) -> None:
    told = json.loads(run_node(node_project, NODE, BASE_URL=f"{service.url}/api/v1", API_KEY=key))
    assert size_of((node_project / "image.png").read_bytes()) == (512, 256)
    assert size_of(httpx.get(told["url"]).content) == (256, 256)
    assert told["usage"]["cost_cents"] == 1
    assert "wan2.1-t2v-fast" in told["models"]
    assert told["refused"] == ["BadRequestError", "model_not_found"]


def test_accepts_a_multipart_body(service: ServiceProcess, key: str) -> None:
    response = httpx.post(
        f"{service.url}/v1/images/generations",
        headers={"Authorization": f"Bearer {key}"},
        data={"model": "4x-ultrasharp", "prompt": "", "n": "1"},
        files={"image": ("small.png", png(40, 30), "image/png")},
        timeout=60,
    )
    assert response.status_code == 200, response.text
    assert size_of(base64.b64decode(response.json()["data"][0]["b64_json"])) == (160, 120)
