"""Requests that end their instance, beside requests of others, on the running service."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import psutil
import pytest

from tests.support.api import (
    Instances,
    all_ready,
    list_instances,
    submit_job,
    wait_for_instances,
    wait_for_job,
)
from tests.support.callers import new_key, wait_for_status
from tests.support.metrics import scrape
from tests.support.polling import poll, wait_until
from tests.support.processes import find_processes
from tests.support.service import ServiceProcess, running

ORDINARY_JOBS = 30
POISON_IMAGES = (1, 4, 4)
BODY = {"model": "flux-1-schnell", "size": "256x256"}
DASHBOARD = "/dashboard/api/admin/v1"
MINUTES = 180.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {"SIMULATOR_MARKED_FAULTS": "1", "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.01"}
    made = ServiceProcess(tmp_path_factory.mktemp("poison"), ("--simulate", "3"), environment)
    with running(made) as started:
        yield started


@dataclass
class Aftermath:
    """What became of the requests."""

    ordinary: list[dict[str, Any]]
    poison: list[dict[str, Any]]
    #: Statuses of the submissions of ordinary jobs, in order.
    statuses: list[int]
    available: dict[str, float] = field(default_factory=dict)


@pytest.fixture(scope="module")
def aftermath(service: ServiceProcess) -> Aftermath:
    return asyncio.run(_run_poison_beside_ordinary_jobs(service))


async def _run_poison_beside_ordinary_jobs(service: ServiceProcess) -> Aftermath:
    """Ordinary jobs of three accounts before, beside and after poison ones of a fourth."""
    await wait_for_instances(service, all_ready)
    statuses: list[int] = []
    async with AsyncExitStack() as stack:

        async def caller() -> aiohttp.ClientSession:
            return await stack.enter_async_context(service.client(new_key(service)))

        good = [await caller() for _ in range(3)]
        bad = await caller()

        async def submit_ordinary(number: int) -> tuple[aiohttp.ClientSession, str]:
            http = good[number % 3]
            body = {**BODY, "prompt": f"a cat {number}", "n": 4 if number % 5 == 0 else 1}
            job_id = await submit_job(http, body)
            statuses.append(202)
            return http, job_id

        before = [await submit_ordinary(number) for number in range(ORDINARY_JOBS // 3)]
        poison = [
            await submit_job(bad, {**BODY, "prompt": f"a dog {n} [fault:crash]", "n": images})
            for n, images in enumerate(POISON_IMAGES)
        ]
        beside = []
        for number in range(ORDINARY_JOBS // 3, ORDINARY_JOBS):
            beside.append(await submit_ordinary(number))
            await asyncio.sleep(0.2)
        ended = [await wait_for_job(bad, job_id, seconds=MINUTES) for job_id in poison]
        ordinary = [await wait_for_job(http, job_id, seconds=MINUTES) for http, job_id in (*before, *beside)]
        made = Aftermath(ordinary=ordinary, poison=ended, statuses=statuses)
        async with bad.get("/api/v1/billing/balance") as response:
            made.available["bad"] = (await response.json())["available_usd"]
        return made


@pytest.mark.slow
async def test_a_shortage_of_descriptors_costs_no_job_and_no_instance(service: ServiceProcess) -> None:
    """The limit of the running service is lowered below what it has open, and raised again.

    It comes first: after many crashes the pause before the next start of an instance is a minute.
    """
    assert service.process is not None
    process = psutil.Process(service.process.pid)
    limits = process.rlimit(psutil.RLIMIT_NOFILE)
    before = await wait_for_instances(service, all_ready)
    async with service.client(new_key(service)) as http:
        jobs = [await submit_job(http, {**BODY, "prompt": f"a patient cat {n}", "n": 4}) for n in range(3)]
        # New descriptors need a number below the limit; those of long-lived files take these numbers.
        process.rlimit(psutil.RLIMIT_NOFILE, (16, limits[1]))
        try:
            port = before["sim-1"]["url"].rsplit(":", 1)[1]
            for instance in find_processes(port, process.children()):
                instance.kill()
            await wait_until(lambda: "supervision of sim-1 failed and is repeated" in service.log)
        finally:
            process.rlimit(psutil.RLIMIT_NOFILE, limits)
        for job_id in jobs:
            assert (await wait_for_job(http, job_id, seconds=MINUTES))["status"] == "completed"
    after = await wait_for_instances(service, all_ready)
    assert after["sim-1"]["supervision_errors"] > 0
    assert [after[name]["restarts"] for name in ("sim-0", "sim-2")] == [
        before[name]["restarts"] for name in ("sim-0", "sim-2")
    ]
    assert "is failed" not in service.log
    metrics = await scrape(service)
    errors = metrics.value("pixelfactory_instance_supervision_errors_total", instance_id="sim-1")
    assert errors == after["sim-1"]["supervision_errors"]


@pytest.mark.slow
async def test_ordinary_jobs_complete_and_none_is_turned_away(aftermath: Aftermath) -> None:
    assert [job["status"] for job in aftermath.ordinary] == ["completed"] * ORDINARY_JOBS
    assert aftermath.statuses == [202] * ORDINARY_JOBS


@pytest.mark.slow
async def test_requests_that_end_their_instance_twice_fail_uncharged(aftermath: Aftermath) -> None:
    codes = [(job["status"], job["error"]["code"]) for job in aftermath.poison]
    assert codes == [("failed", "quarantined")] * len(POISON_IMAGES)
    assert aftermath.available["bad"] == 5.0


@pytest.mark.slow
async def test_the_fleet_is_ready_at_the_end(service: ServiceProcess, aftermath: Aftermath) -> None:
    instances = await wait_for_instances(service, all_ready)
    assert all(row["failures"] < 3 for row in instances.values()), "no breaker was near to opening"
    assert "is failed" not in service.log


@pytest.mark.slow
async def test_no_shard_ends_more_than_two_instances(service: ServiceProcess, aftermath: Aftermath) -> None:
    async with service.client(service.admin_token) as admin:
        kept = await get(admin, "/admin/v1/quarantine")
    assert {shard["job"] for shard in kept["shards"]} == {job["jobId"] for job in aftermath.poison}
    for shard in kept["shards"]:
        deaths = [one for one in shard["attempts"] if one["outcome"] == "instance_gone"]
        assert len(deaths) >= 2
        assert {one["instance"] for one in deaths} <= {"sim-0", "sim-1", "sim-2"}


@pytest.mark.slow
async def test_operators_download_the_graph_and_delete_the_entry(
    service: ServiceProcess, aftermath: Aftermath
) -> None:
    cookies = aiohttp.CookieJar(unsafe=True)
    origin = {"Origin": service.url}
    async with aiohttp.ClientSession(service.url, cookie_jar=cookies, headers=origin) as operator:
        async with operator.post("/session", json={"credential": service.admin_token}) as response:
            assert response.status == 204
        listed = (await get(operator, f"{DASHBOARD}/quarantine?limit=500"))["shards"]
        shard = next(one for one in listed if one["job"] == aftermath.poison[0]["jobId"])
        path = f"{DASHBOARD}/quarantine/{shard['shard']}"
        assert await get(operator, path) == shard
        async with operator.get(f"{path}/graph") as response:
            assert response.headers["Content-Disposition"].startswith("attachment")
            graph = await response.json()
        assert "[fault:crash]" in str(graph)
        assert all({"class_type", "inputs"} <= node.keys() for node in graph.values())
        async with operator.delete(path) as response:
            assert response.status == 204
        for method in ("GET", "DELETE"):
            async with operator.request(method, path) as response:
                assert response.status == 404


@pytest.mark.slow
async def test_callers_cannot_see_the_quarantine(service: ServiceProcess) -> None:
    async with service.client(new_key(service)) as http:
        for path in ("/admin/v1/quarantine", "/admin/v1/quarantine/x", "/admin/v1/quarantine/x/graph"):
            async with http.get(path) as response:
                assert response.status == 401


@pytest.mark.slow
async def test_quarantines_are_counted(service: ServiceProcess, aftermath: Aftermath) -> None:
    metrics = await scrape(service)
    assert metrics.value("pixelfactory_shards_quarantined_total") >= len(POISON_IMAGES)
    errors = metrics.value("pixelfactory_job_errors_total", model="flux-1-schnell", code="quarantined")
    assert errors >= len(POISON_IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/images/generations", "/api/v1/images/generations"])
async def test_a_waiting_caller_is_told_not_to_retry(service: ServiceProcess, path: str) -> None:
    await wait_for_instances(service, all_ready)
    body = {**BODY, "prompt": f"a dog at {path} [fault:crash]"}
    async with service.client(new_key(service)) as http, http.post(path, json=body) as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (500, "quarantined")
        assert "not run again" in error["message"]
        assert response.headers["X-Should-Retry"] == "false"


@pytest.mark.slow
async def test_dialects_that_poll_report_the_failure(service: ServiceProcess) -> None:
    await wait_for_instances(service, all_ready)
    poison = {"prompt": "a dog [fault:crash]", "width": 512, "height": 512}
    async with service.client(new_key(service)) as http:
        async with http.post("/v1/image/generate", json={"model": "sdxl", **poison}) as response:
            pixelapi = (await response.json())["generation_id"]
        ended = await wait_for_status(http, f"/v1/image/{pixelapi}", "failed")
        assert "not run again" in ended["error"]
        async with http.post("/flux-dev/v1/dev/textToImage", json=poison) as response:
            pixazo = (await response.json())["request_id"]
        ended = await wait_for_status(http, f"/v2/requests/status/{pixazo}", "FAILED", "ERROR")
        assert ended["status"] == "FAILED", "the request is the cause, not the service"
        assert "not run again" in ended["error"]


@pytest.mark.slow
async def test_a_neighbour_on_the_same_instance_is_not_quarantined(service: ServiceProcess) -> None:
    """Its four images are anywhere when instances end: running, waiting behind, or being fetched."""
    await wait_for_instances(service, all_ready)
    async with service.client(new_key(service)) as good, service.client(new_key(service)) as bad:
        for number in range(3):
            neighbour = await submit_job(good, {**BODY, "prompt": f"a neighbour {number}", "n": 4})
            poison = await submit_job(bad, {**BODY, "prompt": f"a dog {number} [fault:crash]"})
            assert (await wait_for_job(bad, poison))["error"]["code"] == "quarantined"
            assert (await wait_for_job(good, neighbour))["status"] == "completed"


@pytest.mark.slow
async def test_a_request_outlives_restarts_of_its_instances_on_request(service: ServiceProcess) -> None:
    await wait_for_instances(service, all_ready)
    async with service.client(service.admin_token) as admin, service.client(new_key(service)) as http:
        job_id = await submit_job(http, {**BODY, "prompt": "a slow cat [fault:hold_step]"})
        rows = await wait_for_instances(service, lambda rows: any(map(_is_running, rows.values())))

        async def restart_busy() -> Instances:
            # An instance that starts again is left alone until it runs the prompt, or it never gets so far.
            for name, row in (await list_instances(service)).items():
                if await _runs_a_prompt(row):
                    async with admin.post(f"/admin/v1/instances/{name}/restart") as response:
                        assert response.status == 200
            return await wait_for_instances(service, lambda rows: any(map(_is_running, rows.values())))

        for _ in range(3):
            attempt = max(shard["attempt"] for row in rows.values() for shard in row["shards"])
            # An attempt that waits for an instance which starts again is not lost: it begins afterwards.
            later = partial(_is_later_attempt, attempt=attempt)
            rows = await poll(restart_busy, later, interval=2.0)
        assert (await get(http, f"/api/v1/jobs/{job_id}"))["status"] == "processing"
        async with http.delete(f"/api/v1/jobs/{job_id}") as response:
            assert response.status in (200, 204)


@pytest.mark.slow
async def test_a_request_that_succeeds_elsewhere_leaves_the_death_to_its_instance(
    service: ServiceProcess,
) -> None:
    await wait_for_instances(service, all_ready)
    async with service.client(service.admin_token) as admin, service.client(new_key(service)) as http:
        number = itertools.count()

        async def run_job() -> list[str]:
            """The instances of a job's attempts; work goes where the model is loaded."""
            job_id = await submit_job(http, {**BODY, "prompt": f"a cat for all {next(number)}"})
            assert (await wait_for_job(http, job_id))["status"] == "completed"
            (part,) = (await get(admin, f"/admin/v1/jobs/{job_id}"))["parts"]
            return [attempt["instance"] for attempt in part["attempts"]]

        async def crash_next() -> tuple[str, int]:
            """Run a job, and let the next prompt on its instance end it; the instance and its failures."""
            name = (await run_job())[-1]
            row = (await wait_for_instances(service, all_ready))[name]
            async with aiohttp.ClientSession() as plain:
                fault = {"kind": "crash", "count": 1}
                async with plain.post(f"{row['url']}/simulator/faults", json=fault) as response:
                    assert response.status == 200
            return name, int(row["failures"])

        name, failures = await crash_next()
        # Until the scheduler gives one of them to that instance; it succeeds elsewhere.
        await poll(run_job, lambda instances: name in instances[:-1])
        rows = await wait_for_instances(service, all_ready)
        assert rows[name]["failures"] == failures + 1


def _is_running(row: dict[str, Any]) -> bool:
    return any(shard["state"] == "running" for shard in row["shards"])


async def _runs_a_prompt(row: dict[str, Any]) -> bool:
    """Ask the instance itself: a shard is `running` from when its prompt is sent."""
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{row['url']}/queue") as response:
            return bool((await response.json()).get("queue_running"))
    except aiohttp.ClientError:
        return False


def _is_later_attempt(rows: Instances, attempt: int) -> bool:
    return any(shard["attempt"] > attempt for row in rows.values() for shard in row["shards"])


async def get(http: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    async with http.get(path) as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())
