"""A database that cannot be written for a while loses no job, holds no money for ever and charges once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support import metrics
from tests.support.api import submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.failing_disk import (
    FileSizeLimit,
    FullDisk,
    ServiceOnOtherDisk,
    StoreFailure,
    ending,
    small_disk,
)
from tests.support.paused_instances import paused_instances
from tests.support.polling import poll, wait_until
from tests.support.service import ServiceProcess, running

PATH = "/api/v1/images/generations"
#: Long to run and small to encode.
FILM = {
    "model": "wan2.1-t2v-fast",
    "prompt": "waves",
    "size": "320x256",
    "num_frames": 162,
    "response_format": "url",
}
ENVIRONMENT = {
    "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.2",
    "PIXELFACTORY_RECONCILE_SECONDS": "0.5",
    "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
}
OPTIONS = ("--simulate", "2")


@pytest.fixture(scope="module", params=["full disk", pytest.param("file size limit", marks=pytest.mark.slow)])
def trouble(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServiceProcess, StoreFailure]]:
    """A service, and what keeps it from writing. Its instances take about a second for a film."""
    directory = tmp_path_factory.mktemp("trouble")
    if request.param == "file size limit":
        with running(ServiceProcess(directory / "data", OPTIONS, ENVIRONMENT)) as service:
            yield service, FileSizeLimit()
        return
    with small_disk(directory / "disk") as disk:
        service = ServiceOnOtherDisk(directory / "data", OPTIONS, ENVIRONMENT, database=disk / "store.db")
        with running(service):
            yield service, FullDisk(disk)


@asynccontextmanager
async def gated_receiver(gate: asyncio.Event) -> AsyncIterator[tuple[str, list[str]]]:
    """A receiver that accepts webhooks once the gate is open: its URL, and the ids of the messages."""
    received: list[str] = []

    async def receive(request: web.Request) -> web.Response:
        received.append(request.headers["webhook-id"])
        await gate.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", receive)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("/")), received
    finally:
        await server.close()


async def counter(service: ServiceProcess, name: str, **labels: str) -> float:
    async with service.client() as http, http.get("/metrics") as response:
        return metrics.read(await response.text()).value(name, **labels)


async def balance(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/api/v1/billing/balance") as response:
        return dict(await response.json())


async def entry_kinds(http: aiohttp.ClientSession) -> list[str]:
    async with http.get("/api/v1/billing/ledger", params={"limit": "100"}) as response:
        kinds = [entry["kind"] for entry in (await response.json())["entries"]]
    return sorted(kind for kind in kinds if kind in ("hold", "capture", "release"))


async def is_any_job_running(http: aiohttp.ClientSession) -> bool:
    async with http.get("/api/v1/jobs") as response:
        return any(job["status"] == "processing" for job in (await response.json())["jobs"])


async def retries(service: ServiceProcess, operation: str) -> float:
    return await counter(service, "pixelfactory_write_retries_total", operation=operation)


async def test_the_end_of_a_job_is_written_when_the_store_is_back(
    trouble: tuple[ServiceProcess, StoreFailure],
) -> None:
    service, failure = trouble
    async with service.client(new_key(service, "10.00")) as http:
        before = await retries(service, "finish_shard")
        with ending(failure, service):
            with paused_instances(service):
                jobs = [await submit_job(http, {**FILM, "seed": seed}) for seed in range(3)]
                for job in jobs[:2]:
                    await wait_for_job(http, job, "processing")
                failure.begin(service)
            await poll(lambda: retries(service, "finish_shard"), lambda count: count >= before + 2)
            held = (await balance(http))["held_usd"]
            assert held > 0
            async with http.post(PATH, json=FILM) as response:
                assert response.status == 503
                assert (await response.json())["error"]["code"] == "store_unavailable"
                assert response.headers["X-Should-Retry"] == "true"
        for job in jobs:
            assert (await wait_for_job(http, job))["status"] == "completed"
        assert await entry_kinds(http) == ["capture"] * 3 + ["hold"] * 3
        assert (await balance(http))["held_usd"] == 0
    assert await counter(service, "pixelfactory_task_failures_total") == 0
    assert "never retrieved" not in service.log


async def test_a_waiting_caller_gets_its_result_when_the_store_is_back(
    trouble: tuple[ServiceProcess, StoreFailure],
) -> None:
    service, failure = trouble
    async with service.client(new_key(service, "10.00")) as http:
        before = await retries(service, "finish_shard")
        with ending(failure, service):
            with paused_instances(service):
                waiting = asyncio.ensure_future(http.post(PATH, json=FILM))
                await poll(lambda: is_any_job_running(http))
                failure.begin(service)
            await poll(lambda: retries(service, "finish_shard"), lambda count: count > before)
            assert not waiting.done()
        response = await waiting
        assert response.status == 200, await response.text()
        response.release()
        assert await entry_kinds(http) == ["capture", "hold"]


@pytest.mark.slow
async def test_a_failed_attempt_is_recorded_when_the_store_is_back(
    trouble: tuple[ServiceProcess, StoreFailure],
) -> None:
    service, failure = trouble
    async with service.client(new_key(service, "10.00")) as http:
        before = await retries(service, "end_attempt")
        with ending(failure, service):
            with paused_instances(service) as instances:
                job = await submit_job(http, {**FILM, "prompt": "a long film"})
                await wait_for_job(http, job, "processing")
                failure.begin(service)
                for instance in instances:
                    instance.kill()
            await poll(lambda: retries(service, "end_attempt"), lambda count: count > before)
        assert (await wait_for_job(http, job))["status"] == "completed"
        assert await entry_kinds(http) == ["capture", "hold"]


async def test_a_caller_that_disconnects_meanwhile_is_not_charged(
    trouble: tuple[ServiceProcess, StoreFailure],
) -> None:
    service, failure = trouble
    key = new_key(service, "10.00")
    async with service.client(key) as http:
        async with service.client(key) as leaving:
            with ending(failure, service), paused_instances(service):
                waiting = asyncio.ensure_future(leaving.post(PATH, json=FILM))
                await poll(lambda: is_any_job_running(http))
                failure.begin(service)
                waiting.cancel()
                await poll(lambda: retries(service, "cancel_job"))
        assert (await poll(lambda: balance(http), lambda wallet: wallet["held_usd"] == 0))[
            "balance_usd"
        ] == 10.0
        assert await entry_kinds(http) == ["hold", "release"]


@pytest.mark.slow
async def test_a_webhook_is_delivered_once_although_that_cannot_be_recorded(
    trouble: tuple[ServiceProcess, StoreFailure],
) -> None:
    service, failure = trouble
    gate = asyncio.Event()
    async with gated_receiver(gate) as (url, received), service.client(new_key(service, "10.00")) as http:
        await submit_job(http, {"prompt": "a", "size": "256x256", "webhook_url": url})
        await wait_until(lambda: len(received) == 1)
        before = await retries(service, "finish_shard")
        with ending(failure, service):
            with paused_instances(service):
                film = await submit_job(http, FILM)
                await wait_for_job(http, film, "processing")
                failure.begin(service)
            gate.set()
            # Meanwhile the outbox is read several times.
            await poll(lambda: retries(service, "finish_shard"), lambda count: count >= before + 3)
        assert (await wait_for_job(http, film))["status"] == "completed"

        async def is_delivered() -> bool:
            async with http.get("/api/v1/webhooks/messages") as response:
                messages = (await response.json())["messages"]
            return all(message["delivered_at"] for message in messages)

        await poll(is_delivered)
        assert len(received) == 1


@pytest.mark.slow
def test_no_failed_write_leaves_a_traceback_in_the_log(trouble: tuple[ServiceProcess, StoreFailure]) -> None:
    service, failure = trouble
    if isinstance(failure, FullDisk):  # the other one keeps the log from growing, too
        assert "writes was rolled back: database or disk is full" in service.log
        assert "which is tried again: The database is locked or its disk is full" in service.log
    assert "Traceback" not in service.log
