"""Local instances that crash, hang, never start or refuse to stop: real children, real signals."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import InstanceInfo, InstanceState, wait_until_ready
from comfy_instances.process.launch import LaunchSpec
from comfy_instances.process.restart_policy import RestartPolicy
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.session.session import FileRef, InstanceSession
from tests.support.polling import wait_until
from tests.support.processes import find_processes

ODD = Path(__file__).parents[1] / "support" / "odd_instance.py"
#: As patient as a test can afford.
QUICK = RestartPolicy(
    startup_seconds=20,
    probe_seconds=0.2,
    hang_timeout_seconds=10,
    stuck_timeout_seconds=0.5,
    stop_timeout_seconds=0.5,
    backoff_seconds=0.05,
    failures_allowed=3,
    cooldown_seconds=600,
    idle_seconds=0.2,
)
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}


def odd(directory: Path, *command: str) -> LaunchSpec:
    return LaunchSpec(
        id="odd-0", command=command, directory=directory / "odd-0", simulated=True, device="simulated"
    )


def misbehaving(kind: str, directory: Path) -> LaunchSpec:
    return odd(directory, sys.executable, str(ODD), kind)


@asynccontextmanager
async def running(fleet: LocalFleet) -> AsyncIterator[list[InstanceInfo]]:
    """The fleet, started; yields the growing list of what it tells."""
    told: list[InstanceInfo] = []
    others = children()  # of other tests' fixtures in this process
    fleet.subscribe(told.append)
    await fleet.start()
    try:
        yield told
    finally:
        await fleet.stop()
        assert [child for child in children() if child not in others] == []


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if is_alive(child)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def process_of(info: InstanceInfo) -> psutil.Process:
    port = info.url.rsplit(":", 1)[1]
    return next(find_processes(port, children()))


async def test_restarts_killed_instances_without_their_prompts(tmp_path: Path) -> None:
    fleet = LocalFleet.simulated(2, directory=tmp_path, policy=QUICK)
    async with running(fleet):
        await wait_until_ready(fleet)
        before = fleet.instances()
        sessions = [fleet.session(info.id) for info in before]
        await asyncio.gather(*(session.run_prompt(str(uuid.uuid4()), GRAPH) for session in sessions))
        for info in before:
            process_of(info).send_signal(signal.SIGSTOP)  # so that the next prompt is surely in flight
        runs = [asyncio.create_task(session.run_prompt(str(uuid.uuid4()), GRAPH)) for session in sessions]
        await asyncio.sleep(0.1)
        for info in before:
            process_of(info).kill()
        outcomes = await asyncio.gather(*runs, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [InstanceGone, InstanceGone]

        await wait_until(lambda: all(info.restarts == 1 for info in fleet.instances()))
        await wait_until_ready(fleet)
        for old, new in zip(before, fleet.instances(), strict=True):
            assert new.id == old.id
            assert new.url != old.url
            result = await fleet.session(new.id).run_prompt(str(uuid.uuid4()), GRAPH)
            assert result.outputs


async def test_a_stopped_instance_is_found_hung_and_replaced(tmp_path: Path) -> None:
    policy = replace(QUICK, hang_timeout_seconds=1)
    fleet = LocalFleet.simulated(1, directory=tmp_path, policy=policy)
    async with running(fleet) as told:
        await wait_until_ready(fleet)
        process_of(fleet.instances()[0]).send_signal(signal.SIGSTOP)
        await wait_until(lambda: fleet.instances()[0].restarts == 1)
        await wait_until_ready(fleet)
    details = [info.detail or "" for info in told if info.state is InstanceState.DOWN]
    assert any(detail.startswith("hung") for detail in details)


async def test_work_that_waits_while_nothing_runs(tmp_path: Path) -> None:
    async with running(LocalFleet([misbehaving("stuck", tmp_path)], policy=QUICK)) as told:
        await wait_until(lambda: any((info.detail or "").startswith("stuck") for info in told))


async def test_another_server_on_the_port_is_not_taken_for_ours(tmp_path: Path) -> None:
    async with running(LocalFleet([misbehaving("foreign", tmp_path)], policy=QUICK)) as told:
        await wait_until(lambda: any("another server" in (info.detail or "") for info in told))
    assert InstanceState.READY not in {info.state for info in told}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "detail"),
    [
        ((sys.executable, "-c", "import time; time.sleep(60)"), "did not respond within 1 s"),
        ((sys.executable, str(ODD), "errors"), "did not respond within 1 s"),
        ((sys.executable, "-c", "raise SystemExit('no such model')"), "exited with status 1: no such model"),
        (("/nowhere/python",), "exited with status 1: cannot run /nowhere/python: No such file"),
    ],
    ids=["never answers", "answers with errors only", "ends at once", "can not be run"],
)
async def test_one_that_never_gets_ready_is_given_up(
    tmp_path: Path, command: tuple[str, ...], detail: str
) -> None:
    rules = replace(QUICK, startup_seconds=1, failures_allowed=2)
    async with running(LocalFleet([odd(tmp_path, *command)], policy=rules)) as told:
        await wait_until(lambda: told != [] and told[-1].state is InstanceState.FAILED)
    failed = next(info for info in told if info.state is InstanceState.FAILED)
    assert failed.detail is not None
    assert failed.detail.startswith("ended 2 times in a row")
    assert detail in failed.detail
    assert failed.restarts == 1


async def test_an_operator_closes_the_circuit_breaker(tmp_path: Path) -> None:
    flag = tmp_path / "repaired"
    script = f"import os, sys, runpy; os.path.exists({str(flag)!r}) or sys.exit('broken'); " + (
        "runpy.run_module('comfy_instances.simulator', run_name='__main__')"
    )
    rules = replace(QUICK, failures_allowed=1)
    fleet = LocalFleet([odd(tmp_path, sys.executable, "-c", script)], policy=rules)
    async with running(fleet):
        await wait_until(lambda: fleet.instances()[0].state is InstanceState.FAILED)
        with pytest.raises(InstanceGone):
            fleet.session("odd-0")
        flag.touch()
        await fleet.restart("odd-0")
        await wait_until_ready(fleet)


@pytest.mark.slow
async def test_the_circuit_closes_by_itself_for_another_try(tmp_path: Path) -> None:
    flag = tmp_path / "repaired"
    script = f"import os, sys, runpy; os.path.exists({str(flag)!r}) or sys.exit('broken'); " + (
        "runpy.run_module('comfy_instances.simulator', run_name='__main__')"
    )
    rules = replace(QUICK, failures_allowed=1, cooldown_seconds=0.5)
    fleet = LocalFleet([odd(tmp_path, sys.executable, "-c", script)], policy=rules)
    async with running(fleet) as told:
        await wait_until(lambda: any(info.state is InstanceState.FAILED for info in told))
        flag.touch()
        await wait_until_ready(fleet)


@pytest.mark.slow
async def test_an_end_under_a_prompt_counts_only_when_it_is_blamed_on_the_instance(tmp_path: Path) -> None:
    fleet = LocalFleet.simulated(1, directory=tmp_path, policy=replace(QUICK, failures_allowed=2))
    async with running(fleet) as told:
        for number in range(4):
            await wait_until_ready(fleet)
            process_of(fleet.instances()[0]).send_signal(signal.SIGSTOP)  # the prompt is in flight
            run = asyncio.create_task(fleet.session("sim-0").run_prompt(str(uuid.uuid4()), GRAPH))
            await wait_until(partial(has_sent_prompt, fleet.session("sim-0")))
            process_of(fleet.instances()[0]).kill()
            with pytest.raises(InstanceGone) as caught:
                await run
            assert caught.value.while_running
            await wait_until(partial(has_restarted, fleet, number + 1))
        assert fleet.instances()[0].failures == 0
        assert InstanceState.FAILED not in {info.state for info in told}
        await wait_until_ready(fleet)
        for _ in range(2):
            fleet.record_failure("sim-0")
        process_of(fleet.instances()[0]).kill()
        await wait_until(lambda: fleet.instances()[0].state is InstanceState.FAILED)


def has_sent_prompt(session: InstanceSession) -> bool:
    return any(run.sent for run in session._reconciler.prompt_runs.values())


def has_restarted(fleet: LocalFleet, times: int) -> bool:
    return fleet.instances()[0].restarts >= times


async def test_stubborn_ones_and_their_children_are_killed(tmp_path: Path) -> None:
    fleet = LocalFleet([misbehaving("stubborn", tmp_path)], policy=QUICK)
    async with running(fleet):
        await wait_until_ready(fleet)
        grandchild = psutil.Process(int((await fleet.log_tail("odd-0", 1))[0].split()[1]))
        assert is_alive(grandchild)
    await wait_until(lambda: not is_alive(grandchild))


@pytest.mark.slow
async def test_grown_ones_are_recycled_once_idle(tmp_path: Path) -> None:
    fleet = LocalFleet.simulated(1, directory=tmp_path, policy=replace(QUICK, memory_limit=1))
    async with running(fleet) as told:
        await wait_until(lambda: fleet.instances()[0].restarts >= 2)
    states = [info.state for info in told]
    assert InstanceState.DRAINING in states
    assert InstanceState.FAILED not in states


async def test_each_start_begins_with_empty_folders_and_the_allowed_packs(tmp_path: Path) -> None:
    pack = tmp_path / "some_pack"
    pack.mkdir()
    launch = replace(misbehaving("stubborn", tmp_path), node_packs=(pack,))
    left = launch.directory / "output" / "of-a-dead-prompt.png"
    old = launch.directory / "custom_nodes" / "not-allowed-any-more"
    for path in (left, old):
        path.parent.mkdir(parents=True)
    left.touch()
    old.symlink_to(tmp_path)
    fleet = LocalFleet([launch], policy=QUICK)
    async with running(fleet):
        await wait_until_ready(fleet)
        assert not left.exists()
        assert [path.name for path in (launch.directory / "custom_nodes").iterdir()] == ["some_pack"]


async def test_files_outside_of_its_folders_are_left_alone(tmp_path: Path) -> None:
    fleet = LocalFleet.simulated(1, directory=tmp_path / "instances", policy=QUICK)
    outside = tmp_path / "instances" / "sim-0" / "user" / "keep.txt"
    outside.parent.mkdir(parents=True)
    outside.touch()
    files = [
        FileRef("keep.txt", "../user", "output"),
        FileRef(str(outside), "", "output"),
        FileRef("keep.txt", "", "user"),
        FileRef("never-there.png", "", "output"),
    ]
    await fleet.delete_files("sim-0", files)
    assert outside.exists()


@pytest.mark.slow
async def test_no_orphans_after_kill_9(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from comfy_instances.fleet.protocol import wait_until_ready
        from comfy_instances.fleet.local import LocalFleet

        async def main():
            fleet = LocalFleet.simulated(2, directory=Path({str(tmp_path)!r}))
            await fleet.start()
            await wait_until_ready(fleet)
            print("ready", flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"ready\n"
    orphans = psutil.Process(parent.pid).children(recursive=True)
    assert len(orphans) == 2
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    await wait_until(lambda: not any(is_alive(process) for process in orphans))


@pytest.mark.slow
async def test_starting_and_stopping_leaves_no_descriptors(tmp_path: Path) -> None:
    async def once() -> None:
        fleet = LocalFleet.simulated(1, directory=tmp_path, policy=QUICK)
        async with running(fleet):
            await wait_until_ready(fleet)

    await once()
    # What earlier tests left to the collector must not hide what is left here.
    gc.collect()
    before = psutil.Process().num_fds()
    for _ in range(2):
        await once()
    await wait_until(lambda: psutil.Process().num_fds() <= before)


async def test_stopped_while_a_stubborn_one_is_restarted(tmp_path: Path) -> None:
    fleet = LocalFleet([misbehaving("stubborn", tmp_path)], policy=QUICK)
    async with running(fleet):
        await wait_until_ready(fleet)
        await fleet.restart("odd-0")
        await wait_until(lambda: fleet.instances()[0].state is InstanceState.DOWN)


async def test_stopped_while_it_starts(tmp_path: Path) -> None:
    for delay in (0, 0.001, 0.01, 0.1):
        async with running(LocalFleet.simulated(1, directory=tmp_path, policy=QUICK)):
            await asyncio.sleep(delay)
