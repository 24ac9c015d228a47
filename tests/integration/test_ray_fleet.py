"""The service on a real Ray cluster of a head and two nodes, with simulated instances: nothing is lost."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import aiohttp
import psutil
import pytest

from comfy_instances.fleet.ray.connection import RayConnection, RayUnavailable
from comfy_instances.fleet.ray.values import ClusterState
from comfy_instances.process.child import find_free_port
from tests.support.api import Instances, list_instances, submit_job, wait_for_instances, wait_for_job
from tests.support.callers import new_key
from tests.support.polling import poll, wait_until_sync
from tests.support.ray_cluster import HAS_RAY, HAS_RAY_CLIENT, NO_RAY, RayClusterProcess, ray_cluster
from tests.support.service import ServiceProcess, running

pytestmark = [pytest.mark.skipif(not HAS_RAY, reason=NO_RAY), pytest.mark.timeout(600)]

BODY = {"model": "flux-1-dev", "prompt": "a lighthouse", "width": 1024, "height": 1024, "steps": 50}
#: A machine under load takes long to start Ray's processes.
SECONDS = 180.0
#: So that prompts take some seconds, in which something can happen to them.
TIME_SCALE = "0.4"


@pytest.fixture(scope="module")
def redis() -> Iterator[str | None]:
    """The store from which a head continues; None without Debian's redis-server."""
    if shutil.which("redis-server") is None:
        yield None
        return
    port = find_free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield f"127.0.0.1:{port}"
        process.terminate()


@pytest.fixture(scope="module")
def cluster(redis: str | None) -> Iterator[RayClusterProcess]:
    with ray_cluster(redis=redis) as started:
        yield started


@pytest.fixture(scope="module")
def service(cluster: RayClusterProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("ray")
    environment = {
        "PIXELFACTORY_RAY_NODE_DIR": str(directory / "nodes"),
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": TIME_SCALE,
    }
    options = ("--simulate", "1", "--ray", cluster.address)
    with running(ServiceProcess(directory / "data", options, environment)) as started:
        yield started


def count_ready(instances: Instances) -> int:
    return sum(row["state"] == "ready" for row in instances.values())


async def wait_for_two(service: ServiceProcess) -> Instances:
    return await wait_for_instances(service, lambda found: count_ready(found) == 2, SECONDS)


async def submit(http: aiohttp.ClientSession, count: int) -> list[str]:
    return [await submit_job(http, {**BODY, "seed": seed}) for seed in range(count)]


async def wait_until_both_run(service: ServiceProcess) -> Instances:
    """Wait until a prompt has been running on each instance for a moment."""

    def both(found: Instances) -> bool:
        return len(found) == 2 and all(
            row["shards"] and row["shards"][0]["age_seconds"] > 0.5 for row in found.values()
        )

    return await wait_for_instances(service, both, SECONDS)


async def all_complete(http: aiohttp.ClientSession, jobs: list[str]) -> None:
    for job_id in jobs:
        job = await wait_for_job(http, job_id, seconds=SECONDS)
        assert job["status"] == "completed", job


def count_attempts(service: ServiceProcess, jobs: list[str]) -> int:
    """Prompts that were sent for these jobs."""
    marks = ", ".join("?" for _ in jobs)
    query = (
        "SELECT count(*) FROM attempts JOIN shards ON shards.id = attempts.shard_id"
        f" WHERE shards.job_id IN ({marks})"
    )
    with closing(sqlite3.connect(service.data_dir / "pixelfactory.db", timeout=30)) as db:
        (count,) = db.execute(query, jobs).fetchone()
    return int(count)


def find_agents() -> dict[str, psutil.Process]:
    """The processes of the actors, by the address of their node's instance: each has one child."""
    agents = {}
    for process in psutil.process_iter():
        try:
            if "InstanceActor" in " ".join(process.cmdline()):
                agents[str(process.pid)] = process
        except psutil.Error:
            continue
    return agents


async def test_jobs_run_on_both_nodes(service: ServiceProcess) -> None:
    found = await wait_for_two(service)
    hosts = {row["url"].split("//")[1].split(":")[0] for row in found.values()}
    assert len(hosts) == 2
    assert all(host.startswith("127.77.0.") for host in hosts)
    assert not any(row["adopted"] for row in found.values())
    async with service.client(new_key(service)) as http:
        jobs = await submit(http, 4)
        await wait_until_both_run(service)
        await all_complete(http, jobs)
    for row in found.values():
        async with aiohttp.ClientSession() as http, http.get(f"{row['url']}/queue") as response:
            assert response.status == 401


async def test_an_agent_that_is_killed_loses_no_job(service: ServiceProcess) -> None:
    """Its instance ends with it; Ray starts both again, on the same node."""
    before = await wait_for_two(service)
    async with service.client(new_key(service)) as http:
        jobs = await submit(http, 4)
        await wait_until_both_run(service)
        pid, agent = next(iter(find_agents().items()))
        instances = agent.children(recursive=True)
        assert instances
        agent.kill()
        await wait_for_instances(service, lambda found: count_ready(found) < 2, SECONDS)
        await all_complete(http, jobs)
    after = await wait_for_two(service)
    assert after.keys() == before.keys()
    assert pid not in find_agents()
    wait_until_sync(lambda: not any(one.is_running() for one in instances))


async def test_a_service_that_is_killed_finds_its_instances_and_their_prompts(
    service: ServiceProcess,
) -> None:
    """The prompts that run are picked up, not repeated."""
    before = await wait_for_two(service)
    agents = find_agents().keys()
    async with service.client(new_key(service)) as http:
        jobs = await submit(http, 2)
        await wait_until_both_run(service)
        service.kill()
        service.start()
        await all_complete(http, jobs)
    assert count_attempts(service, jobs) == 2
    after = await wait_for_two(service)
    assert {row["url"] for row in after.values()} == {row["url"] for row in before.values()}
    assert find_agents().keys() == agents
    for row in after.values():
        assert row["restarts"] == 0


async def test_a_node_that_is_lost_under_load_loses_no_job(
    service: ServiceProcess, cluster: RayClusterProcess
) -> None:
    """Its prompts run elsewhere; its actor starts on a node that comes later."""
    before = await wait_for_two(service)
    async with service.client(new_key(service)) as http:
        jobs = await submit(http, 4)
        await wait_until_both_run(service)
        lost = before[min(before)]["url"].split("//")[1].split(":")[0]
        await asyncio.to_thread(cluster.remove_node, lost)
        await all_complete(http, jobs)
    added = await asyncio.to_thread(cluster.add_node)
    after = await wait_for_two(service)
    assert any(f"//{added}:" in row["url"] for row in after.values())
    assert not any(f"//{lost}:" in row["url"] for row in after.values())


async def test_a_drained_instance_gets_no_job(service: ServiceProcess) -> None:
    found = await wait_for_two(service)
    first, second = sorted(found)
    async with service.client(service.admin_token) as admin:
        async with admin.post(f"/admin/v1/instances/{first}/drain") as response:
            assert (await response.json())["state"] == "drained"
        async with service.client(new_key(service)) as http:
            jobs = await submit(http, 2)
            await wait_for_instances(service, lambda now: bool(now[second]["shards"]), SECONDS)
            assert not (await list_instances(service))[first]["shards"]
            await all_complete(http, jobs)
        async with admin.get(f"/admin/v1/instances/{second}/log") as response:
            assert "simulated instance" in await response.text()
        async with admin.post(f"/admin/v1/instances/{first}/resume") as response:
            assert (await response.json())["state"] == "ready"


async def test_works_on_while_the_head_is_down(
    service: ServiceProcess, cluster: RayClusterProcess, redis: str | None
) -> None:
    """Ray is not on the way of requests; the fleet reconnects to the head that is started again."""
    if redis is None:
        pytest.skip("needs Debian's redis-server, from which a head continues")
    await wait_for_two(service)
    await asyncio.to_thread(cluster.stop_head)
    async with service.client(new_key(service)) as http:
        jobs = await submit(http, 4)
        await all_complete(http, jobs)
        assert count_attempts(service, jobs) == 4
        assert count_ready(await list_instances(service)) == 2
        await asyncio.to_thread(cluster.start_head)
        await all_complete(http, await submit(http, 2))
    await wait_for_two(service)
    # What only the fleet's connection to Ray brings about: the actor is found at its new address.
    next(agent for agent in find_agents().values()).kill()
    await wait_for_instances(service, lambda found: count_ready(found) < 2, SECONDS)
    await wait_for_two(service)


async def test_a_node_that_claims_another_card_is_quarantined(
    service: ServiceProcess, cluster: RayClusterProcess
) -> None:
    """It gets no work, and operators read why."""
    await wait_for_two(service)
    address = await asyncio.to_thread(cluster.add_node, "H100")
    found = await wait_for_instances(
        service, lambda now: any(row["state"] == "failed" for row in now.values()), SECONDS
    )
    (liar,) = [row for row in found.values() if row["state"] == "failed"]
    assert f"//{address}:" in liar["url"]
    assert "accelerator_type:H100" in liar["detail"]
    assert "simulated" in liar["detail"]
    async with service.client(new_key(service)) as http:
        jobs = await submit(http, 3)
        await all_complete(http, jobs)
        assert not (await list_instances(service))[liar["id"]]["shards"]
    await asyncio.to_thread(cluster.remove_node, address)


@pytest.mark.skipif(not HAS_RAY_CLIENT, reason="needs Ray's client: pip install -e '.[ray]'")
async def test_a_service_outside_of_the_cluster_uses_it_through_the_client_server(
    cluster: RayClusterProcess,
) -> None:
    """All that the fleet asks of Ray works that way, too."""
    connections = [RayConnection(cluster.client_address, "other"), RayConnection(cluster.address, "other")]
    try:
        seen = []
        for connection in connections:
            state = await poll(partial(get_state, connection), seconds=SECONDS)
            assert state is not None
            seen.append({node.address: (node.gpus, node.card) for node in state.nodes})
            assert state.actors == ()  # another namespace
            await connection.request_bundles([{"GPU": 1.0, "accelerator_type:SIMULATED": 0.001}])
            await connection.request_bundles([])
            await connection.kill_actor("ray-0")
        assert seen[0] == seen[1]
        assert (1, "SIMULATED") in seen[0].values()
    finally:
        for connection in connections:
            await connection.close()


async def get_state(connection: RayConnection) -> ClusterState | None:
    """The state; None while a machine under load does not connect in time."""
    try:
        return await connection.get_state(())
    except RayUnavailable:
        return None


def test_agents_are_listed_and_ended_by_commands(service: ServiceProcess, cluster: RayClusterProcess) -> None:
    """Also while no service runs: they are detached."""
    service.stop()
    listed = service.run("ray", "list", "--ray", cluster.address)
    assert len(listed) >= 2
    assert {"SIMULATED"} <= {row["card"] for row in listed}
    assert "token" not in listed[0]
    assert find_agents()
    ended = service.command("ray", "down", "--ray", cluster.address)
    assert f"ended {len(listed)} agent(s)" in ended.stderr
    wait_until_sync(lambda: not find_agents())
    assert service.run("ray", "list", "--ray", cluster.address) == []


def test_up_imports_no_ray(tmp_path: Path) -> None:
    """Neither without a cluster nor with one: Ray runs in a process of its own."""
    program = (
        "import sys, orchestrator.cli.commands.up, orchestrator.app.build, orchestrator.app.ray_fleet;"
        " sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0
