"""The session with a simulated instance: a child process that is told to fail in every way it knows."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from comfy_instances.protocol.errors import (
    BadGraph,
    InstanceError,
    InstanceGone,
    NodeFailed,
    NoOutput,
    OutOfMemory,
)
from comfy_instances.session.session import InstanceSession, SessionSettings
from tests.support.cli import start_simulator
from tests.support.polling import TIMEOUT_SECONDS

SETTINGS = SessionSettings(silence_s=0.3, gone_after_s=8.0, backoff_max_s=0.2)
GRAPH = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0xFF8000},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "pf"}},
}


class Simulator:
    """One child; keeps its port over restarts."""

    def __init__(self, base: Path) -> None:
        self._base = base
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        arguments = ["--port", str(self._port), "--base-directory", str(self._base)]
        self._process = start_simulator(*arguments, environment=dict(os.environ), output=self._base / "log")

    def arm(self, kind: str) -> None:
        body = json.dumps({"kind": kind, "count": 1}).encode()
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"{self.url}/simulator/faults", body, headers), timeout=60):
            pass

    def wait(self) -> None:
        self._process.wait(10)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("simulator"))
    yield simulator
    simulator.kill()


@pytest.fixture
async def session(simulator: Simulator) -> AsyncIterator[InstanceSession]:
    async with InstanceSession(simulator.url, settings=SETTINGS) as session:
        await session.wait_connected(TIMEOUT_SECONDS)
        yield session


async def a_run_succeeds(session: InstanceSession) -> None:
    (output,) = (await session.run_prompt(str(uuid4()), GRAPH)).outputs
    assert output.file is not None
    assert (await session.fetch_file(output.file)).startswith(b"\x89PNG")


async def test_twenty_runs_two_at_a_time(session: InstanceSession) -> None:
    two = asyncio.Semaphore(2)

    async def run() -> Any:
        async with two:
            return (await session.run_prompt(str(uuid4()), GRAPH)).outputs[0].file

    files = await asyncio.gather(*(run() for _ in range(20)))
    assert len(set(files)) == 20


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("out_of_memory", OutOfMemory),
        ("node_error", NodeFailed),
        ("no_output", NoOutput),
        ("reject", BadGraph),
    ],
)
async def test_a_failure_is_what_it_is_and_the_next_run_succeeds(
    simulator: Simulator, session: InstanceSession, fault: str, error: type[InstanceError]
) -> None:
    simulator.arm(fault)
    with pytest.raises(error):
        await session.run_prompt(str(uuid4()), GRAPH)
    await a_run_succeeds(session)


async def test_a_dropped_socket_harms_no_run(simulator: Simulator, session: InstanceSession) -> None:
    simulator.arm("drop_socket")
    await a_run_succeeds(session)
    await session.wait_connected(TIMEOUT_SECONDS)
    await a_run_succeeds(session)


async def test_a_crashed_prompt_is_unknown_after_a_restart(
    simulator: Simulator, session: InstanceSession
) -> None:
    simulator.arm("crash")
    prompt_id, waiting_id = str(uuid4()), str(uuid4())
    outcomes = await asyncio.gather(
        session.run_prompt(prompt_id, GRAPH), session.run_prompt(waiting_id, GRAPH), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [InstanceGone, InstanceGone]
    simulator.wait()
    simulator.start()
    await session.wait_connected(TIMEOUT_SECONDS)
    assert await session.resume_prompt(prompt_id) is None
    await a_run_succeeds(session)


async def test_a_hung_prompt_is_not_let_go_until_the_process_is_killed(
    simulator: Simulator, session: InstanceSession
) -> None:
    simulator.arm("hang")
    prompt_id = str(uuid4())
    run = asyncio.create_task(session.run_prompt(prompt_id, GRAPH))
    await asyncio.sleep(3 * SETTINGS.silence_s)
    assert not run.done()
    cancel = asyncio.create_task(session.cancel_prompt(prompt_id))
    await asyncio.sleep(SETTINGS.silence_s)
    assert not cancel.done()
    simulator.kill()
    with pytest.raises(InstanceGone):
        await cancel
    with pytest.raises(InstanceGone):
        await run
    simulator.start()
    await session.wait_connected(TIMEOUT_SECONDS)
    await a_run_succeeds(session)
