"""The HTTP server of a scheduler that stands by: it answers probes only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST


@asynccontextmanager
async def standby_site(host: str, port: int) -> AsyncIterator[None]:
    """Answer `/healthz`, `/readyz` and `/metrics` with 200, and everything else with 503."""
    app = web.Application()
    app.add_routes([web.get("/healthz", _answer_probe), web.get("/readyz", _answer_probe)])
    app.add_routes([web.get("/metrics", _answer_scrape)])
    app.add_routes([web.route("*", "/{path:.*}", _refuse)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


async def _answer_probe(request: web.Request) -> web.Response:
    return web.json_response({"status": "standby"})


async def _answer_scrape(request: web.Request) -> web.Response:
    """Answer with no metric: Prometheus sees that the process is up, and counts nothing twice."""
    return web.Response(body=b"", headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _refuse(request: web.Request) -> web.Response:
    return web.json_response(
        {"error": {"code": "standby", "message": "This scheduler stands by; ask the one that leads"}},
        status=503,
        headers={"Retry-After": "2"},
    )
