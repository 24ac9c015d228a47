"""Server-sent events: one answer in pieces, kept alive while there is nothing to tell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

#: Seconds of silence after which proxies on the way might think the connection dead.
HEARTBEAT_SECONDS = 15.0
EVENT_STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


class EventStream:
    """The sending side."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response

    async def send(
        self,
        event: str,
        data: Mapping[str, Any],
        *,
        event_id: int | None = None,
        retry_milliseconds: int | None = None,
    ) -> None:
        """One event. `id` is what a reader who comes back says it has seen, `retry_milliseconds` after how
        many
        milliseconds it may come. Raises ConnectionError where nobody listens any more."""
        text = await asyncio.to_thread(json.dumps, data)
        fields = {"retry": retry_milliseconds, "id": event_id, "event": event, "data": text}
        lines = [f"{field}: {value}\n" for field, value in fields.items() if value is not None]
        await self._response.write("".join([*lines, "\n"]).encode())

    async def send_heartbeats(self, interval_seconds: float) -> None:
        """Says nothing, again and again."""
        with suppress(ConnectionError):
            while True:
                await asyncio.sleep(interval_seconds)
                await self._response.write(b": still here\n\n")


@asynccontextmanager
async def open_event_stream(
    request: web.Request, headers: Mapping[str, str], *, heartbeat_seconds: float = HEARTBEAT_SECONDS
) -> AsyncIterator[tuple[web.StreamResponse, EventStream]]:
    """An answer that has begun: from here on, errors can only be events."""
    response = web.StreamResponse(headers={**EVENT_STREAM_HEADERS, **headers})
    await response.prepare(request)
    stream = EventStream(response)
    beat = asyncio.create_task(stream.send_heartbeats(heartbeat_seconds))
    try:
        yield response, stream
    finally:
        beat.cancel()
