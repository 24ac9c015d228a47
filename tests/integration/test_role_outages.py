"""What ends, restarts or is cut off under API processes and a scheduler: one after the other, no standby."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from tests.support.api import get_job, submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.installation import Installation, installed
from tests.support.polling import poll
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess

PATH = "/api/v1/images/generations"
IMAGE = {"model": "sdxl-1.0", "prompt": "a red fox", "width": 512, "height": 512, "response_format": "url"}
#: More than the grace time of callers and two looks of the reconciler.
CANCEL_SECONDS = 120.0


@pytest.fixture(scope="module")
def installation(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("installation"), s3) as installation:
        yield installation


@pytest.fixture(scope="module")
def scheduler(installation: Installation) -> ServiceProcess:
    return installation.scheduler("scheduler")


@pytest.fixture(scope="module")
def apis(installation: Installation, scheduler: ServiceProcess) -> tuple[ServiceProcess, ServiceProcess]:
    return installation.api("api-1"), installation.api("api-2")


@pytest.fixture(scope="module")
def key(apis: tuple[ServiceProcess, ServiceProcess]) -> str:
    return new_key(apis[0], "5.00")


async def set_fault(installation: Installation, kind: str, count: int) -> None:
    """Let the next `count` prompts on every simulator suffer a fault."""
    async with aiohttp.ClientSession() as http:
        for simulator in installation.simulators:
            body = {"kind": kind, "count": count}
            async with http.post(f"{simulator.url}/simulator/faults", json=body) as response:
                assert response.status == 200, await response.text()


async def list_jobs(http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with http.get("/api/v1/jobs") as response:
        assert response.status == 200, await response.text()
        return list((await response.json())["jobs"])


def list_holds(installation: Installation) -> list[tuple[object, ...]]:
    """Return the ledger accounts that hold an amount for jobs."""
    query = "SELECT account, sum(micros) FROM balances WHERE account LIKE 'held:%'"
    return installation.cluster.query(f"{query} GROUP BY account HAVING sum(micros) <> 0")


@pytest.mark.slow
async def test_a_job_whose_caller_was_at_a_killed_process_is_cancelled_and_not_charged(
    apis: tuple[ServiceProcess, ServiceProcess], installation: Installation, key: str
) -> None:
    first, second = apis
    await set_fault(installation, "hold_node", 1)

    async def wait_in_vain() -> None:
        async with first.client(key) as http:
            with suppress(aiohttp.ClientError):
                async with http.post(PATH, json=IMAGE):
                    pass

    waiting = asyncio.create_task(wait_in_vain())
    async with second.client(key) as http:
        (job,) = await poll(
            lambda: list_jobs(http), lambda jobs: [j["status"] for j in jobs] == ["processing"]
        )
        assert list_holds(installation)
        first.kill()
        await waiting
        done = await wait_for_job(http, job["jobId"], seconds=CANCEL_SECONDS)
        assert done["status"] == "cancelled"
    assert list_holds(installation) == []
    await set_fault(installation, "hold_node", 0)
    first.start()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_jobs_survive_a_restart_of_postgresql_under_both_roles(
    apis: tuple[ServiceProcess, ServiceProcess], installation: Installation, key: str, how: signal.Signals
) -> None:
    """In order, and as after a crash."""
    async with apis[0].client(key) as one, apis[1].client(key) as other:
        jobs = [await submit_job(one, {**IMAGE, "n": 2, "steps": 40}) for _ in range(3)]
        await asyncio.to_thread(installation.cluster.restart, how)

        async def answers() -> bool:
            async with one.get("/readyz") as first, other.get("/readyz") as second:
                return first.status == second.status == 200

        await poll(answers)
        for job in jobs:
            assert (await wait_for_job(other, job))["status"] == "completed"
        job = await submit_job(other, IMAGE)
        assert (await wait_for_job(one, job))["status"] == "completed"


@pytest.mark.slow
async def test_jobs_wait_while_the_only_scheduler_restarts(
    apis: tuple[ServiceProcess, ServiceProcess], scheduler: ServiceProcess, key: str
) -> None:
    """Those that ran go on; those that API processes accept meanwhile begin afterwards."""
    async with apis[0].client(key) as one, apis[1].client(key) as other:
        running = await submit_job(one, {**IMAGE, "steps": 100, "n": 4})
        await wait_for_job(one, running, "processing")
        scheduler.kill()
        accepted = await submit_job(other, IMAGE)
        assert (await get_job(one, accepted))["status"] == "pending"
        scheduler.start()
        for job in (running, accepted):
            done = await wait_for_job(other, job)
            assert (done["status"], len(done["assets"])) == ("completed", 4 if job == running else 1)
