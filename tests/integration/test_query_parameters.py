"""Query parameters that an operation does not have are refused in every dialect; those it has are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from orchestrator.app.openapi_app import build_openapi_app
from orchestrator.settings import Settings
from orchestrator.web.openapi.documented_routes import DocumentedRoute, list_documented_routes

Answer = tuple[int, Any]


@asynccontextmanager
async def running_app(settings: Settings) -> AsyncIterator[tuple[web.Application, str]]:
    async with build_openapi_app(settings) as app, TestServer(app) as server:
        yield app, str(server.make_url("")).rstrip("/")


class Site:
    """The application without instances; all calls are without a key, so what is not refused is a 401."""

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self._context = running_app(settings)
        self.app, self._url = self._runner.run(self._context.__aenter__())

    def close(self) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()

    def call(self, method: str, path: str) -> Answer:
        return self._runner.run(self._call(method, path))

    async def _call(self, method: str, path: str) -> Answer:
        async with ClientSession() as http, http.request(method, self._url + path, json={}) as response:
            is_json = "json" in response.content_type
            return response.status, await response.json() if is_json else await response.text()

    def routes(self) -> list[DocumentedRoute]:
        return list_documented_routes(self.app)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(Settings(data_dir=tmp_path_factory.mktemp("data")))
    yield site
    site.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/images/generations?size=256x256&n=2", 400),
        ("/api/v1/images/edits?n=2", 400),
        ("/v1/images/variations?n=2", 400),
        ("/v1/videos?seconds=8", 400),
        ("/api/v1/quote?n=2", 400),
        ("/v1/image/generate?width=512", 422),
        ("/api/v1/models/flux-1-schnell/run?n=2", 400),
        ("/flux-dev/v1/dev/textToImage?num_images=2", 400),
        ("/generateT2I?width=512", 400),
    ],
)
def test_rejects_fields_of_the_body_in_the_query(site: Site, path: str, status: int) -> None:
    answer = site.call("POST", path)
    assert answer[0] == status, answer
    name = path.partition("?")[2].partition("=")[0]
    assert f"{name}" in str(answer[1])
    assert "is not a query parameter of POST" in str(answer[1])
    assert "send it in the body" in str(answer[1])


def test_rejects_a_misspelt_filter_with_the_nearest_name(site: Site) -> None:
    status, body = site.call("GET", "/api/v1/jobs?statsu=failed")
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "validation_error", "statsu")
    assert body["error"]["message"] == (
        "`statsu` is not a query parameter of GET /api/v1/jobs; did you mean `status`?"
        " Its query parameters are: limit, cursor, status, model"
    )


def test_names_the_code_of_an_unknown_query_parameter(site: Site) -> None:
    status, body = site.call("POST", "/v1/videos?seconds=8")
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "unknown_parameter", "seconds")


def test_rejects_a_filter_that_is_given_twice(site: Site) -> None:
    status, body = site.call("GET", "/api/v1/jobs?status=failed&status=completed")
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "validation_error", "status")
    assert body["error"]["message"] == "`status` is given 2 times in the query; send it once"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models?type=video",
        "/api/v1/images/models?limit=2",
        "/v1/account/usage?page=2",
        "/api/v2/jobs?hocus=1",
        "/api/jobs?hocus=1",
        "/history?hocus=1",
    ],
)
def test_rejects_filters_of_lists_that_have_none(site: Site, path: str) -> None:
    status, body = site.call("GET", path)
    assert status in (400, 422)
    assert "is not a query parameter of GET" in str(body)


def test_every_list_of_the_comfy_dialects_says_what_it_takes(site: Site) -> None:
    assert site.call("GET", "/api/v2/jobs?metadata[client]=a&metadata%5Bother%5D=b&limit=3")[0] == 401
    assert site.call("GET", "/history?max_items=64&offset=0")[0] == 401
    assert site.call("GET", "/api/jobs?sort_by=created_at&sort_order=asc&workflow_id=x")[0] == 401


def test_rejects_an_unknown_query_parameter_of_every_change(site: Site) -> None:
    accepting = []
    for route in site.routes():
        # These check the signature in their address first.
        if route.method == "GET" or route.path == "/payments/checkout" or "{code}" in route.path:
            continue
        status, _ = site.call(route.method, f"{route.path.replace('{', '').replace('}', '')}?drat=true")
        if status not in (400, 422):
            accepting.append(f"{route.method} {route.path}: {status}")
    assert accepting == []


@pytest.mark.exhaustive
def test_passes_every_documented_query_parameter(site: Site) -> None:
    refused = []
    for route in site.routes():
        for name in (*route.spec.query, "api-version", "_"):
            path = route.path.replace("{", "").replace("}", "")
            status, body = site.call(route.method, f"{path}?{name}=1")
            if status in (400, 422) and "is not a query parameter" in str(body):
                refused.append(f"{route.method} {path} {name}: {status}")
    assert refused == []


@pytest.mark.parametrize(
    "path", ["/v1/videos?after=video_1&limit=3&order=asc", "/v1/image/x?t=1", "/healthz?probe=1"]
)
def test_passes_what_clients_and_probes_send(site: Site, path: str) -> None:
    status, body = site.call("GET", path)
    assert "query parameter" not in str(body)
    assert status in (200, 401)
