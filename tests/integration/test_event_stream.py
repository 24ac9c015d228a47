"""The wire format of server-sent events."""

from __future__ import annotations

import asyncio

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler

from orchestrator.web.http.event_stream import open_event_stream


async def read_stream(handler: Handler) -> str:
    """Return everything that a client receives from the handler."""
    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server, ClientSession() as http, http.get(server.make_url("/")) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        return await response.text()


async def test_event_has_id_retry_name_and_data() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        async with open_event_stream(request, {}) as (response, stream):
            await stream.send(
                "job", {"text": "two\nlines \u2028 and more"}, event_id=7, retry_milliseconds=2000
            )
            await stream.send("progress", {})
        return response

    text = r"two\nlines \u2028 and more"
    first = f'retry: 2000\nid: 7\nevent: job\ndata: {{"text": "{text}"}}\n\n'
    assert await read_stream(handler) == f"{first}event: progress\ndata: {{}}\n\n"


async def test_heartbeats_are_sent_between_events() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        async with open_event_stream(request, {}, heartbeat_seconds=0.02) as (response, stream):
            await asyncio.sleep(0.2)
            await stream.send("end", {})
        return response

    *comments, event, rest = (await read_stream(handler)).split("\n\n")
    assert (event, rest) == ("event: end\ndata: {}", "")
    assert len(comments) >= 2
    assert all(comment.startswith(":") for comment in comments)
