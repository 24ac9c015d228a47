"""Server-sent events (SSE): a streaming response with heartbeats."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from comfy_instances.tasks import spawn

#: Seconds between heartbeats. Proxies close connections that are idle for longer.
HEARTBEAT_SECONDS = 15.0
#: How long the last event of a stream that is ended early may take.
LAST_EVENT_SECONDS = 2.0
EVENT_STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


class EventStream:
    """Writes server-sent events to a response."""

    def __init__(self, response: web.StreamResponse, transport: asyncio.Transport | None) -> None:
        self._response = response
        self._transport = transport

    async def send(
        self,
        event: str | None,
        data: Mapping[str, Any],
        *,
        event_id: int | None = None,
        retry_milliseconds: int | None = None,
    ) -> None:
        """Send one event. Raises ConnectionError when the client has disconnected.

        `event_id` comes back as `Last-Event-ID` when the client reconnects; `retry_milliseconds` is how long
        it waits before that.
        """
        text = await asyncio.to_thread(json.dumps, data)
        fields = {"retry": retry_milliseconds, "id": event_id, "event": event, "data": text}
        lines = [f"{field}: {value}\n" for field, value in fields.items() if value is not None]
        await self._response.write("".join([*lines, "\n"]).encode())

    async def send_text(self, event: str | None, text: str, *, event_id: str | None = None) -> None:
        """Send one event whose data is text, in as many lines as it has. Raises ConnectionError."""
        fields = [("id", event_id), ("event", event), *(("data", line) for line in text.split("\n"))]
        lines = [f"{field}: {value}\n" for field, value in fields if value is not None]
        await self._response.write("".join([*lines, "\n"]).encode())

    async def send_last(self, event: str, data: Mapping[str, Any], *, event_id: int | None = None) -> None:
        """Send the event after which the stream ends; cut the connection of a client that does not read."""
        try:
            async with asyncio.timeout(LAST_EVENT_SECONDS):
                await self.send(event, data, event_id=event_id)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()

    async def send_heartbeats(self, interval_seconds: float) -> None:
        """Send a comment every `interval_seconds` until the client disconnects."""
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(interval_seconds)
                await self._response.write(b": heartbeat\n\n")


@asynccontextmanager
async def open_event_stream(
    request: web.Request, headers: Mapping[str, str], *, heartbeat_seconds: float = HEARTBEAT_SECONDS
) -> AsyncIterator[tuple[web.StreamResponse, EventStream]]:
    """Start a streaming response. The status is sent here, so later errors can only be sent as events."""
    response = web.StreamResponse(headers={**EVENT_STREAM_HEADERS, **headers})
    await response.prepare(request)
    stream = EventStream(response, request.transport)
    heartbeat = spawn(stream.send_heartbeats(heartbeat_seconds), "event stream heartbeat")
    try:
        yield response, stream
    finally:
        heartbeat.cancel()
