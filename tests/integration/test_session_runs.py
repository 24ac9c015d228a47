"""A session with a server that behaves: runs, failures, cancelling, files, and how little it asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from comfy_instances.protocol.delivery import DeliveredFile
from comfy_instances.protocol.errors import (
    BadGraph,
    InstanceGone,
    NodeFailed,
    NoOutput,
    OutOfMemory,
    PromptCancelled,
)
from comfy_instances.session.deliveries import UploadGrant
from comfy_instances.session.session import (
    FileRef,
    InstanceSession,
    NodeOutput,
    NodeStarted,
    Preview,
    SessionSettings,
    StepProgress,
)
from tests.support.polling import TIMEOUT_SECONDS
from tests.support.scripted_comfyui import FILE, GRAPH, PICTURE, ScriptedComfyUI, eventually

SETTINGS = SessionSettings(cancel_timeout_s=4.0, connect_timeout_s=5.0, max_output_bytes=3_000_000)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedComfyUI]:
    async with ScriptedComfyUI() as puppet:
        yield puppet


@pytest.fixture
async def session(server: ScriptedComfyUI) -> AsyncIterator[InstanceSession]:
    async with InstanceSession(server.url, settings=SETTINGS) as session:
        await session.wait_connected(TIMEOUT_SECONDS)
        yield session


def new_id() -> str:
    return str(uuid4())


async def test_a_run_asks_nothing_but_to_be_run(server: ScriptedComfyUI, session: InstanceSession) -> None:
    heard: list[Any] = []
    prompt_id = new_id()
    run = asyncio.create_task(session.run_prompt(prompt_id, GRAPH, heard.append))
    (prompt,) = await server.posted()
    await server.begin(prompt)
    await server.say(prompt, "execution_cached", nodes=["1"])
    await server.say(prompt, "executing", node="2")
    await server.say(prompt, "progress", node="2", value=1, max=4)
    await server.say(prompt, "executed", node="2", output=PICTURE)
    await server.end(prompt, outputs={"2": PICTURE})
    result = await run
    assert result.prompt_id == prompt_id == prompt.id
    assert result.outputs == (FILE,)
    assert result.gpu_seconds == 2.5
    assert result.cached == {"1"}
    assert heard == [NodeStarted(prompt_id, "2"), StepProgress(prompt_id, "2", 1, 4)]
    assert server.requests == ["POST /prompt"]


async def test_every_attempt_has_a_prefix_of_its_own(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    runs = [asyncio.create_task(session.run_prompt(new_id(), GRAPH)) for _ in range(2)]
    prompts = await server.posted(2)
    for prompt in prompts:
        assert prompt.graph["2"]["inputs"]["filename_prefix"] == f"pf-{prompt.id}"
        await server.end(prompt, outputs={"2": PICTURE})
    await asyncio.gather(*runs)


async def test_one_runs_while_one_waits(server: ScriptedComfyUI, session: InstanceSession) -> None:
    first = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (one,) = await server.posted()
    second = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    _, two = await server.posted(2)
    assert await session.get_queue_depth() == 2
    await server.begin(one)
    await server.say(one, "executed", node="2", output=PICTURE)
    await server.end(one)
    await first
    await server.begin(two)
    # The server's late word about the first prompt is not the end of the second.
    await server.say(one, "executing", node=None)
    await asyncio.sleep(0.05)
    assert not second.done()
    await server.say(two, "executed", node="2", output={"text": ["done"]})
    await server.end(two)
    assert (await second).outputs == (NodeOutput("2", "text", text="done"),)


async def test_a_late_message_does_not_claim_unnamed_images(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    heard: list[Any] = []
    first = asyncio.create_task(session.run_prompt(new_id(), GRAPH, heard.append))
    (one,) = await server.posted()
    second = asyncio.create_task(session.run_prompt(new_id(), GRAPH, heard.append))
    _, two = await server.posted(2)
    await server.begin(one)
    await server.say(one, "execution_success")
    await server.begin(two)
    await server.say(one, "executing", node=None)
    await server.sockets[two.client_id].send_bytes(b"\0\0\0\1\0\0\0\1jpeg")
    await eventually(lambda: heard, 1)
    for prompt in (one, two):
        await server.end(prompt, outputs={"2": PICTURE})
    await asyncio.gather(first, second)
    assert heard == [Preview(two.id, "", "image/jpeg", b"jpeg")]


async def test_a_cached_run_that_announces_nothing_is_read_from_history(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    await server.begin(prompt)
    await server.say(prompt, "execution_cached", nodes=["1", "2"])
    await server.end(prompt, outputs={"2": PICTURE})
    result = await run
    assert result.outputs == (FILE,)
    assert result.cached == {"1", "2"}


async def test_history_that_comes_after_the_last_word(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    await server.say(prompt, "execution_success")
    await eventually(lambda: [r for r in server.requests if r.startswith("GET /history")], 3)
    await server.end(prompt, outputs={"2": PICTURE})
    assert (await run).outputs == (FILE,)


async def test_success_without_outputs(server: ScriptedComfyUI, session: InstanceSession) -> None:
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    await server.end(prompt)
    with pytest.raises(NoOutput):
        await run


async def test_a_node_fails(server: ScriptedComfyUI, session: InstanceSession) -> None:
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    what = {"node_id": "2", "node_type": "SaveImage", "exception_type": "OSError"}
    await server.end(prompt, "execution_error", exception_message="No space left on device", **what)
    with pytest.raises(NodeFailed, match=r"node 2 \(SaveImage\): OSError: No space left"):
        await run


async def test_a_node_runs_out_of_memory(server: ScriptedComfyUI, session: InstanceSession) -> None:
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    await server.end(prompt, "execution_error", exception_type="torch.OutOfMemoryError")
    with pytest.raises(OutOfMemory):
        await run


async def test_a_refused_graph(server: ScriptedComfyUI, session: InstanceSession) -> None:
    async def refuse(request: web.Request) -> web.Response:
        error = {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""}
        return web.json_response({"error": error, "node_errors": {}}, status=400)

    server.answers["POST /prompt"] = refuse
    with pytest.raises(BadGraph, match="Prompt has no outputs") as caught:
        await session.run_prompt(new_id(), GRAPH)
    assert caught.value.error_type == "prompt_no_outputs"


async def test_a_graph_that_is_accepted_in_part_is_refused_and_taken_back(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    findings = {"3": {"class_type": "SaveImage", "errors": [{"type": "required_input_missing"}]}}

    async def accept_half(request: web.Request) -> web.Response:
        await server.take_prompt(request)
        (prompt,) = server.pending.values()
        await server.begin(prompt)
        return web.json_response({"prompt_id": prompt.id, "number": 0, "node_errors": findings})

    server.answers["POST /prompt"] = accept_half
    with pytest.raises(BadGraph, match=r"node 3 \(SaveImage\): required_input_missing") as caught:
        await session.run_prompt(new_id(), GRAPH)
    assert caught.value.node_errors == findings
    assert not server.running


async def test_a_graph_that_is_no_json(server: ScriptedComfyUI, session: InstanceSession) -> None:
    with pytest.raises(BadGraph, match="JSON"):
        await session.run_prompt(new_id(), {"1": {"class_type": "X", "inputs": {"cfg": float("nan")}}})
    assert server.requests == []


async def test_an_id_in_flight_is_not_used_twice(server: ScriptedComfyUI, session: InstanceSession) -> None:
    prompt_id = new_id()
    run = asyncio.create_task(session.run_prompt(prompt_id, GRAPH))
    (prompt,) = await server.posted()
    with pytest.raises(ValueError, match="in flight"):
        await session.run_prompt(prompt_id, GRAPH)
    await server.end(prompt, outputs={"2": PICTURE})
    await run


async def test_a_waiting_prompt_is_cancelled(server: ScriptedComfyUI, session: InstanceSession) -> None:
    prompt_id = new_id()
    run = asyncio.create_task(session.run_prompt(prompt_id, GRAPH))
    await server.posted()
    await session.cancel_prompt(prompt_id)
    assert server.pending == {}
    assert "POST /interrupt" not in server.requests
    with pytest.raises(PromptCancelled):
        await run


async def test_a_running_prompt_is_cancelled_and_the_waiting_one_goes_on(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    first = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (one,) = await server.posted()
    await server.begin(one)
    second = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    _, two = await server.posted(2)
    await session.cancel_prompt(one.id)
    with pytest.raises(PromptCancelled):
        await first
    await server.begin(two)
    await server.end(two, outputs={"2": PICTURE})
    assert (await second).outputs == (FILE,)


async def test_a_prompt_that_ends_before_it_can_be_cancelled_has_ended(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    server.deafen()
    await server.end(prompt, outputs={"2": PICTURE})
    await session.cancel_prompt(prompt.id)
    assert (await run).outputs == (FILE,)


async def test_cancelling_an_unknown_prompt_is_no_error(session: InstanceSession) -> None:
    await session.cancel_prompt(new_id())


async def test_an_instance_that_does_not_let_go(server: ScriptedComfyUI, session: InstanceSession) -> None:
    server.obeys = False
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    await server.begin(prompt)
    with pytest.raises(InstanceGone, match="still on the instance"):
        await session.cancel_prompt(prompt.id)
    run.cancel()


async def test_a_cancel_that_overtakes_the_prompt(server: ScriptedComfyUI, session: InstanceSession) -> None:
    may_arrive = asyncio.Event()

    async def dawdle(request: web.Request) -> web.Response:
        await may_arrive.wait()
        return await server.take_prompt(request)

    server.answers["POST /prompt"] = dawdle
    prompt_id = new_id()
    run = asyncio.create_task(session.run_prompt(prompt_id, GRAPH))
    await eventually(lambda: server.requests, 1)
    await session.cancel_prompt(prompt_id)
    may_arrive.set()
    with pytest.raises(PromptCancelled):
        await run
    assert server.pending == {}


async def test_a_prompt_that_was_cancelled_before_its_submission_is_not_submitted(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    """Its input files were on their way."""
    prompt_id = new_id()
    await session.cancel_prompt(prompt_id)
    with pytest.raises(PromptCancelled):
        await session.run_prompt(prompt_id, GRAPH)
    assert "POST /prompt" not in server.requests


@pytest.mark.parametrize("on_request", [False, True])
async def test_a_closed_session_ends_the_wait_for_results(server: ScriptedComfyUI, on_request: bool) -> None:
    """The instance has ended; nothing is gained by further requests to it. Only what was not stopped on
    request may have been ended by the prompt."""
    asked = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    prompt_id = new_id()
    server.answers[f"POST /pixelfactory/delivery/{prompt_id}"] = never

    async def grant(file: DeliveredFile) -> UploadGrant:
        raise AssertionError(file)

    session = InstanceSession(server.url, settings=replace(SETTINGS, gone_after_s=3600.0))
    await session.start()
    waiting = asyncio.create_task(session.deliveries.collect(prompt_id, grant))
    await asked.wait()
    await session.close(self_inflicted=on_request)
    with pytest.raises(InstanceGone, match="before its results were delivered") as lost:
        await asyncio.wait_for(waiting, TIMEOUT_SECONDS)
    assert (lost.value.while_running, lost.value.self_inflicted) == (not on_request, on_request)


async def test_one_silence_on_the_results_of_a_prompt_is_enough(server: ScriptedComfyUI) -> None:
    """The request for them ends after the silence after which an instance is gone; no second one follows."""

    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def grant(file: DeliveredFile) -> UploadGrant:
        raise AssertionError(file)

    prompt_id = new_id()
    path = f"POST /pixelfactory/delivery/{prompt_id}"
    server.answers[path] = never
    settings = replace(SETTINGS, gone_after_s=0.2, delivery_wait_s=0.1)
    async with InstanceSession(server.url, settings=settings) as session:
        with pytest.raises(InstanceGone, match="before its results were delivered"):
            await session.deliveries.collect(prompt_id, grant)
    assert server.requests.count(path) == 1


async def test_a_raising_listener_does_not_affect_the_run(
    server: ScriptedComfyUI, session: InstanceSession, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: object) -> None:
        raise RuntimeError("listener")

    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH, broken))
    (prompt,) = await server.posted()
    await server.begin(prompt)
    await server.say(prompt, "executing", node="1")
    await server.say(prompt, "executed", node="2", output=PICTURE)
    await server.end(prompt)
    assert (await run).outputs == (FILE,)
    assert "listener" in caplog.text


async def test_messages_of_a_later_protocol_are_tolerated(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    await server.say(prompt, "crystools.monitor", cpu=99)
    await server.say(prompt, "executed", node=None)
    await server.sockets[prompt.client_id].send_str("not json")
    await server.sockets[prompt.client_id].send_bytes(b"\0\0\0\x63")
    await server.end(prompt, outputs={"2": PICTURE})
    assert (await run).outputs == (FILE,)


async def test_previews_are_asked_for_with_their_names(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    (told,) = await eventually(lambda: server.told, 1)
    flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
    assert json.loads(told) == flags


async def test_large_images_pass_through_the_socket(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    graph = {**GRAPH, "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
    run = asyncio.create_task(session.run_prompt(new_id(), graph))
    (prompt,) = await server.posted()
    await server.begin(prompt)
    await server.say(prompt, "executing", node="2")
    noise = bytes(range(256)) * 2**16
    await server.sockets[prompt.client_id].send_bytes(b"\0\0\0\1\0\0\0\2" + noise)
    await server.end(prompt)
    (output,) = (await run).outputs
    assert output.data == noise


async def test_discards_the_outputs_of_a_prompt(server: ScriptedComfyUI, session: InstanceSession) -> None:
    run = asyncio.create_task(session.run_prompt(new_id(), GRAPH))
    (prompt,) = await server.posted()
    await server.end(prompt, outputs={"2": PICTURE})
    await run
    await session.delete_history([prompt.id])
    assert server.history == {}


async def test_fetch_names_the_file_and_reads_all_of_it(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    content = bytes(range(256)) * 10_000
    asked: list[dict[str, str]] = []

    async def view(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        return web.Response(body=content)

    server.answers["GET /view"] = view
    assert await session.fetch_file(FileRef("ä b&c.png", "sub/dir", "temp")) == content
    assert asked == [{"filename": "ä b&c.png", "subfolder": "sub/dir", "type": "temp"}]


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_fetching_a_refused_file_is_no_output(
    server: ScriptedComfyUI, session: InstanceSession, status: int
) -> None:
    async def view(request: web.Request) -> web.Response:
        return web.Response(status=status)

    server.answers["GET /view"] = view
    with pytest.raises(NoOutput):
        await session.fetch_file(FileRef("a.png"))


async def test_fetch_stops_at_the_limit(server: ScriptedComfyUI, session: InstanceSession) -> None:
    sent = 0

    async def view(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(bytes(100_000))
            sent += 100_000
        return response

    server.answers["GET /view"] = view
    with pytest.raises(NoOutput, match="larger than the limit of 3000000 bytes"):
        await session.fetch_file(FileRef("a.mp4"))
    assert sent < 50_000_000


async def test_fetch_of_a_connection_that_breaks(server: ScriptedComfyUI, session: InstanceSession) -> None:
    async def view(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(bytes(10))
        assert request.transport is not None
        request.transport.abort()
        return response

    server.answers["GET /view"] = view
    with pytest.raises(InstanceGone):
        await session.fetch_file(FileRef("a.png"))


async def test_upload_returns_the_stored_name(server: ScriptedComfyUI, session: InstanceSession) -> None:
    got: list[tuple[str | None, str, bytes]] = []

    async def upload(request: web.Request) -> web.Response:
        image = (await request.post())["image"]
        assert isinstance(image, web.FileField)
        got.append((image.filename, image.content_type, image.file.read()))
        return web.json_response({"name": "in (1).png", "subfolder": "pf", "type": "input"})

    server.answers["POST /upload/image"] = upload
    assert await session.upload_input("in.png", b"pixels", "image/png") == "pf/in (1).png"
    assert got == [("in.png", "image/png", b"pixels")]


@pytest.mark.parametrize("status", [400, 413])
async def test_a_refused_upload(server: ScriptedComfyUI, session: InstanceSession, status: int) -> None:
    async def upload(request: web.Request) -> web.Response:
        return web.Response(status=status)

    server.answers["POST /upload/image"] = upload
    with pytest.raises(BadGraph):
        await session.upload_input("in.png", b"pixels", "image/png")
