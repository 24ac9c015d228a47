"""How often callers may ask, told on every answer."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import pytest
from aiohttp import web

from comfy_instances.process.child import find_free_port
from orchestrator.errors import RateLimited
from orchestrator.web.rate_limits import RateLimiter, set_rate_limit_headers
from pricing.plans import Plans
from tests.support.service import ServiceProcess

HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
FREE = Plans.load()["free"]


async def test_authenticated_responses_have_rate_limit_headers(bank: ServiceProcess) -> None:
    key = bank.run("keys", "create", "--plan", "free", "--credit", "1")["key"]
    seen = []
    async with bank.client(key) as http:
        body = {"prompt": "a cat", "size": "256x256"}
        async with http.post(
            "/api/v1/images/generations", json=body, headers={"Prefer": "respond-async"}
        ) as response:
            job = (await response.json())["jobId"]
            seen.append(response)
        for path in ("/api/v1/jobs", f"/api/v1/jobs/{job}/events", "/api/v1/jobs/job_of_nobody"):
            async with http.get(path) as response:
                await response.read()
                seen.append(response)
    assert [response.status for response in seen] == [202, 200, 200, 404]
    # The last one asks for the state of a job, which has a limit of its own.
    assert [response.headers["X-RateLimit-Remaining"] for response in seen] == ["19", "18", "17", "599"]
    assert [response.headers["X-RateLimit-Limit"] for response in seen] == ["20", "20", "20", "600"]
    for response in seen:
        assert 0 < int(response.headers["X-RateLimit-Reset"]) - time.time() <= 61


async def test_requests_over_the_limit_get_429_and_are_not_charged(bank: ServiceProcess) -> None:
    made = bank.run("keys", "create", "--plan", "free")
    second = bank.run("keys", "create", "--account", made["account"])["key"]
    async with bank.client(made["key"]) as http, bank.client(second) as other:

        async def status(number: int) -> int:
            async with (other if number % 2 else http).get("/api/v1/jobs") as response:
                return response.status

        statuses = await asyncio.gather(*(status(number) for number in range(30)))
        assert (statuses.count(200), statuses.count(429)) == (20, 10)
        async with http.post("/api/v1/images/generations", json={"prompt": "a cat"}) as response:
            error = (await response.json())["error"]
            assert (response.status, error["type"]) == (429, "rate_limit_exceeded")
            assert error["message"] == "Rate limit exceeded for free plan: 20 requests per minute"
            assert 1 <= int(response.headers["Retry-After"]) <= 61
            assert response.headers["X-RateLimit-Remaining"] == "0"
        changed = bank.run("keys", "plan", made["id"], "starter")
        assert changed["plan"] == "starter"
        assert await status(0) == 200
    assert bank.run("wallet", "show", made["id"])["held_usd"] == 0


async def test_responses_without_a_key_have_no_rate_limit_headers(bank: ServiceProcess) -> None:
    async with bank.client() as http:
        for path in ("/healthz", "/v1/models", "/api/v1/jobs"):
            async with http.get(path) as response:
                assert not [name for name in HEADERS if name in response.headers]


async def test_invalid_keys_are_limited_by_client_address(bank: ServiceProcess) -> None:
    async with bank.client() as http:

        async def status(address: str, key: str, path: str = "/api/v1/jobs") -> int:
            headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": f"203.0.113.9, {address}"}
            async with http.get(path, headers=headers) as response:
                assert ("Retry-After" in response.headers) == (response.status == 429)
                return response.status

        guesses = [await status("192.0.2.1", f"pk-{number}") for number in range(14)]
        assert guesses == [401] * 10 + [429] * 4
        assert await status("192.0.2.1", "no-admin", "/admin/v1/queue") == 429
        assert await status("192.0.2.2", "pk-wrong") == 401
        assert await status("192.0.2.1", bank.key()) == 200


async def test_missing_keys_do_not_count_as_failed_logins(bank: ServiceProcess) -> None:
    async with bank.client() as http:
        for _ in range(12):
            async with http.get("/api/v1/jobs", headers={"X-Forwarded-For": "192.0.2.3"}) as response:
                assert response.status == 401


@asynccontextmanager
async def limited(limits: RateLimiter) -> AsyncIterator[aiohttp.ClientSession]:
    """A server whose every request counts against one account on the free plan."""

    async def handle(request: web.Request) -> web.Response:
        try:
            await limits.enforce_rate_limit(request, "acct", FREE)
        except RateLimited:
            return web.Response(status=429)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", handle)
    app.on_response_prepare.append(set_rate_limit_headers)
    app.on_cleanup.append(limits.close)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
        yield http
    await runner.cleanup()


async def statuses(http: aiohttp.ClientSession, count: int) -> list[int]:
    found = []
    for _ in range(count):
        async with http.get("/") as response:
            found.append(response.status)
    return found


def limits(url: str) -> RateLimiter:
    return RateLimiter(url, failures_per_minute=5, trusted_proxies=0)


async def test_window_is_dropped_when_the_clock_is_set_back() -> None:
    counts = limits("memory://")
    async with limited(counts) as http:
        assert await statuses(http, 21) == [200] * 20 + [429]
        # What the counts look like once the clock was set back by an hour.
        expirations = counts._limiter.storage.expirations  # type: ignore[attr-defined]
        for name in expirations:
            expirations[name] += 3600
        assert await statuses(http, 1) == [200]


@contextmanager
def redis() -> Iterator[str]:
    port = find_free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs Debian's redis-server")
async def test_processes_share_counters_through_redis() -> None:
    with redis() as url:
        async with limited(limits(url)) as one, limited(limits(url)) as other:
            async with asyncio.timeout(20):
                while True:  # until Redis listens: until then nobody is limited
                    async with one.get("/") as response:
                        if response.headers["X-RateLimit-Remaining"] != "20":
                            break
                    await asyncio.sleep(0.05)
            left = int(response.headers["X-RateLimit-Remaining"])
            assert await statuses(one, 10) == [200] * 10
            assert await statuses(other, left - 9) == [200] * (left - 10) + [429]


async def test_requests_are_not_limited_while_redis_is_unavailable() -> None:
    async with limited(limits(f"redis://127.0.0.1:{find_free_port()}/0")) as http:
        assert await statuses(http, 22) == [200] * 22
