"""Which prompt may have ended its instance: the one that ran, also if no message about it arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.session.session import InstanceSession
from tests.support.impatient_client import SETTINGS
from tests.support.polling import TIMEOUT_SECONDS, wait_until
from tests.support.scripted_comfyui import GRAPH, PICTURE, ScriptedComfyUI


@pytest.fixture
async def server() -> AsyncIterator[ScriptedComfyUI]:
    async with ScriptedComfyUI() as puppet:
        yield puppet


@pytest.fixture
async def session(server: ScriptedComfyUI) -> AsyncIterator[InstanceSession]:
    async with InstanceSession(server.url, settings=SETTINGS, rng=Random(1)) as session:
        await session.wait_connected(TIMEOUT_SECONDS)
        yield session


async def submit(server: ScriptedComfyUI, session: InstanceSession, count: int) -> list[asyncio.Task[Any]]:
    """Prompts that the server has accepted, in this order."""
    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH)))
        await server.posted(number + 1)
    await wait_until(lambda: all(run.submitted for run in session._reconciler.prompt_runs.values()))
    return tasks


async def losses(tasks: list[asyncio.Task[Any]]) -> list[InstanceGone]:
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(error, InstanceGone) for error in ended), ended
    return [error for error in ended if isinstance(error, InstanceGone)]


async def test_only_the_prompt_that_ran_may_be_the_cause(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    tasks = await submit(server, session, 2)
    await server.begin(next(iter(server.pending.values())))
    await server.stop()
    assert [error.while_running for error in await losses(tasks)] == [True, False]
    assert session.has_lost_running_prompt


async def test_the_first_prompt_ran_although_its_start_was_not_announced(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    tasks = await submit(server, session, 2)
    await server.stop()
    assert [error.while_running for error in await losses(tasks)] == [True, False]


async def test_a_prompt_may_end_its_server_before_that_answers(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    async def die(request: web.Request) -> web.StreamResponse:
        await request.read()
        asyncio.get_running_loop().call_soon(asyncio.ensure_future, server.stop())
        await asyncio.sleep(60)
        return web.Response()

    server.answers["POST /prompt"] = die
    (lost,) = await losses([asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH))])
    assert lost.while_running
    assert session.has_lost_running_prompt


async def test_a_server_that_was_gone_before_is_no_victim_of_the_prompt(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    await server.stop()
    (lost,) = await losses([asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH))])
    assert not lost.while_running
    assert not session.has_lost_running_prompt


async def test_a_prompt_whose_result_is_lost_has_not_ended_the_server(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    (task,) = await submit(server, session, 1)
    (prompt,) = server.pending.values()
    await server.begin(prompt)
    await server.end(prompt, outputs={"2": PICTURE})
    result = await task
    await server.stop()
    with pytest.raises(InstanceGone) as caught:
        await session.fetch_file(result.outputs[0].file)
    assert not caught.value.while_running
    assert not session.has_lost_running_prompt


async def test_a_server_that_was_replaced_lost_the_prompt_that_ran(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    tasks = await submit(server, session, 2)
    await server.stop()
    await server.start()
    assert [error.while_running for error in await losses(tasks)] == [True, False]


async def test_a_stop_on_request_blames_nothing(server: ScriptedComfyUI, session: InstanceSession) -> None:
    tasks = await submit(server, session, 1)
    await session.close(self_inflicted=True)
    (lost,) = await losses(tasks)
    assert lost.self_inflicted
    assert not lost.while_running
    assert not session.has_lost_running_prompt


async def test_closing_ends_the_wait_for_a_connection(server: ScriptedComfyUI) -> None:
    patient = InstanceSession("http://127.0.0.1:9", settings=SETTINGS)
    await patient.start()
    waiting = asyncio.create_task(patient.wait_connected(3600))
    await asyncio.sleep(0)
    await patient.close()
    with pytest.raises(InstanceGone, match="closed"):
        await waiting


async def test_counts_connections_so_that_a_quick_reconnect_is_noticed(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    before = session.connections
    closing = asyncio.create_task(session.wait_disconnected(60))
    await asyncio.sleep(0)
    server.drop_sockets()
    await closing
    await session.wait_connected(TIMEOUT_SECONDS)
    assert session.connections == before + 1
