"""A session with a server that breaks, lies, forgets or falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from comfy_instances.protocol.errors import InstanceGone, NodeFailed, NoOutput
from comfy_instances.session.session import InstanceSession, NodeOutput, NodeStarted, Preview
from tests.support.impatient_client import SETTINGS, launch
from tests.support.polling import TIMEOUT_SECONDS
from tests.support.scripted_comfyui import FILE, GRAPH, PICTURE, ScriptedComfyUI, ScriptedPrompt, eventually


@pytest.fixture
async def server() -> AsyncIterator[ScriptedComfyUI]:
    async with ScriptedComfyUI() as puppet:
        yield puppet


@pytest.fixture
async def session(server: ScriptedComfyUI) -> AsyncIterator[InstanceSession]:
    async with InstanceSession(server.url, settings=SETTINGS, rng=Random(1)) as session:
        await session.wait_connected(TIMEOUT_SECONDS)
        yield session


async def reconnected(server: ScriptedComfyUI, session: InstanceSession, count: int = 2) -> None:
    await eventually(lambda: server.client_ids, count)
    await session.wait_connected(TIMEOUT_SECONDS)


async def test_reconnects_a_socket_lost_during_a_run(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    heard: list[Any] = []
    run, prompt = await launch(server, session, heard.append)
    server.drop_sockets()
    await reconnected(server, session)
    await server.sockets[prompt.client_id].send_json({"type": "executing", "data": {"node": "2"}})
    await server.end(prompt, outputs={"2": PICTURE})
    assert (await run).outputs == (FILE,)
    assert heard == [NodeStarted(prompt.id, "2")]
    assert server.client_ids[0] == server.client_ids[1]


async def test_what_was_announced_into_the_gap_comes_from_history(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, prompt = await launch(server, session)
    server.drop_sockets()
    await server.end(prompt, outputs={"1": {"text": ["seen"]}, "2": PICTURE})
    result = await run
    assert result.outputs == (NodeOutput("1", "text", text="seen"), FILE)
    assert result.gpu_seconds == 2.5


async def test_a_failure_in_the_gap_comes_from_history(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, prompt = await launch(server, session)
    server.drop_sockets()
    await server.end(prompt, "execution_error", exception_type="ValueError", exception_message="boom")
    with pytest.raises(NodeFailed, match="boom"):
        await run


async def test_an_idle_session_takes_a_new_client_id_with_each_socket(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    server.drop_sockets()
    await reconnected(server, session)
    assert server.client_ids[0] != server.client_ids[1]


async def test_an_open_socket_that_fell_silent_is_not_trusted(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, prompt = await launch(server, session)
    server.deafen()
    await server.end(prompt, outputs={"2": PICTURE})
    assert (await run).outputs == (FILE,)
    await reconnected(server, session)


async def test_a_socket_that_misses_the_start_is_replaced_during_the_run(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    heard: list[Any] = []
    run = asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH, heard.append))
    (prompt,) = await server.posted()
    server.deafen()
    await server.begin(prompt)
    await reconnected(server, session)
    await server.say(prompt, "executing", node="2")
    await server.end(prompt, outputs={"2": PICTURE})
    await run
    assert heard == [NodeStarted(prompt.id, "2")]


async def test_a_long_silent_node_is_waited_for(server: ScriptedComfyUI, session: InstanceSession) -> None:
    run, prompt = await launch(server, session)
    await eventually(lambda: [r for r in server.requests if r == "GET /queue"], 3)
    assert not run.done()
    await server.say(prompt, "executed", node="2", output=PICTURE)
    await server.end(prompt)
    assert (await run).outputs == (FILE,)
    assert len(server.client_ids) == 1


async def test_the_final_message_of_another_prompt_ends_nothing(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, prompt = await launch(server, session)
    await server.say(prompt, "execution_success", prompt_id="another")
    await server.say(prompt, "executing", node=None)
    await asyncio.sleep(0.05)
    assert not run.done()
    await server.end(prompt, outputs={"2": PICTURE})
    await run


async def test_a_restart_in_mid_run_loses_the_prompt(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, _ = await launch(server, session)
    await server.stop()
    await server.start()
    with pytest.raises(InstanceGone):
        await run
    await session.wait_connected(TIMEOUT_SECONDS)
    run, prompt = await launch(server, session)
    await server.end(prompt, outputs={"2": PICTURE})
    assert (await run).outputs == (FILE,)


async def test_a_prompt_that_others_took_from_the_queue(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run = asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH))
    await server.posted()
    server.pending.clear()
    with pytest.raises(InstanceGone, match="no longer knows"):
        await run


async def test_a_server_that_stopped_listening_is_gone(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, _ = await launch(server, session)
    await server.stop()
    with pytest.raises(InstanceGone) as caught:
        await run
    assert caught.value.connection_refused
    assert not session.is_connected
    with pytest.raises(InstanceGone):
        await session.run_prompt(str(uuid4()), GRAPH)
    with pytest.raises(InstanceGone) as caught:
        await session.get_system_stats()
    assert caught.value.connection_refused
    await server.start()
    await session.wait_connected(TIMEOUT_SECONDS)


async def test_a_refused_connection_fails_at_once(server: ScriptedComfyUI) -> None:
    patient = replace(SETTINGS, gone_after_s=3600.0)
    async with InstanceSession(server.url, settings=patient) as session:
        run, _ = await launch(server, session)
        await server.stop()
        with pytest.raises(InstanceGone):
            await run


async def test_a_new_socket_is_a_reason_to_ask(server: ScriptedComfyUI) -> None:
    async def closed(request: web.Request) -> web.Response:
        return web.Response(status=503)

    trusting = replace(SETTINGS, silence_s=3600.0)
    async with InstanceSession(server.url, settings=trusting) as session:
        run, prompt = await launch(server, session)
        server.answers["GET /ws"] = closed
        server.drop_sockets()
        await eventually(lambda: [r for r in server.requests if r == "GET /queue"], 1)
        await server.end(prompt, outputs={"2": PICTURE})
        assert not run.done()
        del server.answers["GET /ws"]
        assert (await run).outputs == (FILE,)


async def test_a_final_message_during_reconciliation_keeps_the_socket(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, prompt = await launch(server, session)

    async def speak_first(request: web.Request) -> web.Response:
        await server.say(prompt, "executed", node="2", output=PICTURE)
        await server.say(prompt, "execution_success")
        await asyncio.wait([run])
        return await server.get_history(request)

    server.answers[f"GET /history/{prompt.id}"] = speak_first
    audible = dict(server.sockets)
    server.deafen()
    await server.end(prompt, outputs={"2": PICTURE})
    server.sockets.update(audible)
    assert (await run).outputs == (FILE,)
    await asyncio.sleep(2 * SETTINGS.silence_s)
    assert len(server.client_ids) == 1


async def test_a_stopped_server_is_gone(server: ScriptedComfyUI, session: InstanceSession) -> None:
    async def never(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    run, _ = await launch(server, session)
    server.deafen()
    server.answers["GET /queue"] = never
    with pytest.raises(InstanceGone):
        await run


async def test_a_short_absence_is_forgiven(server: ScriptedComfyUI, session: InstanceSession) -> None:
    async def broken(request: web.Request) -> web.Response:
        return web.Response(status=502)

    run, prompt = await launch(server, session)
    for absence in (1, 2):
        server.answers["GET /queue"] = broken
        server.drop_sockets()
        await reconnected(server, session, 1 + absence)
        await asyncio.sleep(0.6 * SETTINGS.gone_after_s)
        del server.answers["GET /queue"]
        server.requests.clear()
        await eventually(lambda: server.requests, 2)
    await server.end(prompt, outputs={"2": PICTURE})
    assert (await run).outputs == (FILE,)


async def test_a_worker_that_died_while_http_lives_on(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run = asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH))
    await server.posted()
    with pytest.raises(InstanceGone, match="runs none"):
        await run


async def test_waiting_in_the_queue_is_no_stall(server: ScriptedComfyUI, session: InstanceSession) -> None:
    server.running["other"] = ScriptedPrompt("other", {}, "somebody")
    run = asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH))
    _, prompt = await server.posted(2)
    await asyncio.sleep(2 * SETTINGS.stalled_after_s)
    assert not run.done()
    server.running.clear()
    await server.end(prompt, outputs={"2": PICTURE})
    await run


async def test_a_stall_is_over_when_something_runs(server: ScriptedComfyUI) -> None:
    settings = replace(SETTINGS, stalled_after_s=4.0)
    async with InstanceSession(server.url, settings=settings) as session:
        run = asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH))
        (prompt,) = await server.posted()
        await asyncio.sleep(2.5)
        server.running["other"] = ScriptedPrompt("other", {}, "somebody")
        server.requests.clear()
        await eventually(lambda: [r for r in server.requests if r == "GET /queue"], 2)
        server.running.clear()
        await asyncio.sleep(2.5)
        assert not run.done()
        await server.end(prompt, outputs={"2": PICTURE})
        await run


async def test_a_prompt_that_is_not_answered_names_the_reason(server: ScriptedComfyUI) -> None:
    async def never(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    server.answers["POST /prompt"] = never
    async with InstanceSession(server.url, settings=replace(SETTINGS, gone_after_s=0.8)) as session:
        await session.wait_connected(TIMEOUT_SECONDS)
        with pytest.raises(InstanceGone, match="prompt: TimeoutError"):
            await session.run_prompt(str(uuid4()), GRAPH)


async def test_a_lost_response_leaves_the_prompt_unknown(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    async def take_and_die(request: web.Request) -> web.Response:
        await server.take_prompt(request)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.answers["POST /prompt"] = take_and_die
    run, prompt = await launch(server, session)
    await server.say(prompt, "executed", node="2", output=PICTURE)
    await server.end(prompt)
    assert (await run).outputs == (FILE,)


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_a_server_that_rejects_every_prompt_is_unavailable(
    server: ScriptedComfyUI, session: InstanceSession, status: int
) -> None:
    async def broken(request: web.Request) -> web.Response:
        return web.Response(status=status, text="trouble")

    server.answers["POST /prompt"] = broken
    with pytest.raises(InstanceGone, match=str(status)):
        await session.run_prompt(str(uuid4()), GRAPH)


@pytest.mark.parametrize("body", ["<html>", "[]", "5"])
async def test_rejects_responses_of_other_servers(
    server: ScriptedComfyUI, session: InstanceSession, body: str
) -> None:
    async def odd(request: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    server.answers["GET /queue"] = server.answers["GET /system_stats"] = odd
    for question in (session.get_queue_depth, session.get_system_stats):
        with pytest.raises(InstanceGone):
            await question()


async def test_images_of_a_broken_socket_are_no_output(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    graph = {**GRAPH, "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
    run = asyncio.create_task(session.run_prompt(str(uuid4()), graph))
    (prompt,) = await server.posted()
    await server.begin(prompt)
    await server.say(prompt, "executing", node="2")
    await server.sockets[prompt.client_id].send_bytes(b"\0\0\0\1\0\0\0\2pixels")
    server.drop_sockets()
    await reconnected(server, session)
    await server.end(prompt)
    with pytest.raises(NoOutput):
        await run


async def test_a_connection_that_dies_within_a_binary_frame(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, prompt = await launch(server, session)
    # A frame that announces 65536 bytes and brings three.
    server.transports[-1].write(b"\x82\x7f" + (65536).to_bytes(8, "big") + b"abc")
    await asyncio.sleep(0.02)
    server.drop_sockets()
    await server.end(prompt, outputs={"2": PICTURE})
    assert (await run).outputs == (FILE,)


async def test_two_prompts_survive_one_lost_socket(server: ScriptedComfyUI, session: InstanceSession) -> None:
    runs = [asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH)) for _ in range(2)]
    one, two = await server.posted(2)
    await server.begin(one)
    server.drop_sockets()
    await server.end(one, outputs={"2": PICTURE})
    await reconnected(server, session)
    await server.begin(two)
    await server.end(two, outputs={"2": PICTURE})
    assert [result.outputs for result in await asyncio.gather(*runs)] == [(FILE,), (FILE,)]


async def test_a_nameless_preview_belongs_to_what_runs(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    heard: list[Any] = []
    run, prompt = await launch(server, session, heard.append)
    await server.say(prompt, "executing", node="1")
    await server.sockets[prompt.client_id].send_bytes(b"\0\0\0\1\0\0\0\1jpeg")
    await server.end(prompt, outputs={"2": PICTURE})
    await run
    assert heard == [NodeStarted(prompt.id, "1"), Preview(prompt.id, "1", "image/jpeg", b"jpeg")]


async def test_closing_lets_go_of_what_runs(server: ScriptedComfyUI) -> None:
    session = InstanceSession(server.url, settings=SETTINGS)
    await session.start()
    run, prompt = await launch(server, session)
    await session.close()
    with pytest.raises(InstanceGone, match="closed"):
        await run
    assert prompt.id in server.running
    with pytest.raises(InstanceGone):
        await session.get_queue_depth()


async def test_no_server_at_all() -> None:
    async with InstanceSession("http://127.0.0.1:9", settings=SETTINGS) as session:
        with pytest.raises(InstanceGone):
            await session.wait_connected(0.2)
        assert not session.is_connected


@pytest.mark.parametrize("url", ["", "127.0.0.1:8188", "ftp://host", "http://"])
def test_rejects_invalid_addresses(url: str) -> None:
    with pytest.raises(ValueError, match="instance URL must be"):
        InstanceSession(url)
