"""Open event streams end when their key or session does, and an account has a limited number of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.errors import NotAuthenticated, RateLimited, ServiceUnavailable
from orchestrator.web.http.event_stream import open_event_stream
from orchestrator.web.http.stream_access import OpenStreams, StreamAccess, end_on_revocation
from tests.support.api import get_job, submit_job, wait_for_job
from tests.support.service import ServiceProcess, running
from tests.support.sse import SseReader

SLOW_JOB = {"model": "sdxl-1.0", "prompt": "a fox", "size": "256x256"}

#: Ends a key, given its id.
EndKey = Callable[[ServiceProcess, str], Awaitable[object]]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service whose jobs take longer than any test."""
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "1000", "PIXELFACTORY_DRAIN_SECONDS": "0"}
    with running(
        ServiceProcess(tmp_path_factory.mktemp("slow"), ("--simulate", "1"), environment)
    ) as started:
        yield started


@pytest.fixture(scope="module")
def account(slow: ServiceProcess) -> str:
    return str(slow.run("keys", "create", "--credit", "50")["account"])


async def admin(service: ServiceProcess, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with (
        service.client(service.admin_token) as http,
        http.request(method, f"/admin/v1/{path}", json=body) as response,
    ):
        assert response.status < 300, await response.text()
        return dict(await response.json())


async def new_key(service: ServiceProcess, account: str, **fields: object) -> tuple[str, str]:
    """Return id and secret of a key of the account."""
    made = await admin(service, "POST", "keys", {"account": account, **fields})
    return made["id"], made["key"]


@asynccontextmanager
async def slow_job(http: aiohttp.ClientSession) -> AsyncIterator[str]:
    job_id = await submit_job(http, SLOW_JOB)
    try:
        yield job_id
    finally:
        async with http.delete(f"/api/v1/jobs/{job_id}"):
            pass


async def revoke(service: ServiceProcess, key_id: str) -> object:
    """Revoke the key by the command line: another process than the one with the stream."""
    return await asyncio.to_thread(service.run, "keys", "revoke", key_id)


async def rotate(service: ServiceProcess, key_id: str) -> object:
    return await asyncio.to_thread(service.run, "keys", "rotate", key_id)


async def expire(service: ServiceProcess, key_id: str) -> object:
    moment = datetime.now(UTC) + timedelta(seconds=1)
    return await admin(service, "PUT", f"keys/{key_id}/limits", {"expires_at": moment.isoformat()})


async def take_scope(service: ServiceProcess, key_id: str) -> object:
    return await admin(service, "PUT", f"keys/{key_id}/limits", {"scopes": ["billing"]})


@pytest.mark.slow
@pytest.mark.parametrize("end", [revoke, rotate, expire, take_scope])
async def test_job_events_end_with_the_key(slow: ServiceProcess, account: str, end: EndKey) -> None:
    (key_id, secret), (_, other) = await new_key(slow, account), await new_key(slow, account)
    async with slow.client(other) as owner, slow.client(secret) as http, slow_job(owner) as job_id:
        reader = SseReader(http, job_id)
        async for event in reader.read():
            if event.name == "job" and len(reader.events) == 1:
                await end(slow, key_id)
        assert reader.events[-1].name == "error"
        assert reader.events[-1].data["error"]["code"] == "unauthorized"
        assert (await get_job(owner, job_id))["status"] in ("pending", "processing")
        async with http.get(f"/api/v1/jobs/{job_id}/events") as response:
            assert response.status in (401, 403)


async def test_an_image_stream_ends_with_the_key_and_its_job_is_cancelled(
    slow: ServiceProcess, account: str
) -> None:
    (key_id, secret), (_, other) = await new_key(slow, account), await new_key(slow, account)
    body = SLOW_JOB | {"stream": True, "partial_images": 1}
    async with (
        slow.client(other) as owner,
        slow.client(secret) as http,
        http.post("/v1/images/generations", json=body) as response,
    ):
        assert response.status == 200
        await revoke(slow, key_id)
        events = (await response.text()).strip().split("\n\n")
        name, data = events[-1].splitlines()
        assert name == "event: error"
        error = json.loads(data.removeprefix("data: "))
        assert (error["type"], error["error"]["code"]) == ("error", "invalid_api_key")
        await wait_for_job(owner, response.headers["X-PixelFactory-Job"], "cancelled")


async def sign_in(service: ServiceProcess, secret: str) -> aiohttp.ClientSession:
    jar = aiohttp.CookieJar(unsafe=True)
    http = aiohttp.ClientSession(service.url, headers={"Origin": service.url}, cookie_jar=jar)
    async with http.post("/session", json={"credential": secret}) as response:
        assert response.status == 204
    return http


async def test_dashboard_streams_end_with_the_session_and_with_its_key(
    slow: ServiceProcess, account: str
) -> None:
    (key_id, secret), (_, other) = await new_key(slow, account), await new_key(slow, account)
    async with slow.client(other) as owner, slow_job(owner) as job_id:
        path = f"/dashboard/api/live?job={job_id}"
        async with (
            await sign_in(slow, secret) as leaving,
            await sign_in(slow, secret) as staying,
            leaving.get(path) as left,
            staying.get(path) as stayed,
        ):
            async with leaving.delete("/session") as response:
                assert response.status == 204
            assert "event: error" in await left.text()
            await revoke(slow, key_id)
            assert "event: error" in await stayed.text()
        assert (await get_job(owner, job_id))["status"] in ("pending", "processing")


async def test_an_account_has_a_limited_number_of_streams() -> None:
    streams = OpenStreams(max_per_account=1)
    async with streams.count("A"), streams.count("B"):
        with pytest.raises(RateLimited) as caught:
            async with streams.count("A"):
                pass
        assert (caught.value.code, caught.value.retry_after) == ("too_many_streams", 10)
    async with streams.count("A"):
        pass


def access(*answers: bool | Exception) -> StreamAccess:
    """Return an access whose checks have these outcomes, one after the other."""
    left = list(answers)

    async def is_valid() -> bool:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return StreamAccess(account_id="A", is_valid=is_valid)


async def test_a_check_that_fails_is_repeated_and_a_block_that_ends_before_is_not_disturbed() -> None:
    async with end_on_revocation(access(True, ServiceUnavailable("locked"), True), recheck_seconds=0.01):
        await asyncio.sleep(0)
    with pytest.raises(NotAuthenticated):
        async with end_on_revocation(access(ServiceUnavailable("locked"), False), recheck_seconds=0.01):
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError, match="mine"):
        async with end_on_revocation(access(True), recheck_seconds=60):
            raise TimeoutError("mine")


async def test_the_connection_of_a_client_that_does_not_read_is_cut() -> None:
    ended = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        async with open_event_stream(request, {}) as (response, stream):
            try:
                async with end_on_revocation(access(False), recheck_seconds=0.5):
                    while True:
                        await stream.send("preview", {"b64": "x" * 1_000_000})
            except NotAuthenticated:
                await stream.send_last("error", {})
        ended.set()
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestServer(app) as server:
        _, writer = await asyncio.open_connection(server.host, server.port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(60):
            await ended.wait()
        writer.transport.abort()
