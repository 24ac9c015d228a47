"""Instances make previews only for jobs whose previews a client is shown, also one of another process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from comfy_instances.session.session import InstanceSession
from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.execution.instances.capacity import Capacity
from orchestrator.execution.live.link import LIVE_PATH
from orchestrator.execution.live.messages import SCHEDULER_MESSAGES, CallersMessage, ShardMessage
from orchestrator.execution.live.mirror import FleetMirror
from orchestrator.execution.live.waiting_callers import WaitingCallers
from orchestrator.execution.results.preview_switch import PreviewSwitch
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs.events import EventHub, ShardPreview, ShardProgress, StateSubscription, Subscription
from orchestrator.own_graphs.model import OwnGraphModel
from orchestrator.web.dialects.openai.preview_stream import PreviewSelection
from orchestrator.web.internal.live_routes import LiveRoutes, LiveSources
from tests.support.polling import wait_until
from tests.support.scripted_comfyui import Handler, ScriptedComfyUI

SECRET = "shared-by-all-processes"
PROMPT = "0b6d3f3e-6f0c-4d3f-9a53-3d4a7a6f0009"


class Unasked:
    """What no process asks for here."""

    async def find_capacity(self, account_id: str, model: str) -> Capacity:
        raise AssertionError(f"asked for {model}")

    async def find_problems(self, model: OwnGraphModel) -> Sequence[GraphProblem]:
        raise AssertionError(f"asked for {model.id}")

    async def node_facts(self) -> Mapping[str, Any] | None:
        raise AssertionError("asked for node facts")


async def read_nothing(names: list[str]) -> dict[str, tuple[str, ...]]:
    return {}


def preview(byte: bytes) -> ShardPreview:
    return ShardPreview(index=0, content_type="image/jpeg", data=byte)


@pytest.fixture
async def events() -> EventHub:
    return EventHub()


@pytest.fixture
async def process(events: EventHub) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The connection of an API process to the scheduler."""
    fleet = FleetMirror(read_nothing)
    sources = LiveSources(
        events=events,
        scheduler=Scheduler(max_attempts=1),
        capacity=Unasked(),
        graphs=Unasked(),
        fleet=fleet,
        loras=fleet,
        callers=WaitingCallers(),
    )
    app = web.Application()
    app.add_routes(LiveRoutes(sources, SECRET).routes())
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(headers=headers) as http,
        http.ws_connect(server.make_url(LIVE_PATH)) as socket,
    ):
        yield socket


async def say(process: aiohttp.ClientWebSocketResponse, *followed: str, previewed: tuple[str, ...]) -> None:
    message = CallersMessage(
        followed=frozenset(followed), previewed=frozenset(previewed), awaited=frozenset()
    )
    await process.send_str(message.model_dump_json())


async def shards_until(
    process: aiohttp.ClientWebSocketResponse, is_last: Callable[[ShardMessage], bool]
) -> list[ShardMessage]:
    """Return what the process is sent of shards, up to a message."""
    found: list[ShardMessage] = []
    while not found or not is_last(found[-1]):
        message = SCHEDULER_MESSAGES.validate_json(await process.receive_str(timeout=60))
        if isinstance(message, ShardMessage):
            found.append(message)
    return found


async def test_previews_are_wanted_for_the_jobs_that_a_process_shows(
    events: EventHub, process: aiohttp.ClientWebSocketResponse
) -> None:
    await say(process, "shown", "followed", previewed=("shown",))
    await wait_until(lambda: events.has_preview_listeners("shown"))
    assert not events.has_preview_listeners("followed")
    events.publish("followed", preview(b"unseen"))
    progress = ShardProgress(index=0, node_id="3", value=1, maximum=2, fraction=0.5)
    events.publish("followed", progress)
    (message,) = await shards_until(process, lambda one: one.progress == progress)
    assert (message.job_id, message.preview) == ("followed", None)
    await say(process, "shown", "followed", previewed=("followed",))
    await wait_until(lambda: events.has_preview_listeners("followed"))
    assert not events.has_preview_listeners("shown")
    # The latest one at once, also if it was made for another process.
    (message,) = await shards_until(process, lambda one: one.preview is not None)
    assert message.preview == preview(b"unseen")
    await say(process, previewed=())
    await wait_until(lambda: events.previewed_job_ids() == set())


async def test_a_process_of_an_earlier_version_is_sent_previews_of_all_jobs(
    events: EventHub, process: aiohttp.ClientWebSocketResponse
) -> None:
    await process.send_str('{"type": "callers", "followed": ["job"], "awaited": []}')
    await wait_until(lambda: events.has_preview_listeners("job"))
    events.publish("job", preview(b"seen"))
    (message,) = await shards_until(process, lambda one: one.preview is not None)
    assert message.preview == preview(b"seen")


@pytest.mark.parametrize(
    ("reader", "shown"),
    [(Subscription(), True), (StateSubscription(), False)],
)
def test_who_only_follows_the_state_wants_no_previews(reader: Subscription, shown: bool) -> None:
    hub = EventHub()
    with hub.subscribe("job", reader):
        assert hub.previewed_job_ids() == ({"job"} if shown else set())


def test_a_stream_without_partial_images_wants_no_previews() -> None:
    hub = EventHub()
    for count, shown in ((0, False), (2, True)):
        with hub.subscribe("job", PreviewSelection(count)):
            assert hub.has_preview_listeners("job") is shown


class Switches:
    """Records the requests to an instance about the previews of a prompt; a test holds its responses back."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.answering = asyncio.Event()
        self.answering.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body: Mapping[str, Any] = await request.json()
        self.told.append(bool(body["listening"]))
        await self.answering.wait()
        return web.json_response({})


async def test_an_instance_is_told_only_what_it_does_not_know(events: EventHub) -> None:
    switches, switch = Switches(), PreviewSwitch(events)
    answers: dict[str, Handler] = {f"POST /pixelfactory/previews/{PROMPT}": switches.answer}
    async with ScriptedComfyUI(answers) as server, InstanceSession(server.url) as session:
        with switch.watch("job", PROMPT, session):
            with events.subscribe("job", StateSubscription()):
                assert switches.told == []
            with events.subscribe("job"), events.subscribe("job"):
                await wait_until(lambda: switches.told == [True])
            await wait_until(lambda: switches.told == [True, False])
            # Clients that come and go while it answers: what holds in the end arrives last.
            switches.answering.clear()
            with events.subscribe("job"):
                await wait_until(lambda: switches.told == [True, False, True])
            with events.subscribe("job"):
                pass
            switches.answering.set()
            await wait_until(lambda: switches.told == [True, False, True, False])
        with events.subscribe("job"), switch.watch("job", PROMPT, session):
            assert len(switches.told) == 4, "it was sent with the prompt"
        with events.subscribe("job"), switch.watch("job", PROMPT, session, is_resumed=True):
            await wait_until(lambda: switches.told[4:] == [True])
