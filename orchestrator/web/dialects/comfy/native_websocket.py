"""ComfyUI's websocket: messages about the graphs that a client has sent."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from time import time
from typing import Any
from uuid import uuid4

from aiohttp import WSCloseCode, WSMsgType, web

from orchestrator.errors import ServiceError
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.jobs.events import (
    JobChanged,
    JobEvent,
    ShardPreview,
    ShardProgress,
    ShardStarted,
    Subscription,
)
from orchestrator.web.auth import AUTH_CONTEXT, get_stream_access
from orchestrator.web.dialects.comfy.graph_jobs import GraphJobs, authenticate_graphs, read_texts
from orchestrator.web.dialects.comfy.native_views import (
    client_id,
    execution_error,
    outputs_by_node,
    prompt_id,
)
from orchestrator.web.http.socket_tasks import SocketTasks
from orchestrator.web.http.stream_access import StreamAccess, end_on_revocation
from orchestrator.web.jobs.job_updates import JobUpdate, JobUpdates
from orchestrator.web.openapi.operation import openapi_operation

log = logging.getLogger(__name__)

#: Seconds between two looks for graphs of the client that other processes have accepted.
POLL_SECONDS = 2.0
HEARTBEAT_SECONDS = 30.0
#: Largest message of a client, in bytes.
MAX_MESSAGE_BYTES = 64 * 1024
FEATURES = {"supports_preview_metadata": False, "max_upload_size": 100 * 2**20}
#: Event number of a preview in a binary message, and its formats.
_PREVIEW, _FORMATS = 1, {"image/jpeg": 1, "image/png": 2}
Message = str | bytes


@dataclass(slots=True, eq=False)
class _Client:
    """An open socket."""

    account_id: str
    id: str
    socket: web.WebSocketResponse
    tasks: SocketTasks = field(default_factory=SocketTasks)
    #: Jobs whose messages it receives.
    followed: set[str] = field(default_factory=set)


class NodeSubscription(Subscription):
    """Keeps the latest progress of every node until it is read, so that no node is left out."""

    def slot(self, event: JobEvent) -> Hashable:
        """Return the key by which a newer event replaces an older one."""
        node = event.node_id if isinstance(event, ShardProgress) else ""
        return super().slot(event), node


class ClientWebSockets:
    """The open sockets of this process."""

    def __init__(self, jobs: GraphJobs, updates: JobUpdates) -> None:
        self._jobs = jobs
        self._updates = updates
        self._clients: set[_Client] = set()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/ws", self.open_websocket), web.get("/api/ws", self.open_websocket)]

    def follow(self, record: JobRecord) -> None:
        """Tell the sockets of the client that sent a graph what becomes of it."""
        for client in list(self._clients):
            if (client.account_id, client.id) == (record.job.account_id, client_id(record)):
                self._follow(client, record)

    @openapi_operation(response_description="A websocket.", content_types=(), status=101, tag="comfy")
    async def open_websocket(self, request: web.Request) -> web.StreamResponse:
        """Stream messages about the graphs of `clientId` over ComfyUI's websocket.

        Where a browser cannot send headers, the key is the query parameter `token`.
        """
        key = await authenticate_graphs(request)
        access, open_streams = get_stream_access(request), request.app[AUTH_CONTEXT].open_streams
        async with open_streams.count(key.account.id):
            socket = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=MAX_MESSAGE_BYTES)
            await socket.prepare(request)
            id = request.query.get("clientId", "")[:200] or uuid4().hex
            client = _Client(key.account.id, id, socket)
            self._clients.add(client)
            try:
                await self._serve_until_revoked(client, access)
            finally:
                self._clients.discard(client)
                client.tasks.cancel()
                await socket.close()
        return socket

    async def _serve_until_revoked(self, client: _Client, access: StreamAccess) -> None:
        with suppress(ServiceError, ConnectionError):
            async with end_on_revocation(access):
                await self._serve(client)

    async def _serve(self, client: _Client) -> None:
        unfinished = await self._own_jobs(client)
        status = {"exec_info": {"queue_remaining": len(unfinished)}}
        await client.socket.send_str(_message("status", {"status": status, "sid": client.id}))
        for record in unfinished:
            self._follow(client, record)
        client.tasks.start(self._close_with_service(client), "end of a socket")
        client.tasks.start(self._look_for_jobs(client), "graphs of a socket")
        async for message in client.socket:
            if message.type is WSMsgType.TEXT and '"feature_flags"' in message.data:
                await client.socket.send_str(_message("feature_flags", FEATURES))

    async def _close_with_service(self, client: _Client) -> None:
        """Close the socket when the service stops: it then ends all subscriptions."""
        with self._updates.events.subscribe(f"socket {uuid4().hex}") as subscription:
            async for _ in subscription:
                pass
        await client.socket.close(code=WSCloseCode.GOING_AWAY)

    async def _look_for_jobs(self, client: _Client) -> None:
        """Follow what other processes have accepted for the client."""
        while not client.socket.closed:
            await asyncio.sleep(POLL_SECONDS)
            with suppress(ServiceError):
                for record in await self._own_jobs(client):
                    self._follow(client, record)

    async def _own_jobs(self, client: _Client) -> list[JobRecord]:
        found: list[JobRecord] = []
        for status in (JobStatus.RUNNING, JobStatus.QUEUED):
            found += (await self._jobs.list(client.account_id, 100, None, status)).items
        return [record for record in found if client_id(record) == client.id]

    def _follow(self, client: _Client, record: JobRecord) -> None:
        if record.job.id not in client.followed:
            client.followed.add(record.job.id)
            client.tasks.start(self._report(client, record.job.id), "messages of a graph")

    async def _report(self, client: _Client, job_id: str) -> None:
        """Send the messages about one job, from now to its end."""
        reporter = PromptReporter()
        with suppress(ServiceError, ConnectionError):
            async with aclosing(
                self._updates.stream(client.account_id, job_id, NodeSubscription())
            ) as updates:
                await self._send_all(client, reporter, updates)

    async def _send_all(
        self, client: _Client, reporter: PromptReporter, updates: AsyncIterator[JobUpdate]
    ) -> None:
        async for update in updates:
            if isinstance(update, JobChanged) and update.record.job.is_finished:
                reporter.texts = await read_texts(self._jobs, update.record)
            for message in reporter.to_messages(update):
                if isinstance(message, bytes):
                    await client.socket.send_bytes(message)
                else:
                    await client.socket.send_str(message)


class PromptReporter:
    """Turns the updates of one job into ComfyUI's messages, in its order. Pure but for timestamps."""

    def __init__(self) -> None:
        self._record: JobRecord | None = None
        self._has_started = False
        self._node: str | None = None
        #: Text results by their keys.
        self.texts: dict[str, str] = {}

    def to_messages(self, update: JobUpdate) -> Iterator[Message]:
        """Yield the messages that an update causes."""
        match update:
            case JobChanged(record=record):
                self._record = record
                yield from self._changed(record)
            case ShardStarted():
                yield from self._start()
            case ShardProgress():
                yield from self._start()
                yield from self._progress(update)
            case ShardPreview(content_type=content_type, data=data) if content_type in _FORMATS:
                yield struct.pack(">II", _PREVIEW, _FORMATS[content_type]) + data

    @property
    def _id(self) -> str:
        return prompt_id(self._record) if self._record else ""

    def _start(self) -> Iterator[Message]:
        if self._has_started:
            return
        self._has_started = True
        yield _message("status", {"status": {"exec_info": {"queue_remaining": 1}}})
        yield _message("execution_start", {"prompt_id": self._id, "timestamp": int(time() * 1000)})
        yield _message(
            "execution_cached", {"nodes": [], "prompt_id": self._id, "timestamp": int(time() * 1000)}
        )

    def _progress(self, update: ShardProgress) -> Iterator[Message]:
        node, id = update.node_id, self._id
        state = {
            "node_id": node, "prompt_id": id, "display_node_id": node, "parent_node_id": None,
            "real_node_id": node,
            "value": update.value, "max": update.maximum, "state": "running",
        }  # fmt: skip
        yield _message("progress_state", {"prompt_id": id, "nodes": {node: state}})
        if node != self._node:
            self._node = node
            yield _message("executing", {"node": node, "display_node": node, "prompt_id": id})
        if update.maximum > 1:
            steps = {"value": update.value, "max": update.maximum}
            yield _message("progress", {**steps, "prompt_id": id, "node": node})

    def _changed(self, record: JobRecord) -> Iterator[Message]:
        if not record.job.is_finished:
            if record.job.status is JobStatus.RUNNING:
                yield from self._start()
            return
        yield from self._start()
        end = {"prompt_id": self._id, "timestamp": int(time() * 1000)}
        if record.job.status is JobStatus.SUCCEEDED:
            for node, output in outputs_by_node(record, self.texts).items():
                body = {"node": node, "display_node": node, "output": output, "prompt_id": self._id}
                yield _message("executed", body)
            yield _message("execution_success", end)
        elif record.job.status is JobStatus.CANCELLED:
            yield _message(
                "execution_interrupted", end | {"node_id": self._node or "", "node_type": "", "executed": []}
            )
        else:
            yield _message("execution_error", end | execution_error(record))
        yield _message("status", {"status": {"exec_info": {"queue_remaining": 0}}})
        yield _message("executing", {"node": None, "prompt_id": self._id})


def _message(type: str, data: dict[str, Any]) -> str:
    return json.dumps({"type": type, "data": data})
