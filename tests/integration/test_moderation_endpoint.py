"""The adapter to a moderation service, against a real server that speaks as OpenAI's does, and others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.errors import ServiceUnavailable
from orchestrator.moderation import ModerationEndpoint, ModerationEndpointConfig, PolicyViolation

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TEXTS = {"prompt": "a fox", "negative_prompt": "a violent fox"}


def result(flagged: bool, **categories: bool) -> dict[str, Any]:
    """As OpenAI's documentation shows it, with fields that nobody asked for."""
    scores = {name: 0.9 if found else 0.1 for name, found in categories.items()}
    return {"flagged": flagged, "categories": categories, "category_scores": scores}


async def judge(request: web.Request) -> web.StreamResponse:
    """Flags what has `violent` in it."""
    body = await request.json()
    found = ["violent" in text for text in body["input"]]
    results = [result(each, violence=each, **{"hate/threatening": False}) for each in found]
    return web.json_response({"id": "modr-1", "model": body.get("model"), "results": results})


@asynccontextmanager
async def asked(
    handler: Handler, *, path: str = "", fail_open: bool = False, seconds: float = 2.0
) -> AsyncIterator[ModerationEndpoint]:
    app = web.Application()
    app.router.add_post("/v1/moderations", handler)
    async with TestServer(app) as server:
        access = ModerationEndpointConfig(
            url=str(server.make_url(path)), api_key="sk-secret", timeout_seconds=seconds, fail_open=fail_open
        )
        async with ModerationEndpoint(access) as endpoint:
            yield endpoint


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_returns_flagged_categories(path: str) -> None:
    async with asked(judge, path=path) as endpoint:
        assert await endpoint.check("acct_any", {"prompt": "a fox"}) is None
        finding = await endpoint.check("acct_any", TEXTS)
    assert finding == PolicyViolation(param="negative_prompt", rule="the moderation service (violence)")


async def test_the_service_gets_our_key_and_the_chosen_model() -> None:
    seen: list[tuple[str, Any]] = []

    async def listen(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers["Authorization"], await request.json()))
        return await judge(request)

    app = web.Application()
    app.router.add_post("/v1/moderations", listen)
    async with TestServer(app) as server:
        access = ModerationEndpointConfig(
            url=str(server.make_url("")), api_key="sk-secret", model="omni-moderation-latest"
        )
        async with ModerationEndpoint(access) as endpoint:
            await endpoint.check("acct_any", {"prompt": "a fox"})
    assert seen == [("Bearer sk-secret", {"input": ["a fox"], "model": "omni-moderation-latest"})]
    assert "sk-secret" not in repr(access)


def says(body: Any, status: int = 200) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(text=text, status=status, headers={"Location": "/elsewhere"})

    return handler


async def dawdles(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return await judge(request)


async def never_ends(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" " * 100_000)
    return response


TROUBLE: list[Handler] = [
    says({"error": {"message": "a fox"}}, 500),
    says({"error": "wrong key"}, 401),
    says("", 302),
    says("not json"),
    says([]),
    says({"results": []}),
    says({"results": [result(False)]}),
    says({"results": [{"flagged": "perhaps"}, {}]}),
    dawdles,
    never_ends,
]


@pytest.mark.parametrize("handler", TROUBLE)
async def test_a_service_in_trouble_stops_requests(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    async with asked(handler, seconds=0.3) as endpoint:
        with pytest.raises(ServiceUnavailable) as caught:
            await endpoint.check("acct_any", TEXTS)
    assert (caught.value.code, caught.value.retry_after) == ("moderation_unavailable", 5)
    assert "fox" not in caplog.text + caught.value.message
    assert "sk-secret" not in caplog.text


@pytest.mark.parametrize("handler", TROUBLE)
async def test_failures_pass_if_the_operator_allows_it(handler: Handler) -> None:
    async with asked(handler, fail_open=True, seconds=0.3) as endpoint:
        assert await endpoint.check("acct_any", TEXTS) is None


async def test_a_refused_connection_is_an_error() -> None:
    async with ModerationEndpoint(ModerationEndpointConfig(url="http://127.0.0.1:1")) as endpoint:
        with pytest.raises(ServiceUnavailable):
            await endpoint.check("acct_any", TEXTS)
