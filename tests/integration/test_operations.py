"""What an operator does to running instances, by the command line and the admin API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.api import submit_job, wait_for_instances, wait_for_job
from tests.support.metrics import scrape, status
from tests.support.service import ServiceProcess, pixelfactory, running

PATH = "/api/v1/images/generations"
SLOW = {"model": "flux-1-dev", "prompt": "a cat", "size": "1024x1024", "steps": 30}
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.1"}
    data = tmp_path_factory.mktemp("operations")
    with running(ServiceProcess(data, ("--simulate", "2"), environment)) as started:
        yield started


def instances(service: ServiceProcess, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return pixelfactory("instances", *words, "--url", service.url, data_dir=service.data_dir, check=check)


async def rows(service: ServiceProcess) -> dict[str, dict[str, Any]]:
    async with service.client(service.admin_token) as http, http.get("/admin/v1/instances") as response:
        return {row["id"]: row for row in (await response.json())["instances"]}


async def until(
    service: ServiceProcess, condition: Callable[[dict[str, dict[str, Any]]], bool]
) -> dict[str, Any]:
    return await wait_for_instances(service, condition)


async def all_ready(service: ServiceProcess) -> None:
    await until(service, lambda found: all(row["state"] == "ready" for row in found.values()))


async def submit(http: aiohttp.ClientSession, **more: Any) -> str:
    return await submit_job(http, {**SLOW, **more})


async def test_instance_has_state_shards_and_readings(service: ServiceProcess) -> None:
    await all_ready(service)
    async with service.client(service.key("1.00")) as http:
        job = await submit(http, n=4)
        found = await until(service, lambda found: all(len(row["shards"]) == 2 for row in found.values()))
        for row in found.values():
            running_, waiting = row["shards"]
            assert (running_["state"], waiting["state"]) == ("running", "waiting")
            for shard in row["shards"]:
                assert (shard["job"], shard["model"], shard["attempt"]) == (job, "flux-1-dev", 1)
                assert 0 <= shard["age_seconds"] < WAIT_SECONDS
            assert row["models_held"] == ["flux-1-dev"]
            assert (row["failures"], row["restarts"]) == (0, 0)
            assert row["started_at"] > "2020"
            # A simulated instance has memory, but no card to ask for the rest.
            assert 0 < row["vram_used"] < row["vram_total"]
            assert (row["utilisation"], row["temperature"], row["power"]) == (None, None, None)
        table = instances(service, "list")
        assert table.stdout.count("sim-") == 2
        assert (await wait_for_job(http, job))["status"] == "completed"
    found = await rows(service)
    assert all(0 < row["busy"] <= 1 for row in found.values())
    listed = json.loads(instances(service, "list", "--json").stdout)
    assert [row["id"] for row in listed] == ["sim-0", "sim-1"]
    assert set(listed[0]) == set(found["sim-0"])


async def test_drained_instance_finishes_its_shards_and_gets_no_more(service: ServiceProcess) -> None:
    await all_ready(service)
    async with service.client(service.key("1.00")) as http:
        first = await submit(http, n=4)
        await until(service, lambda found: len(found["sim-0"]["shards"]) == 2)
        assert instances(service, "drain", "sim-0").stdout == "sim-0: draining\n"
        second = await submit(http, n=2)
        found = await until(service, lambda found: not found["sim-0"]["shards"])
        assert found["sim-0"]["state"] == "drained"
        for job in (first, second):
            assert (await wait_for_job(http, job))["status"] == "completed"
        assert (await rows(service))["sim-0"]["failures"] == 0
        assert json.loads(instances(service, "resume", "sim-0", "--json").stdout)["state"] == "ready"
        third = await submit(http, n=2)
        await until(service, lambda found: len(found["sim-0"]["shards"]) > 0)
        assert (await wait_for_job(http, third))["status"] == "completed"


@pytest.mark.slow
async def test_restart_loses_no_job(service: ServiceProcess) -> None:
    await all_ready(service)
    async with service.client(service.key("1.00")) as http:
        job = await submit(http, n=4)
        await until(service, lambda found: len(found["sim-1"]["shards"]) == 2)
        before = (await rows(service))["sim-1"]
        instances(service, "restart", "sim-1")
        found = await until(service, lambda found: found["sim-1"]["restarts"] == before["restarts"] + 1)
        assert found["sim-1"]["url"] != before["url"]
        view = await wait_for_job(http, job)
        assert (view["status"], len(view["output"]["images"])) == ("completed", 4)
        async with http.get("/api/v1/billing/ledger") as response:
            kinds = [entry["kind"] for entry in (await response.json())["entries"]]
        assert kinds == ["capture", "hold", "credit"]
    await all_ready(service)
    assert (await rows(service))["sim-1"]["failures"] == 0, "a restart by an operator is none"


async def test_returns_the_end_of_an_instance_log(service: ServiceProcess) -> None:
    await all_ready(service)
    url = (await rows(service))["sim-0"]["url"]
    assert f"simulated instance on {url}" in instances(service, "log", "sim-0").stdout
    async with service.client(service.admin_token) as http:
        async with http.get("/admin/v1/instances/sim-0/log", params={"limit": "1"}) as response:
            assert len((await response.text()).splitlines()) == 1
        async with http.get("/admin/v1/instances/sim-0/log", params={"limit": "many"}) as response:
            assert (response.status, (await response.json())["error"]["param"]) == (400, "limit")


def test_cli_errors_are_one_line(service: ServiceProcess) -> None:
    done = instances(service, "drain", "gpu-9", check=False)
    assert (done.returncode, done.stderr) == (1, "error: Instance 'gpu-9' does not exist\n")
    where = ("instances", "list", "--url", "http://127.0.0.1:1")
    unreachable = pixelfactory(*where, check=False, PIXELFACTORY_ADMIN_TOKEN=service.admin_token)
    assert unreachable.returncode == 1
    reason = "error: the service is unreachable at http://127.0.0.1:1: Connection refused; is it running?"
    assert unreachable.stderr.startswith(reason)
    assert unreachable.stderr.count("\n") == 1


async def test_cli_detects_a_server_that_is_not_the_service(service: ServiceProcess) -> None:
    url = (await rows(service))["sim-0"]["url"]
    done = pixelfactory("instances", "list", "--url", url, data_dir=service.data_dir, check=False)
    assert (done.returncode, done.stderr) == (1, "error: the service responded with status 404\n")


async def test_rejects_api_keys_in_the_admin_api(service: ServiceProcess) -> None:
    for secret in (None, service.key()):
        async with service.client(secret) as http:
            for method, path in (
                ("GET", "instances"),
                ("GET", "instances/sim-0"),
                ("GET", "instances/sim-0/log"),
                ("POST", "instances/sim-0/drain"),
                ("GET", "queue"),
            ):
                async with http.request(method, f"/admin/v1/{path}") as response:
                    assert response.status == 401
                    assert (await response.json())["error"]["code"] == "invalid_admin_token"


@pytest.fixture(scope="module")
def adopter(service: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A second service, careful with its metrics, on an instance of the first."""
    url = service.run("instances", "list", "--url", service.url)[0]["url"]
    environment = {"PIXELFACTORY_PUBLIC_METRICS": "false"}
    data = tmp_path_factory.mktemp("adopter")
    with running(ServiceProcess(data, ("--instances", url), environment)) as started:
        yield started


@pytest.mark.slow
async def test_adopted_instance_cannot_be_restarted(adopter: ServiceProcess) -> None:
    await all_ready(adopter)
    done = instances(adopter, "restart", "adopted-0", check=False)
    assert done.returncode == 1
    assert "adopted-0 is adopted and cannot be restarted here; restart it where it was started" in done.stderr
    assert (await rows(adopter))["adopted-0"]["state"] == "ready"


async def test_metrics_need_the_admin_token_unless_public(adopter: ServiceProcess) -> None:
    assert await status(adopter, None) == 401
    assert await status(adopter, "wrong") == 401
    found = await scrape(adopter, adopter.admin_token)
    assert found.value("pixelfactory_instance_info", instance_id="adopted-0") == 1
