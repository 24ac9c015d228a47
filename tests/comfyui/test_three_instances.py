"""Three real ComfyUI servers under our supervision, killed, stopped and restarted under load.

One test, because three starts take a while: callers come one after the other with a mixed load, and each
waits for its job, while an operator's bad day takes its course.
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psutil
import pytest
from PIL import Image

from tests.support.api import submit_job, wait_for_instances, wait_for_job
from tests.support.comfyui_server import installed_comfyui
from tests.support.metrics import scrape
from tests.support.polling import poll
from tests.support.processes import child_processes, find_processes
from tests.support.service import ROOT, ServiceProcess, pixelfactory, running

INSTALL = installed_comfyui()
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(INSTALL is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"),
    # A minute and a bit; two or three on a machine that has other things to do.
    pytest.mark.timeout(600),
]
PATH = "/api/v1/images/generations"
CALLERS = 8
CREDIT = 500.0
#: How long anything may take that heals by itself.
PATIENCE_SECONDS = 180.0


def picture(size: int) -> str:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((size, size)).convert("RGB").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


#: What callers ask for in turn; none needs weights.
MIX: tuple[dict[str, Any], ...] = (
    {"model": "test-image", "prompt": "a colour", "size": "512x512", "n": 2},
    {"model": "test-video", "prompt": "two colours", "size": "320x256", "num_frames": 17},
    {"model": "test-image", "prompt": "a colour", "size": "1024x1024"},
    {"model": "test-upscale", "prompt": "", "image": picture(256)},
    {"model": "test-i2v", "prompt": "a picture", "size": "256x256", "num_frames": 17, "image": picture(300)},
)


@dataclass
class LoadGenerator:
    """Callers who come again until they are told that it is over."""

    http: aiohttp.ClientSession
    over: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    #: What became of every job, by its id.
    done: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def call(self) -> None:
        while not self.over.is_set():
            number = next(self.numbers)
            job = await self._submit(number, MIX[number % len(MIX)])
            self.done[job] = await self._finished(job)

    async def _submit(self, number: int, body: dict[str, Any]) -> str:
        seed = {"seed": number} if body["model"] in ("test-image", "test-video") else {}
        headers = {"Idempotency-Key": f"call-{number}"}
        return await submit_job(self.http, body | seed, headers)

    async def _finished(self, job: str) -> dict[str, Any]:
        return await wait_for_job(self.http, job, seconds=PATIENCE_SECONDS)


@asynccontextmanager
async def callers(crowd: LoadGenerator) -> AsyncIterator[None]:
    """They come while the block lasts; after it, all have what they came for."""
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(crowd.call())
        yield
        crowd.over.set()


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    data = tmp_path_factory.mktemp("three")
    environment = {
        "PIXELFACTORY_COMFYUI_DIR": str(INSTALL),
        "PIXELFACTORY_CPU_INSTANCES": "3",
        "PIXELFACTORY_WORKFLOWS_DIR": str(ROOT / "tests" / "workflows"),
        "PIXELFACTORY_MODELS_DIR": str(data / "models"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    with running(ServiceProcess(data, (), environment)) as started:
        yield started


async def rows(service: ServiceProcess) -> dict[str, dict[str, Any]]:
    async with service.client(service.admin_token) as http, http.get("/admin/v1/instances") as response:
        return {row["id"]: row for row in (await response.json())["instances"]}


async def until(
    service: ServiceProcess, instance_id: str, condition: Callable[[dict[str, Any]], bool]
) -> None:
    await wait_for_instances(service, lambda found: condition(found[instance_id]), PATIENCE_SECONDS)


async def until_ready(service: ServiceProcess, instance_id: str, restarts: int = 0) -> None:
    await until(service, instance_id, lambda row: (row["state"], row["restarts"]) == ("ready", restarts))


async def until_it_works(service: ServiceProcess, instance_id: str) -> psutil.Process:
    """Its process, as soon as it has a prompt running and one waiting."""
    await until(service, instance_id, lambda row: len(row["shards"]) == 2)
    port = (await rows(service))[instance_id]["url"].rsplit(":", 1)[1]
    assert service.process is not None
    return next(find_processes(port, child_processes(service.process.pid)))


def restart(service: ServiceProcess, instance_id: str) -> subprocess.CompletedProcess[str]:
    words = ("instances", "restart", instance_id, "--url", service.url)
    return pixelfactory(*words, data_dir=service.data_dir)


async def lost_on(service: ServiceProcess, instance_id: str) -> float:
    """Number of attempts that went down with the instance."""
    labels = {"instance_id": instance_id, "kind": "instance_gone"}
    return (await scrape(service)).value("pixelfactory_attempt_failures_total", **labels)


async def until_it_lost(service: ServiceProcess, instance_id: str) -> None:
    await poll(lambda: lost_on(service, instance_id), lambda lost: bool(lost), seconds=PATIENCE_SECONDS)


async def stop_for_a_while(service: ServiceProcess, instance_id: str) -> None:
    """What it had is given up and runs elsewhere; then it wakes and finds nobody waiting for it."""
    process = await until_it_works(service, instance_id)
    process.send_signal(signal.SIGSTOP)
    await until(service, instance_id, lambda row: row["state"] == "down")
    await until_it_lost(service, instance_id)
    process.send_signal(signal.SIGCONT)
    await until_ready(service, instance_id)
    await until_it_works(service, instance_id)


async def kill_one_and_restart_another(service: ServiceProcess, one: str, another: str) -> None:
    """The second only when the first is back, so that there is always one that works."""
    (await until_it_works(service, one)).kill()
    await until_ready(service, one, restarts=1)
    # A restart by the command line takes a moment, in which the work may be done.
    for restarts in itertools.count(1):
        await until_it_works(service, another)
        await asyncio.to_thread(restart, service, another)
        await until_ready(service, another, restarts=restarts)
        if await lost_on(service, another):
            break


@pytest.mark.slow  # three servers that compute at the same time take minutes
async def test_nothing_is_lost_and_everything_is_charged_once(service: ServiceProcess) -> None:
    for number in range(3):
        await until_ready(service, f"cpu-{number}")
    async with service.client(service.key(f"{CREDIT:.2f}")) as http:
        crowd = LoadGenerator(http)
        async with callers(crowd):
            await asyncio.gather(
                stop_for_a_while(service, "cpu-1"), kill_one_and_restart_another(service, "cpu-0", "cpu-2")
            )
        jobs = crowd.done
        assert len(jobs) >= 5 * len(MIX)
        assert {view["status"] for view in jobs.values()} == {"completed"}
        assert not any(view["simulated"] for view in jobs.values())
        async with http.get("/api/v1/billing/balance") as response:
            wallet = await response.json()
        cost = sum(view["costUsd"] for view in jobs.values())
        assert (wallet["held_usd"], wallet["balance_usd"]) == (0.0, pytest.approx(CREDIT - cost, abs=1e-6))
    found = await scrape(service)
    assert found.value("pixelfactory_jobs_finished_total", status="succeeded") == len(jobs)
    assert found.value("pixelfactory_captured_usd_total") == pytest.approx(cost, abs=1e-6)
    for number in range(3):
        assert await lost_on(service, f"cpu-{number}"), f"cpu-{number} had no work when it was struck"
