"""What happens to results that a real ComfyUI delivers when something ends meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from tests.support.comfyui_server import installed_comfyui
from tests.support.encoder_hold import EncoderHold
from tests.support.polling import poll
from tests.support.real_comfyui import RealServer
from tests.support.service import ROOT, ServiceProcess, running

INSTALL = installed_comfyui()
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(INSTALL is None, reason="no ComfyUI is installed (pixelfactory comfyui install)"),
    pytest.mark.timeout(600),
]
SECONDS = 180.0


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    assert INSTALL is not None
    server = RealServer(INSTALL, tmp_path_factory.mktemp("comfyui"))
    (server.base / "custom_nodes" / "pixel_factory").symlink_to(ROOT / "custom_nodes" / "pixel_factory")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def encoders(comfyui: RealServer) -> EncoderHold:
    hold = EncoderHold(comfyui.base)
    comfyui.start()
    return hold


@pytest.fixture(scope="module")
def service(
    comfyui: RealServer, encoders: EncoderHold, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    environment = {"PIXELFACTORY_WORKFLOWS_DIR": str(ROOT / "tests" / "workflows")}
    data = tmp_path_factory.mktemp("service")
    with running(ServiceProcess(data, ("--instances", comfyui.url), environment)) as started:
        yield started


@pytest.fixture(scope="module")
def key(service: ServiceProcess) -> str:
    return service.key("1.00")


async def submit(service: ServiceProcess, key: str) -> str:
    """Return the id of a job that goes on without its caller."""
    async with service.client(key) as http:
        body = {"prompt": "x", "seed": 3, "size": "256x256"}
        headers = {"Prefer": "respond-async"}
        async with http.post("/api/v1/models/test-image/run", json=body, headers=headers) as response:
            return str((await response.json())["jobId"])


async def job_of(service: ServiceProcess, key: str, job: str) -> dict[str, Any]:
    with suppress(aiohttp.ClientError):
        async with service.client(key) as http, http.get(f"/api/v1/jobs/{job}") as response:
            return dict(await response.json())
    return {"status": "unknown"}


async def finished(service: ServiceProcess, key: str, job: str) -> dict[str, Any]:
    return await poll(
        lambda: job_of(service, key, job),
        lambda shown: shown["status"] in ("completed", "failed", "cancelled"),
        seconds=SECONDS,
    )


async def load_of(comfyui: RealServer) -> dict[str, Any]:
    with suppress(aiohttp.ClientError):
        headers = {"X-Pixel-Factory-Delivery": "1"}
        async with (
            aiohttp.ClientSession(comfyui.url, headers=headers) as http,
            http.get("/pixelfactory/delivery") as response,
        ):
            return dict(await response.json())
    return {"states": {}}


async def is_encoding(comfyui: RealServer) -> None:
    """Wait until a result is being encoded, which is after its prompt has ended."""
    await poll(lambda: load_of(comfyui), lambda load: load["states"] == {"working": 1}, seconds=SECONDS)


async def has_nothing_left(comfyui: RealServer) -> None:
    await poll(
        lambda: load_of(comfyui),
        lambda load: (load["states"], load.get("memory_used")) == ({}, 0),
        seconds=SECONDS,
    )


async def test_a_restarted_service_collects_what_is_being_encoded(
    service: ServiceProcess, key: str, comfyui: RealServer, encoders: EncoderHold
) -> None:
    encoders.hold.touch()
    job = await submit(service, key)
    await is_encoding(comfyui)
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    encoders.hold.unlink()
    shown = await finished(service, key, job)
    assert shown["status"] == "completed", shown
    async with aiohttp.ClientSession() as http, http.get(shown["assets"][0]["url"]) as response:
        assert (await response.read()).startswith(b"\x89PNG")
    await has_nothing_left(comfyui)


async def test_a_crash_of_an_encoder_is_an_attempt_that_is_repeated(
    service: ServiceProcess, key: str, comfyui: RealServer, encoders: EncoderHold
) -> None:
    encoders.crash.touch()
    job = await submit(service, key)
    shown = await finished(service, key, job)
    assert shown["status"] == "completed", shown
    assert not encoders.crash.exists()
    await has_nothing_left(comfyui)


async def test_a_cancelled_job_leaves_nothing_on_the_instance(
    service: ServiceProcess, key: str, comfyui: RealServer, encoders: EncoderHold
) -> None:
    encoders.hold.touch()
    job = await submit(service, key)
    await is_encoding(comfyui)
    async with service.client(key) as http, http.delete(f"/api/v1/jobs/{job}") as response:
        assert response.status == 200, await response.text()
    encoders.hold.unlink()
    assert (await finished(service, key, job))["status"] == "cancelled"
    await has_nothing_left(comfyui)


async def test_an_instance_killed_while_it_encodes_costs_one_attempt(
    service: ServiceProcess, key: str, comfyui: RealServer, encoders: EncoderHold
) -> None:
    encoders.hold.touch()
    job = await submit(service, key)
    await is_encoding(comfyui)
    await asyncio.to_thread(comfyui.kill)
    encoders.hold.unlink()
    await asyncio.to_thread(comfyui.start)
    shown = await finished(service, key, job)
    assert shown["status"] == "completed", shown
    assert len(shown["assets"]) == 1
