"""Pages of other origins call the API: preflights, and the headers of all kinds of responses."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.support.callers import new_key
from tests.support.early_response import post_zeros
from tests.support.service import ServiceProcess

ORIGIN = "https://pages.example.org"
LISTED = "https://app.example.com"
ALLOW_ORIGIN, EXPOSED = "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"
GENERATE = "/v1/images/generations"
#: What a browser asks before the official SDK of OpenAI posts, and before Pixazo's and others' clients do.
SDK_HEADERS = (
    "authorization,content-type,idempotency-key,prefer,x-stainless-arch,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,"
    "x-stainless-timeout,ocp-apim-subscription-key,x-webhook-url,openai-organization"
)


async def preflight(
    service: ServiceProcess,
    path: str,
    method: str = "POST",
    *,
    origin: str = ORIGIN,
    headers: str = SDK_HEADERS,
) -> aiohttp.ClientResponse:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    async with service.client() as http, http.options(service.url + path, headers=asked) as response:
        await response.read()
        return response


def names(response: aiohttp.ClientResponse, header: str) -> set[str]:
    return {name.strip().lower() for name in response.headers[header].split(",")}


PATHS = [
    ("POST", GENERATE),
    ("POST", "/api/v1/images/edits"),
    ("GET", "/v1/videos/some-video/content"),
    ("POST", "/v1/image/generate"),
    ("GET", "/v1/account/balance"),
    ("POST", "/api/v1/models/flux-1-schnell/run"),
    ("DELETE", "/api/v1/jobs/some-job"),
    ("POST", "/flux-1-schnell/v1/getData"),
    ("GET", "/api/v1/billing/balance"),
    ("GET", "/api/v1/images/models"),
    ("POST", "/v1/no/such/path"),
    ("PATCH", GENERATE),
]


@pytest.mark.parametrize(("method", "path"), PATHS, ids=[path for _, path in PATHS])
async def test_answers_the_preflight_of_every_dialect(
    service: ServiceProcess, method: str, path: str
) -> None:
    response = await preflight(service, path, method)
    assert response.status == 204
    assert response.headers[ALLOW_ORIGIN] == "*"
    assert method.lower() in names(response, "Access-Control-Allow-Methods")
    assert names(response, "Access-Control-Allow-Headers") >= set(SDK_HEADERS.split(","))
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in response.headers


async def test_allows_further_headers_and_skips_what_is_none(service: ServiceProcess) -> None:
    response = await preflight(service, GENERATE, headers="x-trace-id, sentry-trace, no name, ,<b>")
    allowed = names(response, "Access-Control-Allow-Headers")
    assert {"x-trace-id", "sentry-trace", "authorization"} <= allowed
    assert not {"no name", "<b>", ""} & allowed


@pytest.mark.parametrize(
    "path",
    ["/admin/v1/keys", "//admin/v1/keys", "/%61dmin/v1/keys", "/session", "/dashboard/api/jobs", "/metrics"],
)
async def test_opens_neither_dashboard_nor_administration(service: ServiceProcess, path: str) -> None:
    response = await preflight(service, path)
    assert response.status >= 400
    assert not [name for name in response.headers if name.startswith("Access-Control-")]
    async with service.client() as http, http.get(service.url + path, headers={"Origin": ORIGIN}) as response:
        assert not [name for name in response.headers if name.startswith("Access-Control-")]


async def test_options_that_are_no_preflight_are_answered_as_before(service: ServiceProcess) -> None:
    async with service.client() as http, http.options(GENERATE, headers={"Origin": ORIGIN}) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert response.headers[ALLOW_ORIGIN] == "*"


#: Status, method, path, key or None, and body of requests that fail.
FAILING: list[tuple[int, str, str, str | None, Any]] = [
    (401, "POST", GENERATE, None, {"prompt": "a"}),
    (401, "GET", "/v1/account/balance", "pk-wrong", None),
    (401, "POST", "/flux-1-schnell/v1/getData", None, {"prompt": "a"}),
    (400, "POST", GENERATE, "rich", {"prompt": 7}),
    (402, "POST", GENERATE, "poor", {"prompt": "a"}),
    (404, "GET", "/v1/videos/video_none", "rich", None),
    (404, "GET", "/v1/nothing", None, None),
    (405, "DELETE", GENERATE, "rich", None),
    (415, "POST", "/v1/image/generate", "rich", "text"),
]


@pytest.mark.parametrize(
    ("status", "method", "path", "key", "body"), FAILING, ids=[f"{row[0]} {row[2]}" for row in FAILING]
)
async def test_errors_can_be_read_by_pages(
    service: ServiceProcess, status: int, method: str, path: str, key: str | None, body: Any
) -> None:
    known = {"rich": new_key(service), "poor": new_key(service, None)}
    sent: dict[str, Any] = {"json": body} if isinstance(body, dict) else {"data": body}
    async with (
        service.client(known.get(key or "", key)) as http,
        http.request(method, path, headers={"Origin": ORIGIN}, **sent) as response,
    ):
        # PixelAPI's document has 422 for every kind of invalid request.
        assert response.status in (status, 422 if path == "/v1/image/generate" else status)
        assert response.headers[ALLOW_ORIGIN] == "*"
        assert "x-request-id" in names(response, EXPOSED)


async def test_an_early_refusal_of_a_large_body_can_be_read_by_pages(service: ServiceProcess) -> None:
    headers = {"Authorization": f"Bearer {new_key(service)}", "Origin": ORIGIN}
    response = await post_zeros(service.url + GENERATE, 97 * 2**20, headers)
    assert (response.status, response.headers[ALLOW_ORIGIN]) == (400, "*")


async def test_exceeded_limits_can_be_read_with_their_retry_after(service: ServiceProcess) -> None:
    async with service.client(new_key(service, plan="free")) as http:
        for _ in range(21):
            async with http.get("/v1/account/balance", headers={"Origin": ORIGIN}) as response:
                pass
        assert response.status == 429
        assert response.headers[ALLOW_ORIGIN] == "*"
        shown = {name.lower() for name in response.headers if name.lower().startswith("x-")}
        assert shown | {"retry-after"} <= names(response, EXPOSED)


async def test_results_and_streams_can_be_read_with_all_their_headers(
    service: ServiceProcess, key: str
) -> None:
    body = {"prompt": "a cat", "size": "256x256", "steps": 1, "user": "someone", "model": "flux-1-schnell"}
    async with service.client(key) as http:
        for extra in ({}, {"stream": True, "partial_images": 1}):
            async with http.post(GENERATE, json=body | extra, headers={"Origin": ORIGIN}) as response:
                assert response.status == 200, await response.text()
                await response.read()
            assert response.headers[ALLOW_ORIGIN] == "*"
            shown = {name.lower() for name in response.headers if name.lower().startswith("x-")}
            assert {"x-pixelfactory-job", "x-ratelimit-remaining"} <= shown
            assert shown - {"x-accel-buffering", "x-content-type-options"} <= names(response, EXPOSED)
        job = response.headers["X-PixelFactory-Job"]
        async with http.get(f"/api/v1/jobs/{job}/events", headers={"Origin": ORIGIN}) as response:
            assert response.headers[ALLOW_ORIGIN] == "*"
        async with http.get(f"/api/v1/jobs/{job}") as response:
            url = (await response.json())["assets"][0]["url"]
    async with aiohttp.ClientSession() as http, http.get(url, headers={"Origin": ORIGIN}) as response:
        assert response.headers[ALLOW_ORIGIN] in ("*", ORIGIN)


async def test_preflights_do_not_count_against_the_rate_limit(service: ServiceProcess) -> None:
    key = new_key(service, plan="free")
    await asyncio.gather(*(preflight(service, "/v1/account/balance", "GET") for _ in range(25)))
    async with service.client(key) as http, http.get("/v1/account/balance") as response:
        assert response.headers["X-RateLimit-Remaining"] == "19"


@pytest.mark.parametrize("origin", [LISTED, "http://localhost:3000"])
async def test_a_listed_origin_may_call_the_api(bank: ServiceProcess, origin: str) -> None:
    response = await preflight(bank, GENERATE, origin=origin)
    assert (response.status, response.headers[ALLOW_ORIGIN]) == (204, origin)
    assert {"origin", "access-control-request-headers"} <= names(response, "Vary")
    async with bank.client() as http, http.post(GENERATE, json={}, headers={"Origin": origin}) as response:
        assert (response.status, response.headers[ALLOW_ORIGIN]) == (401, origin)
        assert "origin" in names(response, "Vary")


@pytest.mark.parametrize(
    "origin",
    [ORIGIN, "http://app.example.com", "https://app.example.com:8443", "https://x.app.example.com", "null"],
)
async def test_other_origins_may_not_where_origins_are_listed(bank: ServiceProcess, origin: str) -> None:
    response = await preflight(bank, GENERATE, origin=origin)
    assert (response.status, response.headers.get(ALLOW_ORIGIN)) == (403, None)
    async with bank.client() as http:
        async with http.post(GENERATE, json={}, headers={"Origin": origin}) as response:
            assert (response.status, response.headers.get(ALLOW_ORIGIN)) == (401, None)
            assert "origin" in names(response, "Vary")
        async with http.post(GENERATE, json={}) as response:
            assert "origin" in names(response, "Vary")


@pytest.mark.parametrize("path", ["/api/v1/images/models", "/v1/models", "/openapi.json", "/llms.txt"])
async def test_every_origin_may_read_what_is_public(bank: ServiceProcess, path: str) -> None:
    response = await preflight(bank, path, "GET")
    assert (response.status, response.headers[ALLOW_ORIGIN]) == (204, "*")
    async with bank.client() as http, http.get(path, headers={"Origin": ORIGIN}) as response:
        assert (response.status, response.headers[ALLOW_ORIGIN]) == (200, "*")


async def test_an_origin_that_may_not_call_is_told_which_setting_decides(bank: ServiceProcess) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with bank.client() as http, http.options(GENERATE, headers=asked) as response:
        error = json.loads(await response.text())["error"]
    assert error["code"] == "origin_not_allowed"
    assert "PIXELFACTORY_CORS_ORIGINS" in error["message"]
