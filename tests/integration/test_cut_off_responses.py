"""What a client sees of a response that cannot be finished."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from orchestrator.errors import ServiceUnavailable
from orchestrator.media.errors import ObjectStoreError
from orchestrator.web.metrics import HttpMetrics
from orchestrator.web.middleware import error_middleware, set_request_id_header


@pytest.mark.parametrize(
    "error", [ServiceUnavailable("The store is busy"), ObjectStoreError("no connection")]
)
async def test_no_second_response_follows_on_its_connection(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"half")
        raise error

    app = web.Application(middlewares=[error_middleware(HttpMetrics(CollectorRegistry()))])
    app.on_response_prepare.append(set_request_id_header)
    app.router.add_get("/", handler)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as http,
        http.get(server.make_url("/")) as response,
    ):
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert "Traceback" not in caplog.text
    assert "while its response was sent" in caplog.text
