"""The whole service on a real ComfyUI on the CPU, through the official OpenAI SDK.

The models are those of tests/workflows, which need no weights, and those of ours that have tiny weights.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import av
import openai
import pytest
from PIL import Image, ImageChops

from scripts.tiny_models import TINY_MODELS
from tests.support.api import all_idle, wait_for_instances
from tests.support.comfyui_server import installed_comfyui
from tests.support.datasets import data_url, is_trained, zipped
from tests.support.metrics import scrape
from tests.support.polling import poll
from tests.support.real_comfyui import RealServer
from tests.support.service import ROOT, ServiceProcess, running
from tests.support.videos import VideoInfo, film

INSTALL = installed_comfyui()
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(INSTALL is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"),
    pytest.mark.timeout(600),
]
SHIPPED = sorted({tiny.model for tiny in TINY_MODELS} | {"sd-1.5-lora-trainer"})


@pytest.fixture(scope="module")
def service(comfyui: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    workflows = tmp_path_factory.mktemp("workflows")
    shutil.copytree(ROOT / "tests" / "workflows", workflows, dirs_exist_ok=True)
    for model in SHIPPED:
        shutil.copytree(ROOT / "workflows" / model, workflows / model)
    environment = {"PIXELFACTORY_WORKFLOWS_DIR": str(workflows)}
    data = tmp_path_factory.mktemp("service")
    with running(ServiceProcess(data, ("--instances", comfyui.url), environment)) as started:
        yield started


@pytest.fixture(scope="module")
def key(service: ServiceProcess) -> str:
    """For whom money does not matter."""
    return service.key("1.00")


@pytest.fixture
async def client(service: ServiceProcess, key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(service, key) as client:
        yield client


def sdk(service: ServiceProcess, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{service.url}/api/v1", api_key=key, max_retries=0)


async def generate(client: openai.AsyncOpenAI, model: str, **extra: Any) -> list[bytes]:
    n = extra.pop("n", 1)
    size = extra.pop("size", "256x256")
    response = await client.images.with_raw_response.generate(
        model=model, prompt=extra.pop("prompt", "a lighthouse"), n=n, size=size, extra_body=extra
    )
    assert "X-PixelFactory-Simulated" not in response.headers
    return [base64.b64decode(str(item.b64_json)) for item in response.parse().data or []]


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


async def test_four_images_have_the_colours_of_four_seeds(client: openai.AsyncOpenAI) -> None:
    made = await generate(client, "test-image", n=4, seed=0xFE1C80, size="512x256")
    pictures = [picture(data) for data in made]
    assert [shown.size for shown in pictures] == [(512, 256)] * 4
    colours = [shown.getcolors() for shown in pictures]
    assert colours == [[(512 * 256, (0xFE, 0x1C, 0x80 + number))] for number in range(4)]
    assert await generate(client, "test-image", seed=0xFE1C80, size="512x256") == made[:1]


async def test_a_video_changes_its_colour_halfway(client: openai.AsyncOpenAI) -> None:
    (made,) = await generate(client, "test-video", num_frames=33, fps=8, seed=0xFF8000, size="320x256")
    assert film(made) == VideoInfo(320, 256, 33, 8.0, "h264")
    with av.open(io.BytesIO(made), "r") as container:
        frames = [frame.to_ndarray(format="rgb24")[100, 100] for frame in container.decode(video=0)]
    assert abs(frames[0].astype(int) - (0xFF, 0x80, 0)).max() < 16
    assert abs(frames[-1].astype(int) - (0, 0x7F, 0xFF)).max() < 16


async def test_an_upscale_is_the_image_four_times_as_large(client: openai.AsyncOpenAI) -> None:
    """Wider than a tile of the upscaler, so that seams would show."""
    given = Image.radial_gradient("L").resize((600, 96))
    given = Image.merge("RGB", (given, given.rotate(180), Image.linear_gradient("L").resize(given.size)))
    buffer = io.BytesIO()
    given.save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    (made,) = await generate(client, "4x-ultrasharp", prompt="", image=image, size="auto")
    difference = ImageChops.difference(picture(made), given.resize((2400, 384), Image.Resampling.NEAREST))
    assert all(largest <= 1 for _, largest in difference.getextrema())  # type: ignore[misc]


@pytest.mark.parametrize("model", ["sd-1.5", "sd-3.5-large"])
async def test_a_sampled_image_depends_on_seed_and_prompt(client: openai.AsyncOpenAI, model: str) -> None:
    async def image(**more: Any) -> bytes:
        (made,) = await generate(client, model, **{"seed": 1, "steps": 2} | more)
        return made

    first = await image()
    assert picture(first).size == (256, 256)
    assert len(picture(first).getcolors(256 * 256) or []) > 100
    assert first == await image()
    assert len({first, await image(seed=2), await image(prompt="a fox")}) == 3


async def test_samples_a_video(client: openai.AsyncOpenAI) -> None:
    (made,) = await generate(client, "wan2.1-t2v-fast", num_frames=9, fps=16, steps=2, seed=1)
    assert film(made) == VideoInfo(256, 256, 9, 16.0, "h264")


@pytest.mark.slow
async def test_a_lora_is_trained(comfyui: RealServer, service: ServiceProcess, key: str) -> None:
    """From an archive of pictures to a file that is usable at once: it changes what the model makes."""
    async with service.client(key) as http:
        body = {"dataset": data_url(zipped()), "trigger_word": "sks", "steps": 3, "rank": 4, "size": 256}
        async with http.post("/api/v1/models/sd-1.5-lora-trainer/run", json=body) as response:
            job = (await response.json())["jobId"]
        steps = await steps_of(http, job, "train")
        async with http.get(f"/api/v1/jobs/{job}") as response:
            shown = await response.json()
    assert shown["status"] == "completed", shown["error"]
    assert steps == sorted(steps)
    assert {1, 2} & set(steps)  # a step may be passed over by the next one, and the last by the next node
    (asset,) = shown["assets"]
    async with aiohttp.ClientSession() as anybody, anybody.get(asset["url"]) as response:
        assert response.content_type == asset["contentType"] == "application/octet-stream"
        lora = await response.read()
    assert len(lora) == asset["bytes"]
    assert is_trained(lora)
    assert list((comfyui.base / "output").glob("*.safetensors")) != []  # adopted: ours to read only
    await the_trained_lora_is_used(comfyui, service, key, job)


async def the_trained_lora_is_used(comfyui: RealServer, service: ServiceProcess, key: str, job: str) -> None:
    """In following requests, by job, URL and name; it is brought to the server once."""
    async with service.client(key) as http, http.get("/api/v1/loras") as response:
        own = (await response.json())["loras"][0]
    assert (own["job_id"], own["trigger_word"], own["architecture"]) == (job, "sks", "sd15")
    async with sdk(service, key) as client:

        async def picture_of(*loras: dict[str, Any]) -> bytes:
            (made,) = await generate(client, "sd-1.5", steps=2, seed=1, loras=list(loras))
            return picture(made).tobytes()

        plain = await picture_of()
        used = await picture_of({"job_id": job, "strength": 2.0})
        assert used != plain
        assert await picture_of({"url": own["url"], "scale": 2}) == used
        with pytest.raises(openai.BadRequestError, match="lora"):
            await picture_of({"name": "no-such-lora"})
    (file,) = (comfyui.base / "output" / "loras").iterdir()
    assert file.name == f"pixelfactory-lora-{own['sha256']}.safetensors"


async def steps_of(http: aiohttp.ClientSession, job: str, node: str) -> list[int]:
    """The steps of a node that a job's events tell of, to its end."""
    steps = []
    async with http.get(f"/api/v1/jobs/{job}/events") as told:
        async for line in told.content:
            data = json.loads(line[6:]) if line.startswith(b"data: ") else {}
            if data.get("node") == node and data["max"] > 1:
                steps.append(int(data["value"]))
    return steps


@pytest.mark.slow
async def test_a_sampled_video_depends_on_its_first_frame(client: openai.AsyncOpenAI) -> None:
    """Through both experts, and the encoder of the VAE."""

    async def video(color: str) -> bytes:
        (made,) = await generate(
            client, "wan2.2-i2v-14b", image=png(color), num_frames=5, fps=16, steps=2, seed=1
        )
        assert film(made) == VideoInfo(256, 256, 5, 16.0, "h264")
        return made

    assert await video("teal") != await video("salmon")


def png(color: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (256, 256), color).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


async def test_a_cancelled_job_stops_between_two_steps(comfyui: RealServer, service: ServiceProcess) -> None:
    """Within seconds, where a hundred steps of this size take minutes."""
    key = service.key("1.00")
    async with service.client(key) as http:
        body = {"model": "sd-1.5", "prompt": "a lighthouse", "size": "512x512", "steps": 100}
        headers = {"Prefer": "respond-async"}
        async with http.post("/api/v1/images/generations", json=body, headers=headers) as response:
            job = (await response.json())["jobId"]
        await until_it_samples(http, job)
        async with http.delete(f"/api/v1/jobs/{job}") as response:
            assert (await response.json())["status"] == "cancelled"
        await until_idle(service)
        async with http.get("/api/v1/billing/balance") as response:
            assert (await response.json())["available_usd"] == 1.0

        async def queue() -> dict[str, list[Any]]:
            async with http.get(f"{comfyui.url}/queue") as response:
                return dict(await response.json())

        # ComfyUI reports the end of a prompt before it takes the prompt from those that run.
        await poll(queue, lambda found: found == {"queue_running": [], "queue_pending": []})


@pytest.mark.slow  # test_fleet_real.py kills an instance, too
async def test_kill_9_of_comfyui_costs_time_and_no_job(comfyui: RealServer, service: ServiceProcess) -> None:
    key = service.key("1.00")
    async with sdk(service, key) as client, service.client(key) as http:
        made = asyncio.create_task(generate(client, "sd-1.5", steps=8, seed=3))
        job = await first_job(http)
        await until_it_samples(http, job)
        assert not made.done()
        comfyui.kill()
        await asyncio.to_thread(comfyui.start)
        assert [picture(data).size for data in await made] == [(256, 256)]
        async with http.get("/api/v1/billing/ledger") as response:
            kinds = [entry["kind"] for entry in (await response.json())["entries"]]
        assert kinds == ["capture", "hold", "credit"]
        async with http.get(f"/api/v1/jobs/{job}") as response:
            assert (await response.json())["status"] == "completed"


async def first_job(http: aiohttp.ClientSession) -> str:
    """The id of the caller's only job, once there is one."""

    async def jobs() -> list[dict[str, Any]]:
        async with http.get("/api/v1/jobs") as response:
            return list((await response.json())["jobs"])

    return str((await poll(jobs))[0]["jobId"])


async def until_it_samples(http: aiohttp.ClientSession, job: str) -> None:
    """Until its second step is done."""
    async with asyncio.timeout(180), http.get(f"/api/v1/jobs/{job}/events") as told:
        async for line in told.content:
            data = json.loads(line[6:]) if line.startswith(b"data: ") else {}
            if data.get("node") == "sampler" and data["value"] >= 2:
                return
    raise AssertionError("the job ended first")


async def until_idle(service: ServiceProcess) -> None:
    await wait_for_instances(service, all_idle)


async def test_a_model_that_an_operator_has_loaded_is_held(service: ServiceProcess) -> None:
    model = "sd-1.5"
    async with (
        service.client(service.admin_token) as http,
        http.post(f"/admin/v1/models/{model}/warm", json={}) as response,
    ):
        assert response.status == 202, await response.text()

    async def loaded() -> float:
        return (await scrape(service)).value("pixelfactory_warm_runs_total", model=model, result="loaded")

    assert await poll(loaded, bool, seconds=100) == 1
    instances = await wait_for_instances(service, lambda rows: True)
    assert [model in row["models_held"] for row in instances.values()] == [True]
