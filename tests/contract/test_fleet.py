"""What every kind of fleet owes, shown with simulators: launched by the fleet, or adopted by it."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from comfy_instances.fleet.adopted import AdoptedFleet
from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import (
    Fleet,
    FleetError,
    InstanceInfo,
    InstanceState,
    UnknownInstance,
    wait_until_ready,
)
from comfy_instances.fleet.ray.fleet import RayFleet
from comfy_instances.fleet.ray.options import RayFleetOptions
from comfy_instances.process.child import find_free_port
from comfy_instances.process.restart_policy import RestartPolicy
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.session.session import FileRef
from tests.support.agent_cluster import AgentCluster, agent_options
from tests.support.cli import CommandProcess, start_simulator
from tests.support.polling import poll, wait_until
from tests.support.processes import child_processes, find_processes

GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
RULES = RestartPolicy(
    startup_seconds=20,
    probe_seconds=0.2,
    file_refresh_seconds=0.2,
    hang_timeout_seconds=5,
    stop_timeout_seconds=1,
    backoff_seconds=0.05,
)


class FleetHarness(Protocol):
    """A fleet, and what may befall its instances."""

    fleet: Fleet
    #: Of the first instance.
    output_folder: Path

    async def begin(self) -> None: ...

    async def end(self) -> None: ...

    async def kill(self, number: int) -> None:
        """Kill an instance's process; somebody starts it again."""


@dataclass
class LaunchedFleetHarness:
    """The fleet launches its instances, and starts them again."""

    directory: Path
    size: int
    fleet: LocalFleet = field(init=False)
    output_folder: Path = field(init=False)

    async def begin(self) -> None:
        self.fleet = LocalFleet.simulated(self.size, directory=self.directory, policy=RULES)
        self.output_folder = self.directory / "sim-0" / "output"

    async def end(self) -> None:
        pass

    async def kill(self, number: int) -> None:
        port = self.fleet.instances()[number].url.rsplit(":", 1)[1]
        for child in find_processes(port, child_processes()):
            child.kill()


@dataclass
class AdoptedFleetHarness:
    """Somebody else launches the instances, and starts them again at the same address."""

    directory: Path
    size: int
    fleet: AdoptedFleet = field(init=False)
    output_folder: Path = field(init=False)
    ports: list[int] = field(default_factory=list)
    processes: dict[int, CommandProcess] = field(default_factory=dict)

    async def begin(self) -> None:
        for number in range(self.size):
            self.ports.append(find_free_port())
            self.launch(number)
        urls = [f"http://127.0.0.1:{port}/" for port in self.ports]
        self.fleet = AdoptedFleet(urls, probe_seconds=0.2, poll_seconds=0.05, file_refresh_seconds=0.2)
        self.output_folder = self.directory / "0" / "output"

    def launch(self, number: int) -> None:
        options = ("--port", str(self.ports[number]), "--base-directory", str(self.directory / str(number)))
        self.processes[number] = start_simulator(
            *options, environment=dict(os.environ), output=self.directory / f"{number}.log"
        )

    async def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    async def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number].wait()
        await wait_until(lambda: self.fleet.instances()[number].state is InstanceState.DOWN)
        self.launch(number)


@dataclass
class RayFleetHarness:
    """Agents on nodes launch the instances; an earlier process of the service has placed them there."""

    directory: Path
    size: int
    cluster: AgentCluster = field(default_factory=AgentCluster)
    fleet: RayFleet = field(init=False)
    output_folder: Path = field(init=False)

    async def begin(self) -> None:
        for number in range(self.size):
            self.cluster.add_node(f"node-{number}", "SIMULATED")
        earlier = self.new_fleet()
        await earlier.start()
        await wait_until(lambda: len(self.cluster.agents) == self.size)
        await wait_until_ready(earlier)
        await earlier.stop()
        self.fleet = self.new_fleet()
        self.output_folder = self.directory / "tests" / "ray-0" / "output"

    def new_fleet(self) -> RayFleet:
        options = RayFleetOptions(
            agent=agent_options(self.directory),
            state_file=self.directory / "ray.json",
            control_seconds=0.1,
            probe_seconds=0.2,
            poll_seconds=0.05,
            file_refresh_seconds=0.2,
        )
        return RayFleet(self.cluster, options)

    async def end(self) -> None:
        await self.cluster.end()

    async def kill(self, number: int) -> None:
        await self.cluster.kill_agent(f"ray-{number}")


@pytest.fixture(
    params=[
        LaunchedFleetHarness,
        # Other tests run services on adopted instances, and fleets of Ray, in every run.
        pytest.param(AdoptedFleetHarness, marks=pytest.mark.slow),
        pytest.param(RayFleetHarness, marks=pytest.mark.slow),
    ]
)
def kind(request: pytest.FixtureRequest) -> Callable[[Path, int], FleetHarness]:
    kind: Callable[[Path, int], FleetHarness] = request.param
    return kind


@pytest.fixture
async def world(kind: Callable[[Path, int], FleetHarness], tmp_path: Path) -> AsyncIterator[FleetHarness]:
    """A fleet of one instance."""
    async with begun(kind(tmp_path, 1)) as world:
        yield world


@pytest.fixture
async def pair(kind: Callable[[Path, int], FleetHarness], tmp_path: Path) -> AsyncIterator[FleetHarness]:
    """A fleet of two instances."""
    async with begun(kind(tmp_path, 2)) as pair:
        yield pair


@asynccontextmanager
async def begun(world: FleetHarness) -> AsyncIterator[FleetHarness]:
    await world.begin()
    try:
        yield world
    finally:
        await world.end()


@asynccontextmanager
async def started(fleet: Fleet) -> AsyncIterator[list[InstanceInfo]]:
    """The fleet, ready; yields the growing list of what it tells."""
    told: list[InstanceInfo] = []
    fleet.subscribe(told.append)
    await fleet.start()
    try:
        await wait_until_ready(fleet)
        yield told
    finally:
        await fleet.stop()


async def test_describes_its_instances(pair: FleetHarness) -> None:
    async with started(pair.fleet) as told:
        infos = pair.fleet.instances()
        assert len({info.id for info in infos}) == 2
        for info in infos:
            assert info.state is InstanceState.READY
            assert info.simulated
            assert info.device == "simulated"
            assert info.version == "0.33.0"
            assert info.vram_total == 96 * 2**30
            assert info.vram_free is not None
            assert info.restarts == 0
            assert info.url.startswith("http://127.0.0.1:")
        assert {info.id for info in told} == {info.id for info in infos}
        assert [info for info in told if info.id == infos[0].id][-1] == infos[0]


async def test_hands_out_sessions_and_node_facts(world: FleetHarness) -> None:
    async with started(world.fleet):
        for info in world.fleet.instances():
            session = world.fleet.session(info.id)
            assert session is world.fleet.session(info.id)
            before = datetime.now(UTC)
            result = await session.run_prompt(str(uuid.uuid4()), GRAPH)
            span = (before - timedelta(seconds=1), before + timedelta(minutes=1))
            # What it prints is read beside its messages.
            read = partial(world.fleet.log_tail, info.id, period=span)
            await poll(read, lambda lines: any("got prompt" in line for line in lines))
            file = result.outputs[0].file
            assert file is not None
            assert (await session.fetch_file(file)).startswith(b"\x89PNG")
            facts = world.fleet.node_facts(info.id)
            assert facts is not None
            assert "SaveImage" in facts


async def test_reads_node_facts_again_when_the_model_files_change(pair: FleetHarness) -> None:
    """And tells so, also where nothing else is new."""
    async with started(pair.fleet) as told:
        first, second = pair.fleet.instances()
        before, others = pair.fleet.node_facts(first.id), pair.fleet.node_facts(second.id)
        folder = pair.output_folder.parent / "models" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "late.safetensors").touch()
        await wait_until(lambda: pair.fleet.node_facts(first.id) is not before)
        told.clear()
        after = pair.fleet.node_facts(first.id)
        (folder / "late.safetensors").rename(folder / "later.safetensors")
        await wait_until(lambda: pair.fleet.node_facts(first.id) is not after)
        await wait_until(lambda: any(info.id == first.id for info in told))
        assert pair.fleet.node_facts(first.id) == before
        assert pair.fleet.node_facts(second.id) is others


@pytest.mark.slow
async def test_reads_node_facts_on_request_and_calls_the_listeners(world: FleetHarness) -> None:
    async with started(world.fleet):
        first = world.fleet.instances()[0]
        before, seen = world.fleet.node_facts(first.id), list[str]()
        unsubscribe = world.fleet.subscribe(lambda info: seen.append(info.id))
        await world.fleet.reload_node_facts(first.id)
        unsubscribe()
        after = world.fleet.node_facts(first.id)
        assert after == before
        assert after is not before
        assert first.id in seen


@pytest.mark.slow
async def test_has_no_session_before_ready_and_after_stop(world: FleetHarness) -> None:
    instance_id = world.fleet.instances()[0].id
    assert world.fleet.node_facts(instance_id) is None
    with pytest.raises(InstanceGone):
        world.fleet.session(instance_id)
    async with started(world.fleet):
        session = world.fleet.session(instance_id)
    with pytest.raises(InstanceGone):
        world.fleet.session(instance_id)
    assert not session.is_connected


async def test_a_drained_instance_stays_reachable_until_resumed(pair: FleetHarness) -> None:
    async with started(pair.fleet) as told:
        first, second = pair.fleet.instances()
        await pair.fleet.drain(first.id)
        assert pair.fleet.instances()[0].state is InstanceState.DRAINING
        assert told[-1].state is InstanceState.DRAINING
        assert pair.fleet.instances()[1].state is second.state
        assert (await pair.fleet.session(first.id).run_prompt(str(uuid.uuid4()), GRAPH)).outputs
        await pair.fleet.resume(first.id)
        assert pair.fleet.instances()[0].state is InstanceState.READY


async def test_restarts_a_killed_instance(world: FleetHarness) -> None:
    async with started(world.fleet) as told:
        first = world.fleet.instances()[0]
        told.clear()
        await world.kill(0)
        await wait_until(lambda: any(info.state is InstanceState.DOWN for info in told))
        await wait_until_ready(world.fleet)
        assert {info.id for info in told if info.state is InstanceState.DOWN} == {first.id}
        assert (await world.fleet.session(first.id).run_prompt(str(uuid.uuid4()), GRAPH)).outputs


@pytest.mark.slow
async def test_a_drained_instance_stays_drained_after_a_restart(world: FleetHarness) -> None:
    async with started(world.fleet) as told:
        first = world.fleet.instances()[0]
        await world.fleet.drain(first.id)
        told.clear()
        await world.kill(0)
        await wait_until(lambda: any(info.state is InstanceState.DOWN for info in told))
        await wait_until(lambda: world.fleet.instances()[0].state is InstanceState.DRAINING)


async def test_deletes_files_of_launched_instances_only(world: FleetHarness) -> None:
    async with started(world.fleet):
        instance_id = world.fleet.instances()[0].id
        session = world.fleet.session(instance_id)
        result = await session.run_prompt(str(uuid.uuid4()), GRAPH)
        files = [output.file for output in result.outputs if output.file is not None]
        input_name = await session.upload_input("in.png", b"not looked at", "image/png")
        files.append(FileRef(input_name, "", "input"))
        assert list(world.output_folder.rglob("*.png"))
        await world.fleet.delete_files(instance_id, files)
        ours = not world.fleet.instances()[0].adopted
        assert bool(list(world.output_folder.rglob("*.png"))) != ours
        assert (world.output_folder.parent / "input" / input_name).exists() != ours


async def test_only_launched_instances_can_be_restarted(world: FleetHarness) -> None:
    async with started(world.fleet):
        first = world.fleet.instances()[0]
        if first.adopted:
            with pytest.raises(FleetError, match="adopted"):
                await world.fleet.restart(first.id)
            return
        session = world.fleet.session(first.id)
        await world.fleet.restart(first.id)
        await wait_until(lambda: world.fleet.instances()[0].restarts == 1)
        await wait_until_ready(world.fleet)
        assert world.fleet.session(first.id) is not session


async def test_unknown_ids_are_not_found(world: FleetHarness) -> None:
    fleet = world.fleet
    for ask in (fleet.session, fleet.node_facts):
        with pytest.raises(UnknownInstance, match="gpu-9"):
            ask("gpu-9")
    for act in (fleet.drain, fleet.resume, fleet.restart, fleet.log_tail):
        with pytest.raises(UnknownInstance, match="gpu-9"):
            await act("gpu-9")
    with pytest.raises(UnknownInstance, match="gpu-9"):
        await fleet.delete_files("gpu-9", [])


@pytest.mark.slow
async def test_an_unsubscribed_listener_is_not_called(world: FleetHarness) -> None:
    heard: list[InstanceInfo] = []
    unsubscribe = world.fleet.subscribe(heard.append)
    unsubscribe()
    async with started(world.fleet):
        pass
    assert heard == []


@pytest.mark.slow
async def test_a_failing_listener_does_not_affect_others(
    world: FleetHarness, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(info: InstanceInfo) -> None:
        raise RuntimeError("a mistake")

    world.fleet.subscribe(fail)
    async with started(world.fleet) as told:
        assert told
    assert "a listener failed" in caplog.text


async def test_waiting_for_readiness_times_out(world: FleetHarness) -> None:
    with pytest.raises(FleetError, match=r"fewer than \d+ instances were ready .*starting"):
        await wait_until_ready(world.fleet, timeout_seconds=0.05)


@pytest.mark.slow
async def test_removes_a_folder_with_its_last_file(world: FleetHarness) -> None:
    async with started(world.fleet):
        instance_id = world.fleet.instances()[0].id
        session = world.fleet.session(instance_id)
        names = [
            await session.upload_input(name, b"a text", "text/plain", "pets") for name in ("a.txt", "b.txt")
        ]
        assert names == ["pets/a.txt", "pets/b.txt"]
        folder = world.output_folder.parent / "input" / "pets"
        assert sorted(file.name for file in folder.iterdir()) == ["a.txt", "b.txt"]
        first, second = (FileRef(name, "pets", "input") for name in ("a.txt", "b.txt"))
        await world.fleet.delete_files(instance_id, [first])
        assert folder.is_dir()
        await world.fleet.delete_files(instance_id, [second])
        assert folder.is_dir() == world.fleet.instances()[0].adopted
