"""What becomes of jobs that wait while their model changes: the version they were asked of makes them."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfy_instances.process.child import find_free_port
from tests.support.polling import poll
from tests.support.service import ROOT, ServiceProcess, running

PATH = "/api/v1/images/generations"
ODD = Path(__file__).parents[1] / "support" / "odd_instance.py"
BODY = {"model": "sd-1.5", "prompt": "a cat", "size": "512x512", "n": 4, "steps": 100}


class InstanceAddress:
    """One address, at which one instance or another answers."""

    def __init__(self, directory: Path) -> None:
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def put(self, *command: str) -> None:
        """Kills what is there and starts another."""
        self.kill()
        options = ("--port", str(self.port), "--base-directory", str(self._directory))
        self._process = subprocess.Popen([sys.executable, *command, *options], cwd=ROOT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[tuple[ServiceProcess, InstanceAddress]]:
    """A service with one model, and one instance that takes seconds for a picture."""
    shutil.copytree(ROOT / "workflows" / "sd-1.5", tmp_path / "models" / "sd-1.5")
    machine = InstanceAddress(tmp_path / "instance")
    machine.put("-m", "comfy_instances.simulator", "--time-scale", "0.3")
    settings = {"PIXELFACTORY_WORKFLOWS_DIR": str(tmp_path / "models")}
    service = ServiceProcess(tmp_path / "data", ("--instances", machine.url), settings)
    with closing(machine), running(service):
        yield service, machine


@contextmanager
def closing(machine: InstanceAddress) -> Iterator[None]:
    try:
        yield
    finally:
        machine.kill()


async def begun(http: aiohttp.ClientSession) -> str:
    """The id of a job that has four pictures to make and is at its first."""
    async with http.post(PATH, json=BODY, headers={"Prefer": "respond-async"}) as response:
        job = str((await response.json())["jobId"])
    await until(http, job, "processing")
    return job


async def until(http: aiohttp.ClientSession, job: str, *wanted: str) -> dict[str, Any]:
    """The job, once it has one of these states."""
    async with asyncio.timeout(40):
        while True:
            async with http.get(f"/api/v1/jobs/{job}") as response:
                shown: dict[str, Any] = await response.json()
            if shown["status"] in wanted:
                return shown
            await asyncio.sleep(0.05)


async def change(service: ServiceProcess, number: int) -> None:
    """The model becomes one that wants a node which no instance has; returns once that is known."""
    file = Path(service.environment["PIXELFACTORY_WORKFLOWS_DIR"]) / "sd-1.5" / "graph.json"
    file.write_text(file.read_text().replace('"VAEDecode', f'"VAEDecode{number}'))
    async with service.client(service.admin_token) as http, asyncio.timeout(20):
        while True:
            async with http.get("/admin/v1/models") as response:
                (model,) = (await response.json())["models"]
            if model["served_by"] == []:
                return
            await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_an_old_version_is_served_where_the_new_one_is_not(
    world: tuple[ServiceProcess, InstanceAddress],
) -> None:
    service, _ = world
    async with service.client(service.key("5.00")) as http:
        job = await begun(http)
        await change(service, 2)
        async with http.post(PATH, json=BODY) as response:
            assert response.status == 503, "nobody can serve the new version"
        done = await until(http, job, "completed", "failed")
        assert done["status"] == "completed", done["error"]
        assert len(done["assets"]) == 4


@pytest.mark.slow
async def test_an_old_version_that_no_instance_can_run_is_given_up(
    world: tuple[ServiceProcess, InstanceAddress],
) -> None:
    """The instance comes back without the nodes that it had, and the model is another one by then."""
    service, machine = world
    async with service.client(service.key("5.00")) as http:
        job = await begun(http)
        machine.put(str(ODD), "old")
        await change(service, 2)
        ended = await until(http, job, "completed", "failed")
        assert ended["status"] == "failed"
        assert ended["error"]["code"] == "superseded"
        assert "old version" in ended["error"]["message"]
        async with http.get("/api/v1/billing/balance") as response:
            assert (await response.json())["available_usd"] == 5.0


async def test_a_draft_that_no_instance_can_run_says_what_is_missing(
    world: tuple[ServiceProcess, InstanceAddress],
) -> None:
    """The instance comes back without the nodes that it had, while the author's test run waits."""
    service, machine = world
    draft = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a hare"}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["2", 0],
                "latent_image": ["3", 0],
                "seed": 1,
                "steps": 20,
                "cfg": 7.0,
                "denoise": 1.0,
                "sampler_name": "euler",
                "scheduler": "normal",
            },
        },
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "x"}},
    }
    scopes = [word for scope in ("publish", "generate", "read") for word in ("--scope", scope)]
    key = service.run("keys", "create", "--credit", "1.00", *scopes)["key"]
    async with service.client(key) as http:
        body = {"id": "hare", "prompt": draft, "manifest": {"license": "mit"}}
        async with http.post("/admin/v1/models", json=body) as response:
            assert response.status == 201, await response.text()
    async with service.client(key) as http:
        wanted = {"model": "hare", "prompt": "a hare", "n": 4}

        async def submit() -> tuple[int, dict[str, Any]]:
            async with http.post(PATH, json=wanted, headers={"Prefer": "respond-async"}) as response:
                return response.status, await response.json()

        _, accepted = await poll(submit, lambda answer: answer[0] == 202)
        job = str(accepted["jobId"])
        await until(http, job, "processing")
        machine.put(str(ODD), "old")
        ended = await until(http, job, "completed", "failed")
        assert ended["error"]["code"] == "draft_not_runnable"
        assert "An instance lacks: " in ended["error"]["message"]
