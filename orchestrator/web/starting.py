"""The HTTP server of a service that starts: it answers probes, and says what is missing."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from orchestrator.errors import ServiceUnavailable
from orchestrator.web.error_response import build_error_response
from orchestrator.web.health import LivenessResponse, ReadinessResponse
from orchestrator.web.http.response_model import json_response

#: Seconds after which callers may try again, and in which object storage must answer.
RETRY_AFTER_SECONDS, STORAGE_SECONDS = 2, 3.0


@asynccontextmanager
async def starting_site(listeners: Sequence[socket.socket], storage_url: str | None) -> AsyncIterator[None]:
    """Answer `/healthz` with 200 and everything else with 503 on sockets that go on listening afterwards.

    `storage_url` is the S3 server that the start waits for; None for an embedded one.
    """
    app = web.Application()
    site = _StartingRoutes(storage_url)
    app.add_routes([web.get("/healthz", site.get_liveness), web.get("/readyz", site.get_readiness)])
    app.add_routes([web.get("/metrics", site.export_nothing), web.route("*", "/{path:.*}", site.refuse)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        for listener in listeners:
            await web.SockSite(runner, listener.dup()).start()
        yield
    finally:
        await runner.cleanup()


class _StartingRoutes:
    """What is answered before the service runs."""

    def __init__(self, storage_url: str | None) -> None:
        self._storage_url = storage_url

    async def get_liveness(self, request: web.Request) -> web.Response:
        return json_response(LivenessResponse(status="ok"))

    async def get_readiness(self, request: web.Request) -> web.Response:
        storage = await self._does_storage_respond()
        missing = ["the service is starting"]
        if not storage:
            missing.insert(0, f"object storage at {self._storage_url or 'its own server'} does not respond")
        body = ReadinessResponse(
            status="not ready",
            instances_ready=0,
            object_store=storage,
            # A start without its database ends.
            database=True,
            missing=missing,
        )
        return json_response(body, status=503)

    async def export_nothing(self, request: web.Request) -> web.Response:
        return web.Response(body=b"", headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def refuse(self, request: web.Request) -> web.Response:
        error = ServiceUnavailable("The service is starting; retry later", retry_after=RETRY_AFTER_SECONDS)
        return build_error_response(request.path, error)

    async def _does_storage_respond(self) -> bool:
        """Return whether the S3 server answers, if only to refuse a request without a signature."""
        if self._storage_url is None:
            return False
        timeout = aiohttp.ClientTimeout(total=STORAGE_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(self._storage_url) as response,
            ):
                return response.status < 500
        except (TimeoutError, aiohttp.ClientError, ValueError):
            return False
