"""`/internal/v1`: the scheduler's side of the connections of API processes."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol, TypeVar

from aiohttp import WSMsgType, web
from pydantic import BaseModel, ValidationError

from comfy_instances.fleet.protocol import InstanceInfo
from comfy_instances.tasks import spawn
from orchestrator.catalog.checks.graph_checks import GraphProblem
from orchestrator.errors import InvalidRequest, NotAuthenticated
from orchestrator.execution.instances.capacity import Capacity
from orchestrator.execution.live.link import CAPACITY_PATH, LIVE_PATH, LORAS_PATH, PING_SECONDS
from orchestrator.execution.live.messages import (
    MAX_MESSAGE_BYTES,
    CallersMessage,
    CapacityRequest,
    CapacityResponse,
    FleetMessage,
    FleetSnapshot,
    GraphProblems,
    GraphQuestion,
    InstanceSnapshot,
    JobChangedMessage,
    LoraArchitectures,
    LoraNames,
    ShardMessage,
    WaitMessage,
)
from orchestrator.execution.live.remote_graphs import GRAPH_PROBLEMS_PATH, NODE_FACTS_PATH
from orchestrator.execution.live.waiting_callers import WaitingCallers
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs.events import (
    EventHub,
    JobChanged,
    JobEvent,
    ShardPreview,
    ShardProgress,
    ShardStarted,
    Subscription,
)
from orchestrator.own_graphs.model import OwnGraphModel, own_graph_model
from orchestrator.web.auth import bearer_token, is_secret
from orchestrator.web.http.bodies import allow_large_body, read_body

M = TypeVar("M", bound=BaseModel)
#: How often fleet and waiting times are compared with what API processes know, in seconds.
UPDATE_SECONDS = 0.5


class CapacitySource(Protocol):
    """The part of the dispatcher that knows how soon a job could start."""

    async def find_capacity(self, account_id: str, model: str) -> Capacity: ...


class InstanceList(Protocol):
    """The part of the fleet that lists its instances."""

    def instances(self) -> list[InstanceInfo]: ...


class GraphInstances(Protocol):
    """What the instances say of callers' own graphs."""

    async def find_problems(self, model: OwnGraphModel) -> Sequence[GraphProblem]: ...

    async def node_facts(self) -> Mapping[str, Any] | None: ...


class LoraReader(Protocol):
    """Reads what shared LoRAs fit."""

    async def read_architectures(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSources:
    """What the scheduler tells API processes about."""

    events: EventHub
    scheduler: Scheduler
    capacity: CapacitySource
    fleet: InstanceList
    loras: LoraReader
    callers: WaitingCallers
    graphs: GraphInstances

    def fleet_snapshot(self) -> FleetSnapshot:
        """Return what API processes may know of the fleet now."""
        now, infos = monotonic(), self.fleet.instances()
        scheduled = self.scheduler.instances
        expected = [one for one in scheduled.values() if one.is_expected(now)]
        return FleetSnapshot(
            instances=tuple(
                InstanceSnapshot(info=info, loras=known.loras, models=known.served_models or frozenset())
                if (known := scheduled.get(info.id))
                else InstanceSnapshot(info=info)
                for info in infos
            ),
            expects_instance=self.scheduler.expects_instance(now),
            expected_models=self.scheduler.future_models.union(
                *(one.served_models or () for one in expected)
            ),
        )


class LiveRoutes:
    """The internal routes. All need the secret that the processes of an installation share."""

    def __init__(self, sources: LiveSources, secret: str) -> None:
        self._sources = sources
        self._secret = secret

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(LIVE_PATH, self.serve_websocket),
            web.post(CAPACITY_PATH, self.get_capacity),
            web.post(LORAS_PATH, self.get_lora_architectures),
            web.post(GRAPH_PROBLEMS_PATH, self.get_graph_problems),
            web.post(NODE_FACTS_PATH, self.get_node_facts),
        ]

    async def serve_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Send events and states until the API process disconnects."""
        self._require_secret(request)
        socket = web.WebSocketResponse(heartbeat=PING_SECONDS, max_msg_size=MAX_MESSAGE_BYTES)
        await socket.prepare(request)
        connection = _Connection(self._sources)
        tasks: set[asyncio.Task[None]] = set()
        spawn(connection.send_all(socket), "live messages", group=tasks)
        spawn(connection.run_updates(), "live updates", group=tasks)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    connection.set_callers(CallersMessage.model_validate_json(message.data))
        finally:
            connection.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return socket

    async def get_capacity(self, request: web.Request) -> web.Response:
        """Answer how soon a new job could start."""
        self._require_secret(request)
        asked = await _read(request, CapacityRequest)
        capacity = await self._sources.capacity.find_capacity(asked.account_id, asked.model)
        return _respond(CapacityResponse(capacity=capacity))

    async def get_lora_architectures(self, request: web.Request) -> web.Response:
        """Answer what shared LoRAs fit."""
        self._require_secret(request)
        asked = await _read(request, LoraNames)
        found = await self._sources.loras.read_architectures(asked.names)
        return _respond(LoraArchitectures(architectures=found))

    async def get_graph_problems(self, request: web.Request) -> web.Response:
        """Answer why no instance can run a caller's graph."""
        self._require_secret(request)
        asked = await _read(request, GraphQuestion)
        problems = await self._sources.graphs.find_problems(own_graph_model(asked.graph, asked.outputs))
        return _respond(GraphProblems(problems=tuple(problems)))

    async def get_node_facts(self, request: web.Request) -> web.Response:
        """Answer which node classes and weights there are."""
        self._require_secret(request)
        facts = await self._sources.graphs.node_facts()
        text = await asyncio.to_thread(lambda: json.dumps({"classes": facts}))
        return web.Response(text=text, content_type="application/json")

    def _require_secret(self, request: web.Request) -> None:
        if not is_secret(bearer_token(request), self._secret):
            raise NotAuthenticated(
                "Only the API processes of this installation may use internal routes; they have the same"
                " session secret as the scheduler",
                code="invalid_internal_secret",
            )
        allow_large_body(request)


class _Connection:
    """What waits to be sent to one API process; a newer message replaces an older one of its kind."""

    def __init__(self, sources: LiveSources) -> None:
        self._sources = sources
        self._pending: OrderedDict[Hashable, BaseModel] = OrderedDict()
        self._wake = asyncio.Event()
        self._followed: dict[str, ExitStack] = {}
        self._readers: dict[str, _Forwarding] = {}
        self._fleet: FleetSnapshot | None = None
        #: The latest waiting time of each job for which it is wanted; None before the first.
        self._estimates: dict[str, WaitMessage | None] = {}

    def set_callers(self, message: CallersMessage) -> None:
        """Follow the jobs that the process names, and no others."""
        self._sources.callers.set_awaited(self, message.awaited)
        previewed = message.followed if message.previewed is None else message.previewed
        for job_id in self._followed.keys() - message.followed:
            del self._readers[job_id]
            self._followed.pop(job_id).close()
        for job_id in self._followed:
            self._show_previews(job_id, job_id in previewed)
        for job_id in message.followed - self._followed.keys():
            self._follow(job_id, shows_previews=job_id in previewed)
        self._estimates = {job_id: self._estimates.get(job_id) for job_id in message.estimated}
        self._update_estimates()

    def _follow(self, job_id: str, *, shows_previews: bool) -> None:
        reader = self._readers[job_id] = _Forwarding(self, job_id)
        reader.shows_previews = shows_previews
        stack = self._followed[job_id] = ExitStack()
        stack.enter_context(self._sources.events.subscribe(job_id, reader))
        for event in self._sources.events.latest_events(job_id):
            reader.put(event)

    def _show_previews(self, job_id: str, shows_previews: bool) -> None:
        """Pass previews of a followed job on, or no longer; the latest one at once."""
        reader = self._readers[job_id]
        if reader.shows_previews == shows_previews:
            return
        reader.shows_previews = shows_previews
        self._sources.events.on_listeners_changed(job_id)
        for event in self._sources.events.latest_events(job_id):
            if isinstance(event, ShardPreview):
                reader.put(event)

    def close(self) -> None:
        """Follow nothing any more."""
        self._sources.callers.remove(self)
        for stack in self._followed.values():
            stack.close()

    def put_event(self, job_id: str, event: JobEvent) -> None:
        """Send an event of a followed job."""
        match event:
            case JobChanged():
                self._put(("changed", job_id), JobChangedMessage(job_id=job_id))
            case ShardStarted():
                self._put(("started", job_id, event.index), ShardMessage(job_id=job_id, started=event))
                if job_id in self._estimates:
                    self._update_estimate(job_id)
            case ShardProgress():
                self._put(("progress", job_id, event.index), ShardMessage(job_id=job_id, progress=event))
            case ShardPreview():
                self._put(("preview", job_id, event.index), ShardMessage(job_id=job_id, preview=event))

    async def run_updates(self) -> None:
        """Send fleet and waiting times whenever they have changed."""
        while True:
            fleet = self._sources.fleet_snapshot()
            if fleet != self._fleet:
                self._fleet = fleet
                self._put("fleet", FleetMessage(fleet=fleet))
            self._update_estimates()
            await asyncio.sleep(UPDATE_SECONDS)

    async def send_all(self, socket: web.WebSocketResponse) -> None:
        """Send what waits, until the connection ends."""
        with suppress(ConnectionError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._pending:
                    _, message = self._pending.popitem(last=False)
                    await socket.send_str(message.model_dump_json())

    def _update_estimates(self) -> None:
        for job_id in self._estimates:
            self._update_estimate(job_id)

    def _update_estimate(self, job_id: str) -> None:
        estimate = self._sources.scheduler.estimate_job_wait(job_id, monotonic())
        message = WaitMessage(job_id=job_id, estimate=estimate)
        if self._estimates[job_id] != message:
            self._estimates[job_id] = message
            self._put(("wait", job_id), message)

    def _put(self, slot: Hashable, message: BaseModel) -> None:
        self._pending.pop(slot, None)
        self._pending[slot] = message
        self._wake.set()


class _Forwarding(Subscription):
    """Passes the events of a job to a connection, whose process reads ends from the store."""

    finds_end = True

    def __init__(self, connection: _Connection, job_id: str) -> None:
        super().__init__()
        self._connection = connection
        self._job_id = job_id

    def put(self, event: JobEvent) -> None:
        if self.shows_previews or not isinstance(event, ShardPreview):
            self._connection.put_event(self._job_id, event)


async def _read(request: web.Request, model: type[M]) -> M:
    try:
        return model.model_validate_json(await read_body(request))
    except ValidationError as error:
        raise InvalidRequest(f"Not a {model.__name__}", code="invalid_body") from error


def _respond(message: BaseModel) -> web.Response:
    return web.Response(text=message.model_dump_json(), content_type="application/json")
