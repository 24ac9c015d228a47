"""Clients that disconnect while a response is sent, as the error middleware handles them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from orchestrator.web.metrics import HttpMetrics
from orchestrator.web.middleware import error_middleware, set_request_id_header


@pytest.mark.parametrize("has_started", [False, True])
async def test_a_client_that_has_disconnected_leaves_no_traceback(
    has_started: bool, caplog: pytest.LogCaptureFixture
) -> None:
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if has_started:
            await response.prepare(request)
            await response.write(b"first")
        arrived.set()
        try:
            # The task is cancelled a moment after the connection is lost; it may be writing in this moment.
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            if not has_started:
                raise ConnectionResetError("the rest of the body does not arrive")
            await response.write(b"more")
        finally:
            ended.set()
        return response

    app = web.Application(middlewares=[error_middleware(HttpMetrics(CollectorRegistry()))])
    app.on_response_prepare.append(set_request_id_header)
    app.router.add_get("/", stream)
    caplog.set_level(logging.INFO)
    async with TestServer(app) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await arrived.wait()
        writer.transport.abort()
        await ended.wait()
        async with aiohttp.ClientSession() as http, http.get(server.make_url("/other")) as response:
            assert response.status == 404
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []
    assert ["200" if has_started else "499"] == [
        record.getMessage().split()[2]
        for record in caplog.records
        if record.getMessage().startswith("GET / ")
    ]
