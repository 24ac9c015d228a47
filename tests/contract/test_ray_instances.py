"""A Ray fleet while its cluster changes: real agents and simulators, on nodes that tests add and remove."""

from __future__ import annotations

import asyncio
import signal
import stat
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import FleetError, InstanceInfo, InstanceState, wait_until_ready
from comfy_instances.fleet.ray.connection import RayConnection, RayUnavailable
from comfy_instances.fleet.ray.demand import CapacityLimits, WaitingWork
from comfy_instances.fleet.ray.fleet import RayFleet
from comfy_instances.fleet.ray.options import RayFleetOptions, WantedWeights
from comfy_instances.fleet.ray.orphans import kill_orphans
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.session.session import InstanceSession
from comfy_instances.tasks import spawn
from orchestrator.app.ray_fleet import WEIGHT_PULLER, NewNodes, serve_ray_fleet
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.execution.instances.capacity import Capacity, capacity_of
from orchestrator.execution.scheduler import InstanceUp, JobAdded, JobCancelled, Scheduler, ShardSpec
from orchestrator.storage.object_store import ObjectStore, S3Config
from tests.support.agent_cluster import AgentCluster, agent_options, running_cluster
from tests.support.polling import poll, wait_until
from tests.support.processes import find_processes
from tests.support.ray_cluster import HAS_RAY
from tests.support.service import ROOT
from tests.support.weight_files import SMALL, weight
from tests.support.weight_host import hosting


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


#: Takes a second or two of simulated time.
SLOW_GRAPH = {
    "model": node("CheckpointLoaderSimple", ckpt_name="sd-1.5.safetensors"),
    "text": node("CLIPTextEncode", clip=["model", 1], text="a lighthouse"),
    "empty": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "sampled": node(
        "KSampler",
        model=["model", 0],
        positive=["text", 0],
        negative=["text", 0],
        latent_image=["empty", 0],
        seed=1,
        steps=20,
        cfg=7.0,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    ),
    "image": node("VAEDecode", samples=["sampled", 0], vae=["model", 2]),
    "saved": node("SaveImage", images=["image", 0], filename_prefix="x"),
}


GRAPH = {
    "empty": node("EmptyImage", width=64, height=64, batch_size=1, color=255),
    "saved": node("SaveImage", images=["empty", 0], filename_prefix="x"),
}


async def wait_until_it_runs(session: InstanceSession) -> None:
    """Wait until the instance runs a prompt, and says so."""

    async def runs() -> bool:
        return bool((await session.get_queue()).running)

    await poll(runs)
    await asyncio.sleep(0.3)


def fleet_of(
    cluster: AgentCluster,
    directory: Path,
    weights: WantedWeights | None = None,
    agent: Mapping[str, object] | None = None,
    **changes: Any,
) -> RayFleet:
    options = RayFleetOptions(
        agent=agent_options(directory / "nodes", **(agent or {})),
        state_file=directory / "service" / "agents.json",
        control_seconds=0.1,
        discovery_seconds=20,
        settle_seconds=0.3,
        probe_seconds=0.2,
        poll_seconds=0.05,
        file_refresh_seconds=0.2,
    )
    return RayFleet(cluster, replace(options, **changes), weights)


@asynccontextmanager
async def started(fleet: RayFleet, count: int | None = 1) -> AsyncIterator[list[InstanceInfo]]:
    """The fleet, with `count` instances ready; yields the growing list of what it tells."""
    told: list[InstanceInfo] = []
    fleet.subscribe(told.append)
    await fleet.start()
    try:
        if count is not None:
            await wait_until(lambda: len(fleet.instances()) >= count)
            await wait_until_ready(fleet, count)
        yield told
    finally:
        await fleet.stop()


def states(fleet: RayFleet) -> dict[str, InstanceState]:
    return {info.id: info.state for info in fleet.instances()}


@pytest.mark.slow
async def test_keeps_the_tokens_of_agents_private(tmp_path: Path) -> None:
    async with running_cluster("a") as cluster, started(fleet_of(cluster, tmp_path)):
        file = tmp_path / "service" / "agents.json"
        report = cluster.agents["ray-0"].report
        assert report is not None
        assert report.token in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.slow
async def test_a_removed_instance_is_unreachable_and_not_unknown(tmp_path: Path) -> None:
    async with running_cluster("a", "b") as cluster:
        fleet = fleet_of(cluster, tmp_path, pending_seconds=0.5)
        async with started(fleet, 2) as told:
            name = next(agent.options.name for agent in cluster.agents.values() if agent.node_id == "b")
            session = fleet.session(name)
            await cluster.remove_node("b")
            await wait_until(lambda: name not in states(fleet))
            assert told[-1].id == name
            assert told[-1].state is InstanceState.FAILED
            assert fleet.node_facts(name) is None
            with pytest.raises(InstanceGone):
                fleet.session(name)
            with pytest.raises(FleetError, match="has not been found"):
                await fleet.restart(name)
            with pytest.raises(FleetError, match="does not return its log"):
                await fleet.log_tail(name)
            fleet.record_failure(name)
            assert not session.is_connected
            cluster.add_node("c", "SIMULATED")
            await wait_until(lambda: states(fleet).get(name) is InstanceState.READY)


@pytest.mark.slow
async def test_prompts_go_on_while_ray_is_unreachable_and_the_service_restarts(tmp_path: Path) -> None:
    """The next process finds its instances by its own file, and their prompts by their ids."""
    async with running_cluster("a") as cluster:
        agent = {"time_scale": 4.0}
        first, prompt_id = fleet_of(cluster, tmp_path, agent=agent), str(uuid.uuid4())
        async with started(first):
            cluster.is_reachable = False
            session = first.session("ray-0")
            run = spawn(session.run_prompt(prompt_id, SLOW_GRAPH), "prompt", awaited=True)
            await wait_until_it_runs(session)
        with pytest.raises(InstanceGone):
            await run
        second = fleet_of(cluster, tmp_path, agent=agent, discovery_seconds=0.2)
        assert set(states(second)) == {"ray-0"}
        async with started(second):
            result = await second.session("ray-0").resume_prompt(prompt_id)
            assert result is not None
            assert result.outputs
            cluster.is_reachable = True
            cluster.add_node("b", "SIMULATED")
            await wait_until_ready(second, 2)


@pytest.mark.slow
async def test_an_instance_that_is_cut_off_returns_with_its_prompt(tmp_path: Path) -> None:
    """Connections stay open and nothing answers, as in a partition of the network."""
    async with running_cluster("a") as cluster:
        fleet, prompt_id = fleet_of(cluster, tmp_path), str(uuid.uuid4())
        async with started(fleet):
            result = await fleet.session("ray-0").run_prompt(prompt_id, GRAPH)
            process = cluster.agents["ray-0"].process
            assert process is not None
            process.send_signal(signal.SIGSTOP)
            try:
                await wait_until(lambda: states(fleet) == {"ray-0": InstanceState.DOWN})
            finally:
                process.send_signal(signal.SIGCONT)
            await wait_until_ready(fleet)
            found = await fleet.session("ray-0").resume_prompt(prompt_id)
            assert found is not None
            assert found.outputs == result.outputs


@pytest.mark.slow
async def test_a_damaged_file_of_agents_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "agents.json").write_text('[{"name": "ray-0"}')
    async with running_cluster("a") as cluster, started(fleet_of(cluster, tmp_path)):
        assert "incarnation" in (tmp_path / "service" / "agents.json").read_text()


@pytest.mark.slow
async def test_an_instance_of_another_version_is_replaced_once_it_is_idle(tmp_path: Path) -> None:
    """Its prompt ends; the others go on working meanwhile."""
    async with running_cluster("a", "b") as cluster:
        old = {"created_by": "0.0.9", "time_scale": 1.0}
        async with started(fleet_of(cluster, tmp_path, agent=old), 2):
            pass
        before = {name: agent.report for name, agent in cluster.agents.items()}
        fleet = fleet_of(cluster, tmp_path, agent={"time_scale": 1.0}, settle_seconds=1.0)
        ready = list[int]()
        fleet.subscribe(lambda info: ready.append(list(states(fleet).values()).count(InstanceState.READY)))
        await fleet.start()
        try:
            await wait_until(lambda: InstanceState.READY in states(fleet).values())
            name = next(name for name, state in states(fleet).items() if state is InstanceState.READY)
            result = await fleet.session(name).run_prompt(str(uuid.uuid4()), SLOW_GRAPH)
            assert result.outputs

            def all_new() -> bool:
                reports = [agent.report for agent in cluster.agents.values()]
                return len(reports) == 2 and all(one and one.created_by != "0.0.9" for one in reports)

            await wait_until(all_new)
            await wait_until_ready(fleet, 2)
            assert all(agent.report != before.get(name) for name, agent in cluster.agents.items())
        finally:
            await fleet.stop()


@pytest.mark.slow
async def test_a_node_with_another_card_than_it_claims_gets_no_work(tmp_path: Path) -> None:
    async with running_cluster("a") as cluster:
        cluster.add_node("liar", "H100")
        fleet = fleet_of(cluster, tmp_path)
        async with started(fleet, 1):
            await wait_until(lambda: InstanceState.FAILED in states(fleet).values())
            [liar] = [info for info in fleet.instances() if info.state is InstanceState.FAILED]
            assert liar.detail is not None
            assert "accelerator_type:H100" in liar.detail
            assert "'simulated'" in liar.detail
            assert fleet.card(liar.id) == "H100"
            with pytest.raises(InstanceGone):
                fleet.session(liar.id)


async def test_agents_answer_nothing_without_their_token(tmp_path: Path) -> None:
    async with running_cluster("a") as cluster, started(fleet_of(cluster, tmp_path)):
        report = cluster.agents["ray-0"].report
        assert report is not None
        assert report.token not in repr(report)
        paths = ("status", "log", "restart", "failure", "delete-files", "weights")
        for token in ("", "wrong", report.token[:-1]):
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
                for path in paths:
                    for method in ("GET", "POST"):
                        address = f"{report.url}/pixelfactory-agent/{path}"
                        async with http.request(method, address) as response:
                            assert response.status == 401


@pytest.mark.slow
async def test_the_end_of_an_instance_under_a_prompt_is_not_its_failure_until_blamed(
    tmp_path: Path,
) -> None:
    """As of a local one: the prompt may be the cause."""
    async with running_cluster("a") as cluster:
        fleet = fleet_of(cluster, tmp_path, agent={"time_scale": 6.0})
        async with started(fleet):
            session = fleet.session("ray-0")
            run = spawn(session.run_prompt(str(uuid.uuid4()), SLOW_GRAPH), "prompt", awaited=True)
            await wait_until_it_runs(session)
            find_instance(tmp_path).kill()
            with pytest.raises(InstanceGone) as error:
                await run
            assert error.value.while_running
            await wait_until(lambda: fleet.instances()[0].restarts == 1)
            await wait_until_ready(fleet)
            assert fleet.instances()[0].failures == 0
            fleet.record_failure("ray-0")
            await wait_until(lambda: fleet.instances()[0].failures == 1)


@pytest.mark.slow
async def test_a_requested_restart_blames_no_prompt(tmp_path: Path) -> None:
    async with running_cluster("a") as cluster:
        fleet = fleet_of(cluster, tmp_path, agent={"time_scale": 6.0})
        async with started(fleet):
            session = fleet.session("ray-0")
            run = spawn(session.run_prompt(str(uuid.uuid4()), SLOW_GRAPH), "prompt", awaited=True)
            await wait_until_it_runs(session)
            await fleet.restart("ray-0")
            with pytest.raises(InstanceGone) as error:
                await run
            assert not error.value.while_running
            await wait_until(lambda: fleet.instances()[0].restarts == 1)
            await wait_until_ready(fleet)


async def test_follows_the_demand_and_tells_the_autoscaler_only_what_changes(tmp_path: Path) -> None:
    async with running_cluster("a", "b") as cluster:
        limits = CapacityLimits(min_instances=1, max_instances=3, target_wait_seconds=60, idle_seconds=0)
        fleet = fleet_of(cluster, tmp_path, limits=limits, autoscale=True)
        async with started(fleet):
            assert len(cluster.agents) == 1
            work = [WaitingWork(model="m", card="SIMULATED", gpu_seconds=1000)]
            fleet.set_demand(work, {})
            await wait_until_ready(fleet, 2)
            for _ in range(5):
                fleet.set_demand(work, {})
                await asyncio.sleep(0.15)
            card = {"GPU": 1.0, "accelerator_type:SIMULATED": 0.001}
            assert cluster.bundles == [[{"GPU": 1.0}], [card] * 3]
            # A new head has forgotten it.
            cluster.is_reachable = False
            await asyncio.sleep(0.3)
            cluster.is_reachable = True
            await wait_until(lambda: cluster.bundles[2:] == [[card] * 3])
            fleet.set_demand([], {})
            await wait_until(lambda: len(states(fleet)) == 1)
            assert len(cluster.agents) == 1
            assert cluster.bundles[3:] == [[{"GPU": 1.0}]]


@pytest.mark.slow
async def test_waiting_shards_of_the_service_become_requests_for_nodes(tmp_path: Path) -> None:
    scheduler = Scheduler(max_attempts=3)
    limits = CapacityLimits(min_instances=1, max_instances=9, target_wait_seconds=60)
    bucket = S3Config(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b", bucket="c")
    async with running_cluster("a") as cluster, ObjectStore(bucket) as store, AsyncExitStack() as stack:
        fleet = fleet_of(cluster, tmp_path, limits=limits, autoscale=True)
        async with started(fleet):
            up = InstanceUp(instance_id="ray-0", models=frozenset({"m"}))
            specs = [
                ShardSpec(shard_id=str(n), job_id=str(n), account_id="a", model="m", run_seconds=30.0)
                for n in range(8)
            ]
            scheduler.handle(up, 0.0)
            scheduler.handle(JobAdded(specs=specs), 0.0)
            serve_ray_fleet(fleet, store, scheduler, stack)
            card = {"GPU": 1.0, "accelerator_type:SIMULATED": 0.001}
            # One instance is busy, and six shards of half a minute wait.
            await wait_until(lambda: cluster.bundles[-1] == [card] * 4)


async def test_a_job_waits_for_the_first_node_of_a_cluster_without_any(tmp_path: Path) -> None:
    """Scale from zero: what fits a card that can be added is accepted, and asks for a node with that card."""
    limits = CapacityLimits(min_instances=0, max_instances=9, target_wait_seconds=60, idle_seconds=0)
    bucket = S3Config(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b", bucket="c")
    catalog = LiveCatalog(ROOT / "workflows", lambda model: None)
    needs = {id: catalog.catalog[id].manifest.resources.vram_bytes for id in ("sdxl-1.0", "flux-2-dev")}
    small = needs["sdxl-1.0"] / 10**9
    assert small * 10**9 < needs["flux-2-dev"]
    scheduler = Scheduler(max_attempts=3)
    async with running_cluster() as cluster, ObjectStore(bucket) as store, AsyncExitStack() as stack:
        fleet = fleet_of(cluster, tmp_path, limits=limits, autoscale=True)
        stack.push_async_callback(fleet.stop)
        await fleet.start()
        serve_ray_fleet(fleet, store, scheduler, stack, NewNodes({"SIMULATED": small}, catalog))
        # The service is ready, and a job of the large model is refused as ever.
        assert scheduler.expects_instance(0.0)
        assert capacity_of(scheduler, "a", "sdxl-1.0") == Capacity(0.0, serves_model=True)
        assert not capacity_of(scheduler, "a", "flux-2-dev").serves_model
        job = ShardSpec(shard_id="1", job_id="1", account_id="a", model="sdxl-1.0", run_seconds=30.0)
        assert scheduler.handle(JobAdded(specs=[job]), 0.0) == []
        card = {"GPU": 1.0, "accelerator_type:SIMULATED": 0.001}
        await wait_until(lambda: cluster.bundles[-1:] == [[card]])
        assert fleet.instances() == []
        cluster.add_node("a", "SIMULATED")
        await wait_until_ready(fleet, 1)
        scheduler.handle(JobCancelled(job_id="1"), 1.0)
        fleet.set_demand([], {})
        # The node is given back once nothing waits.
        await wait_until(lambda: cluster.bundles[-1] == [] and not fleet.instances())


async def test_other_fleets_are_told_nothing(tmp_path: Path) -> None:
    bucket = S3Config(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b", bucket="c")
    async with ObjectStore(bucket) as store, AsyncExitStack() as stack:
        local = LocalFleet.simulated(1, directory=tmp_path)
        serve_ray_fleet(local, store, Scheduler(max_attempts=3), stack)
        async with running_cluster() as cluster:
            fleet = fleet_of(cluster, tmp_path)
            serve_ray_fleet(fleet, store, Scheduler(max_attempts=3), stack)
            assert not fleet.follows_demand
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("gpu demand")]


class Wanted:
    """A list of weights that a test changes."""

    def __init__(self, *files: Mapping[str, Any]) -> None:
        self.files: Sequence[Mapping[str, Any]] = files

    async def list_files(self, profile: str | None) -> Sequence[Mapping[str, Any]]:
        return self.files


async def test_a_node_takes_work_only_once_it_has_the_weights(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    agent = {
        "needs_weights": True,
        "weight_puller": "tests.support.agent_cluster:pull_when_allowed",
        "models_dir": str(models),
    }
    wanted = Wanted({"path": "vae/first.safetensors", "sha256": "1"})
    async with running_cluster("a") as cluster:
        fleet = fleet_of(cluster, tmp_path, wanted, agent)
        async with started(fleet, None):
            await wait_until(lambda: [i.detail for i in fleet.instances()] == ["waits for weights"])
            (models / "go").touch()
            await wait_until_ready(fleet, 1)
            facts = await fleet.session("ray-0").list_model_files()
            assert facts["vae"] == ["first.safetensors"]
            # A list that changes is pulled beside the work.
            wanted.files = [*wanted.files, {"path": "vae/second.safetensors", "sha256": "2"}]
            await wait_until((models / "vae/second.safetensors").exists)
            assert states(fleet) == {"ray-0": InstanceState.READY}


@pytest.mark.slow
async def test_nodes_of_the_service_pull_what_it_lists(tmp_path: Path) -> None:
    """With the puller that the service names to its agents; two agents of a node share the file."""
    agent = {"needs_weights": True, "weight_puller": WEIGHT_PULLER, "models_dir": str(tmp_path / "models")}
    async with hosting(SMALL) as host, running_cluster() as cluster:
        cluster.add_node("a", "SIMULATED", gpus=2)
        row = weight(SMALL, url=host.server.url + "/f").model_dump(mode="json")
        fleet = fleet_of(cluster, tmp_path, Wanted({**row, "digest": row["sha256"]}), agent)
        async with started(fleet, 2):
            for name in states(fleet):
                files = await fleet.session(name).list_model_files()
                assert files["diffusion_models"] == ["small.safetensors"]
        assert len(host.server.requests) == 1


@pytest.mark.slow
async def test_a_node_without_its_weight_puller_says_so(tmp_path: Path) -> None:
    agent = {"needs_weights": True, "weight_puller": "no_such_module:pull"}
    async with running_cluster("a") as cluster:
        fleet = fleet_of(cluster, tmp_path, Wanted(), agent)
        async with started(fleet, None):
            await wait_until(lambda: "no_such_module" in str([i.detail for i in fleet.instances()]))
            assert states(fleet) == {"ray-0": InstanceState.DOWN}


async def test_a_node_without_comfyui_says_what_to_do(tmp_path: Path) -> None:
    agent = {"simulate": False, "comfyui_dir": str(tmp_path / "nothing"), "models_dir": str(tmp_path)}
    async with running_cluster("a") as cluster:
        fleet = fleet_of(cluster, tmp_path, None, agent)
        async with started(fleet, None):
            await wait_until(lambda: "comfyui install" in str([i.detail for i in fleet.instances()]))
            await wait_until(lambda: will_be_tried_again(fleet))


async def test_an_instance_that_cannot_be_launched_says_when_it_is_tried_again(tmp_path: Path) -> None:
    """As a local one does; no time is given once nothing is known of it."""
    async with running_cluster("a") as cluster:
        fleet = fleet_of(cluster, tmp_path)
        directory = tmp_path / "nodes" / "tests"
        directory.mkdir(parents=True)
        (directory / "ray-0").write_text("in the way of the directory of the instance")
        async with started(fleet, None):
            await wait_until(lambda: will_be_tried_again(fleet))
            assert "cannot be launched" in str(fleet.instances()[0].detail)
            await cluster.remove_node("a")
            await wait_until(lambda: fleet.instances()[0].detail == "its node is lost")
            assert fleet.instances()[0].retry_at is None


def will_be_tried_again(fleet: RayFleet) -> bool:
    now = datetime.now(UTC)
    times = [info.retry_at for info in fleet.instances()]
    return bool(times) and all(time and now < time < now + timedelta(minutes=10) for time in times)


def find_instance(directory: Path) -> psutil.Process:
    """The process of the only instance below a directory."""
    simulators = find_processes("comfy_instances.simulator", list(psutil.process_iter()))
    [found] = [process for process in simulators if str(directory) in " ".join(process.cmdline())]
    return found


async def test_an_agent_ends_what_an_earlier_one_left(tmp_path: Path) -> None:
    """By its base directory, and nothing else."""

    def command(name: str) -> list[str]:
        return [
            sys.executable,
            "-c",
            "import time; time.sleep(3600)",
            "--base-directory",
            str(tmp_path / name),
        ]

    left = await asyncio.create_subprocess_exec(*command("ray-0"), start_new_session=True)
    other = await asyncio.create_subprocess_exec(*command("ray-01"))
    try:
        assert await asyncio.to_thread(kill_orphans, tmp_path / "ray-0") == [left.pid]
        # This process or its event loop may reap it first; either way it did not exit with 0.
        assert await left.wait() != 0
        assert other.returncode is None
    finally:
        other.kill()
        await other.wait()


@pytest.mark.skipif(HAS_RAY, reason="shows what an environment without Ray says")
async def test_without_ray_the_connection_says_what_is_missing() -> None:
    connection = RayConnection("127.77.9.9:1", "tests")
    for _ in range(2):  # each time with a new bridge
        with pytest.raises(RayUnavailable, match="No module named 'ray'"):
            await connection.get_state(())
    await connection.close()


@pytest.mark.slow
async def test_a_service_without_ray_and_instances_starts_and_has_none(tmp_path: Path) -> None:
    """It is not ready then, and becomes so by itself."""
    async with running_cluster("a") as cluster:
        cluster.is_reachable = False
        fleet = fleet_of(cluster, tmp_path, discovery_seconds=0.2)
        async with started(fleet, None):
            assert fleet.instances() == []
            cluster.is_reachable = True
            await wait_until(lambda: bool(fleet.instances()))
            await wait_until_ready(fleet, 1)
