"""kill -9 of anything, at any moment: no job is lost, each is charged once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from tests.support.api import all_ready, submit_job, wait_for_instances
from tests.support.polling import poll
from tests.support.processes import child_processes, find_processes
from tests.support.service import ServiceProcess, running

PATH = "/api/v1/images/generations"
JOBS = 20


@pytest.fixture
def service(tmp_path: Path) -> Any:
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.3"}
    with running(ServiceProcess(tmp_path / "data", ("--simulate", "2"), environment)) as started:
        yield started


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service whose instances the tests tell to fail."""
    data = tmp_path_factory.mktemp("faulty")
    with running(ServiceProcess(data, ("--simulate", "2"), embedded_s3=True)) as started:
        yield started


@pytest.mark.slow
async def test_a_killed_instance_and_a_killed_orchestrator_lose_none_of_20_jobs(
    service: ServiceProcess,
) -> None:
    key = service.key("1.00")
    async with service.client(key) as http:
        jobs = [await _submit(http, number) for number in range(JOBS)]
        await _until_done(http, jobs, 3)
        _kill_one_instance(service)
        await _until_done(http, jobs, 8)

    assert service.process is not None
    children = psutil.Process(service.process.pid).children(recursive=True)
    service.kill()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "the children of a killed service must not outlive it"
    # The instance that was killed may not have been started again yet.
    assert gone
    assert service.audit() == []

    service.start()
    async with service.client(key) as http:
        assert [await _submit(http, number) for number in range(JOBS)] == jobs
        await _until_done(http, jobs, JOBS)
        for job in jobs:
            async with http.get(f"/api/v1/jobs/{job}") as response:
                view = await response.json()
            assert (view["status"], view["costCents"]) == ("completed", 1.0)
            async with aiohttp.request("GET", view["output"]["images"][0]) as picture:
                assert picture.status == 200
        async with http.get("/api/v1/billing/balance") as response:
            wallet = await response.json()
        assert (wallet["balance_usd"], wallet["held_usd"]) == (0.8, 0.0)
        async with http.get("/api/v1/billing/ledger", params={"limit": "100"}) as response:
            kinds = [entry["kind"] for entry in (await response.json())["entries"]]
        assert (kinds.count("hold"), kinds.count("capture"), kinds.count("release")) == (JOBS, JOBS, 0)


async def _submit(http: aiohttp.ClientSession, number: int) -> str:
    body = {"model": "flux-1-schnell", "prompt": f"cat {number}", "size": "512x512", "seed": number}
    headers = {"Idempotency-Key": f"job-{number}"}
    return await submit_job(http, body, headers)


async def _until_done(http: aiohttp.ClientSession, jobs: list[str], count: int) -> None:
    async def completed() -> set[str]:
        async with http.get("/api/v1/jobs", params={"status": "completed", "limit": "100"}) as response:
            return {job["jobId"] for job in (await response.json())["jobs"]}

    await poll(completed, lambda done: len(done & set(jobs)) >= count, seconds=90)


def _kill_one_instance(service: ServiceProcess) -> None:
    assert service.process is not None
    children = child_processes(service.process.pid)
    simulators = list(find_processes("comfy_instances.simulator", children))
    assert len(simulators) == 2
    simulators[0].kill()


@pytest.mark.slow
async def test_sigterm_ends_with_0_and_leaves_nothing_running(service: ServiceProcess) -> None:
    assert service.process is not None
    async with service.client(service.key()) as http:
        await _submit(http, 0)
    children = psutil.Process(service.process.pid).children(recursive=True)
    assert service.stop() == 0
    assert not psutil.wait_procs(children, timeout=5)[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["crash", "drop_socket", "node_error", "no_output", "out_of_memory"])
async def test_a_failing_instance_costs_time_and_no_money(faulty: ServiceProcess, kind: str) -> None:
    # A request that ends two instances is not run again.
    await _tell_all_to_fail(faulty, kind, 1, instances=1 if kind == "crash" else 2)
    async with faulty.client(faulty.key("1.00")) as http:
        body = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256"}
        async with http.post(PATH, json=body) as response:
            assert response.status == 200, await response.text()
        async with http.get("/api/v1/billing/balance") as response:
            assert (await response.json())["balance_usd"] == 0.99
    # The instance that has not been asked would fail later prompts.
    await _tell_all_to_fail(faulty, kind, 0)


@pytest.mark.slow
async def test_an_impossible_job_fails_and_is_not_charged(faulty: ServiceProcess) -> None:
    await _tell_all_to_fail(faulty, "node_error", 10)
    async with faulty.client(faulty.key("1.00")) as http:
        async with http.post(PATH, json={"model": "flux-1-schnell", "prompt": "a cat"}) as response:
            error = (await response.json())["error"]
            assert (response.status, error["type"]) == (500, "generation_failed")
            # Instances that ran other prompts before fail at the first node that is not cached.
            assert error["code"] in ("node_failed", "node_failed_repeatedly")
        async with http.get("/api/v1/billing/balance") as response:
            assert (await response.json())["available_usd"] == 1.0


async def _tell_all_to_fail(service: ServiceProcess, kind: str, count: int, instances: int = 2) -> None:
    """Waits until both instances are there, then has so many of them fail their next `count` prompts."""
    ready = await wait_for_instances(service, all_ready)
    async with aiohttp.ClientSession() as http:
        for instance in list(ready.values())[:instances]:
            faults = {"kind": kind, "count": count}
            async with http.post(f"{instance['url']}/simulator/faults", json=faults) as response:
                assert response.status == 200, await response.text()
