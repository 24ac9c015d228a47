"""One trained LoRA in requests of every dialect: it changes the picture, or is refused in that dialect."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.support.callers import new_key, wait_for_status
from tests.support.datasets import data_url, zipped
from tests.support.images import png
from tests.support.service import ServiceProcess

EDITS = "/v1/images/edits"
KLEIN = "/flux-2-klein-4b/v1/generateImage"
UNKNOWN = "no-such-lora"


@pytest.fixture(scope="module")
def owner(service: ServiceProcess) -> str:
    """The key of an account that trains."""
    return new_key(service, "20.00")


async def train(http: aiohttp.ClientSession, trainer: str, name: str) -> str:
    """Return the id of the job."""
    body = {"dataset": data_url(zipped()), "steps": 2, "rank": 2, "seed": 7, "size": 512, "lora_name": name}
    async with http.post(f"/api/v1/models/{trainer}/run", json=body) as response:
        assert response.status == 200, await response.text()
        job = str((await response.json())["jobId"])
    await wait_for_status(http, f"/api/v1/jobs/{job}", "completed")
    return job


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as anybody, anybody.get(url) as response:
        assert response.status == 200
        return await response.read()


async def output_of(http: aiohttp.ClientSession, job: str) -> bytes:
    """Return the image of a job of any dialect."""
    seen = await wait_for_status(http, f"/api/v1/jobs/{job}", "completed", "failed")
    assert seen["status"] == "completed", seen["error"]
    return await download(seen["output"]["images"][0])


async def test_openai_edits_take_loras_as_json_in_a_form(service: ServiceProcess, owner: str) -> None:
    async with service.client(owner) as http:
        job = await train(http, "flux-1-dev-lora-trainer", "flux-fox")

        async def edit(*loras: dict[str, Any]) -> bytes:
            form = aiohttp.FormData({"model": "flux-1-dev-image-to-image", "prompt": "a fox", "seed": "1"})
            form.add_field("response_format", "url")
            form.add_field("loras", json.dumps(loras))
            form.add_field("image", png(256, 256), filename="a.png", content_type="image/png")
            async with http.post(EDITS, data=form) as response:
                assert response.status == 200, await response.text()
                return await download((await response.json())["data"][0]["url"])

        plain = await edit()
        used = await edit({"job_id": job, "strength": 1.0})
        assert used != plain
        assert await edit({"name": "flux-fox"}) == used


async def test_pixeldojo_takes_lora_weights_in_every_notation(service: ServiceProcess, owner: str) -> None:
    async with service.client(owner) as http:
        job = await train(http, "sdxl-1.0-lora-trainer", "xl-fox")
        async with http.get(f"/api/v1/jobs/{job}") as response:
            url = (await response.json())["output"]["files"][0]

        async def run(**fields: Any) -> bytes:
            body = {"prompt": "a fox", "width": 512, "height": 512, "steps": 2, "seed": 1, **fields}
            async with http.post("/api/v1/models/sdxl-1.0/run", json=body) as response:
                assert response.status == 200, await response.text()
                return await output_of(http, (await response.json())["jobId"])

        plain = await run()
        used = await run(lora_weights=job, lora_scale=0.5)
        assert used != plain
        assert await run(lora_weights=[url], lora_scale=[0.5]) == used
        assert await run(lora_weights="xl-fox", lora_scale=0.5) == used
        assert await run(loras=[{"path": url, "scale": 0.5}]) == used
        for lora, part in ((UNKNOWN, "there is no LoRA"), ("xl-fox", "trained for sdxl")):
            body = {"prompt": "a fox", "lora_weights": lora}
            async with http.post("/api/v1/models/flux-dev/run", json=body) as response:
                error = (await response.json())["error"]
                assert (response.status, error["code"]) == (400, "validation_error")
                assert part in json.dumps(error)
                assert "lora_weights" in json.dumps(error)


async def test_pixelapi_takes_loras(service: ServiceProcess, owner: str) -> None:
    async with service.client(owner) as http:
        job = await train(http, "sd-1.5-lora-trainer", "api-fox")

        async def generate(**fields: Any) -> bytes:
            body = {"model": "sd-1.5", "prompt": "a fox", "width": 512, "height": 512, "seed": 1, **fields}
            async with http.post("/v1/image/generate", json=body) as response:
                assert response.status < 300, await response.text()
                return await output_of(http, response.headers["X-PixelFactory-Job"])

        plain = await generate()
        used = await generate(loras=[{"job_id": job}])
        assert used != plain
        assert await generate(loras=["api-fox"]) == used
        async with http.get(f"/v1/image/{UUID(hex=job.removeprefix('job_'))}") as response:
            assert response.status == 200, await response.text()
            shown = await response.json()
        assert await generate(loras=[{"url": shown["output_url"]}]) == used
        body = {"model": "sd-1.5", "prompt": "a fox", "loras": [UNKNOWN]}
        async with http.post("/v1/image/generate", json=body) as response:
            assert response.status == 422
            assert "/api/v1/loras" in await response.text()


async def test_pixazo_takes_loras_by_its_request_ids(service: ServiceProcess, owner: str) -> None:
    """Its trainers are stand-ins, which are off by default; their request ids hold the id of the job."""
    headers = {"Ocp-Apim-Subscription-Key": owner}
    async with (
        service.client(owner) as http,
        aiohttp.ClientSession(service.url, headers=headers) as pixazo,
    ):
        job = await train(http, "flux-2-klein-4b-lora-trainer", "klein-fox")
        request_id = f"flux-2-pro-text-to-image-trainer-712_{UUID(hex=job.removeprefix('job_'))}"

        async def generate(**fields: Any) -> bytes:
            async with pixazo.post(KLEIN, json={"prompt": "a fox", "seed": 1, **fields}) as response:
                assert response.status < 300, await response.text()
                return await output_of(http, response.headers["X-PixelFactory-Job"])

        plain = await generate()
        used = await generate(loras=[{"job_id": request_id}])
        assert used != plain
        assert await generate(loras=[{"name": "klein-fox"}]) == used
        async with pixazo.post(KLEIN, json={"prompt": "a fox", "loras": [{"name": UNKNOWN}]}) as response:
            assert response.status == 400
            assert "/api/v1/loras" in await response.text()
