"""API processes pass requests of operators on to the scheduler, streams of events as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.web.internal.forwarding import ForwardedRoutes

TOKEN = "token-of-the-operators"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Scheduler:
    """What the scheduler was asked, and when its stream may go on."""

    url: str
    http: aiohttp.ClientSession


class Routes:
    """A stream, and a file for download."""

    def __init__(self) -> None:
        self.may_go_on = asyncio.Event()
        self.operators: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/fleet/live", self.stream),
            web.get("/admin/v1/jobs/{id}/graph", self.download),
        ]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: fleet\ndata: 1\n\n")
        await self.may_go_on.wait()
        await response.write(b"event: changed\ndata: 2\n\n")
        return response

    async def download(self, request: web.Request) -> web.Response:
        self.operators.append(request.headers.get("X-Operator", ""))
        headers = {"Content-Disposition": 'attachment; filename="a.json"'}
        return web.json_response({"1": {}}, headers=headers)


@asynccontextmanager
async def serving(group: Routes) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(group.routes())
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@pytest.fixture
async def scheduler() -> Routes:
    return Routes()


@asynccontextmanager
async def forwarding(scheduler: Routes) -> AsyncIterator[str]:
    """The URL of a process that passes everything on."""
    async with serving(scheduler) as url, aiohttp.ClientSession() as http:
        routes = ForwardedRoutes([scheduler], Scheduler(url, http), TOKEN)
        app = web.Application()
        app.add_routes(routes.routes())
        server = TestServer(app)
        await server.start_server()
        try:
            yield str(server.make_url("")).rstrip("/")
        finally:
            await server.close()


async def test_passes_a_stream_on_while_it_lasts(scheduler: Routes) -> None:
    async with (
        forwarding(scheduler) as url,
        aiohttp.request("GET", f"{url}/admin/v1/fleet/live", headers=HEADERS) as response,
    ):
        assert response.content_type == "text/event-stream"
        first = await response.content.readuntil(b"\n\n")
        assert first == b"event: fleet\ndata: 1\n\n"
        scheduler.may_go_on.set()
        assert await response.content.read() == b"event: changed\ndata: 2\n\n"


async def test_passes_on_who_asks_and_how_a_file_is_named(scheduler: Routes) -> None:
    async with (
        forwarding(scheduler) as url,
        aiohttp.request(
            "GET", f"{url}/admin/v1/jobs/a/graph", headers={**HEADERS, "X-Operator": "alice"}
        ) as response,
    ):
        assert "a.json" in response.headers["Content-Disposition"]
        assert await response.json() == {"1": {}}
    assert scheduler.operators == ["alice"]
