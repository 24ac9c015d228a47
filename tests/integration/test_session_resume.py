"""A session after a crash of ours: what became of the prompts that an earlier one sent?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from comfy_instances.protocol.errors import PromptCancelled
from comfy_instances.session.session import FileRef, InstanceSession, NodeOutput, NodeStarted
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


async def test_after_our_crash_a_running_prompt_is_followed_to_its_end(server: ScriptedComfyUI) -> None:
    async with InstanceSession(server.url, settings=SETTINGS) as crashed:
        lost, prompt = await launch(server, crashed)
        lost.cancel()
    heard: list[Any] = []
    async with InstanceSession(server.url, settings=SETTINGS) as session:
        await session.wait_connected(TIMEOUT_SECONDS)
        resumed = asyncio.create_task(session.resume_prompt(prompt.id, heard.append))
        await eventually(lambda: [i for i in server.client_ids if i == prompt.client_id], 2)
        await session.wait_connected(TIMEOUT_SECONDS)
        await server.say(prompt, "executing", node="2")
        await server.end(prompt, outputs={"2": PICTURE})
        result = await resumed
        assert result is not None
        assert result.outputs == (FILE,)
        assert heard == [NodeStarted(prompt.id, "2")]


async def test_resumes_running_and_queued_prompts_after_a_crash(
    server: ScriptedComfyUI,
) -> None:
    async with InstanceSession(server.url, settings=SETTINGS) as crashed:
        runs = [asyncio.create_task(crashed.run_prompt(str(uuid4()), GRAPH)) for _ in range(2)]
        one, two = await server.posted(2)
        await server.begin(one)
        for run in runs:
            run.cancel()
    async with InstanceSession(server.url, settings=SETTINGS) as session:
        resumed = [asyncio.create_task(session.resume_prompt(prompt.id)) for prompt in (one, two)]
        await eventually(lambda: [i for i in server.client_ids if i == one.client_id], 2)
        fresh = asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH))
        await server.posted(3)
        for prompt in await server.posted(3):
            await server.say(prompt, "executed", node="2", output=PICTURE)
            await server.end(prompt, outputs={"2": PICTURE})
        results = await asyncio.gather(*resumed, fresh)
        assert [result and result.outputs for result in results] == [(FILE,)] * 3


async def test_a_resumed_prompt_takes_no_messages_from_one_that_runs(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, prompt = await launch(server, session)
    foreign = ScriptedPrompt(str(uuid4()), GRAPH, "somebody")
    server.pending[foreign.id] = foreign
    resumed = asyncio.create_task(session.resume_prompt(foreign.id))
    await eventually(lambda: [r for r in server.requests if r == "GET /queue"], 2)
    assert len(server.client_ids) == 1
    for each in (prompt, foreign):
        await server.end(each, outputs={"2": PICTURE})
    assert (await run).outputs == (FILE,)
    result = await resumed
    assert result is not None
    assert result.outputs == (FILE,)


async def test_after_our_crash_an_ended_prompt_is_read_from_history(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    run, prompt = await launch(server, session)
    await server.end(prompt, outputs={"2": PICTURE})
    result = await run
    assert await session.resume_prompt(prompt.id) == result


async def test_an_interrupted_prompt_is_reported_after_a_crash(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    prompt = ScriptedPrompt(str(uuid4()), GRAPH, "somebody")
    await server.end(prompt, "execution_interrupted", node_id="1", node_type="EmptyImage")
    with pytest.raises(PromptCancelled):
        await session.resume_prompt(prompt.id)


async def test_after_our_crash_an_unknown_prompt_is_unknown(session: InstanceSession) -> None:
    assert await session.resume_prompt(str(uuid4())) is None


async def test_finds_outputs_without_messages_before_and_after_a_crash(
    server: ScriptedComfyUI, session: InstanceSession
) -> None:
    graph = {"1": {"class_type": "SaveLoRA", "inputs": {"lora": ["0", 0], "prefix": "loras/pf"}}}
    run = asyncio.create_task(session.run_prompt(str(uuid4()), graph))
    (prompt,) = await server.posted()
    await server.begin(prompt)
    await server.end(prompt)
    result = await run
    file = FileRef(f"pf-{prompt.id}_00001_.safetensors", "loras", "output")
    assert result.outputs == (NodeOutput("1", "files", file),)
    assert await session.resume_prompt(prompt.id) == result
