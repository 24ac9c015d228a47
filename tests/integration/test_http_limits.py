"""Clients that are slow, many, or use up the descriptors: they lose their connection, nobody else does."""

from __future__ import annotations

import asyncio
import re
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.metrics import scrape
from tests.support.polling import poll, wait_until
from tests.support.raw_http import RawConnection, connected, exchange, head
from tests.support.service import ServiceProcess, running

#: A path of each dialect, with the name of the member that explains an error.
DIALECTS = {
    "openai": ("/api/v1/images/generations", "error"),
    "pixelapi": ("/v1/image/generate", "detail"),
    "pixazo": ("/flux-1-schnell/v1/getData", "message"),
    "pixeldojo": ("/api/v1/models/flux-1-schnell/run", "error"),
}
PER_ADDRESS = 5
HALF_A_HEADER = b"GET /healthz HTTP/1.1\r\nX-Slow:"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that waits some seconds for headers, and one for bodies.

    A client that the machine keeps waiting for a second must not be one that sends nothing.
    """
    environment = {
        "PIXELFACTORY_HEADER_SECONDS": "3",
        "PIXELFACTORY_BODY_SECONDS": "1",
        "PIXELFACTORY_BODY_BYTES_PER_SECOND": "10000",
        "PIXELFACTORY_KEEPALIVE_SECONDS": "5",
        "PIXELFACTORY_WRITE_SECONDS": "1",
    }
    with running(ServiceProcess(tmp_path_factory.mktemp("impatient"), environment=environment)) as started:
        yield started


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A patient service with few connections for each address."""
    environment = {
        "PIXELFACTORY_HEADER_SECONDS": "600",
        "PIXELFACTORY_BODY_SECONDS": "600",
        "PIXELFACTORY_MAX_CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS),
    }
    with running(ServiceProcess(tmp_path_factory.mktemp("crowded"), environment=environment)) as started:
        yield started


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_answers_an_endless_header_in_the_format_of_the_dialect(
    impatient: ServiceProcess, dialect: str
) -> None:
    path, member = DIALECTS[dialect]
    response = await exchange(impatient.url, f"POST {path} HTTP/1.1\r\nHost: service\r\nX-Slow:".encode())
    assert response.status == 408
    assert response.headers["Connection"] == "close"
    assert "header" in str(response.json()[member])


async def test_closes_a_connection_that_sends_nothing(impatient: ServiceProcess) -> None:
    async with connected(impatient.url) as connection:
        assert await connection.read_to_end() is None


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: service\r\n\r\n"])
async def test_closes_a_connection_whose_header_trickles_in(impatient: ServiceProcess, first: bytes) -> None:
    """Also if the connection has been used for a request before."""
    async with connected(impatient.url) as connection:
        await connection.send(first)
        sending = asyncio.create_task(
            connection.send_slowly(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000, 0.05)
        )
        response = await connection.read_to_end()
        sending.cancel()
    assert response is not None
    assert response.status == (200 if first else 408)
    assert b"did not arrive in time" in response.body


async def test_closes_idle_connections(impatient: ServiceProcess) -> None:
    async with connected(impatient.url) as connection:
        await connection.send(b"GET /healthz HTTP/1.1\r\nHost: service\r\n\r\n")
        response = await connection.read_to_end()
    assert response is not None
    assert response.status == 200


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_answers_a_slow_body_in_the_format_of_the_dialect(
    impatient: ServiceProcess, dialect: str
) -> None:
    path, member = DIALECTS[dialect]
    key = impatient.key()
    before = (await scrape(impatient)).value("pixelfactory_http_slow_requests_total", part="body")
    fields = ("Content-Length: 100000", f"Ocp-Apim-Subscription-Key: {key}")
    async with connected(impatient.url) as connection:
        await connection.send(head("POST", path, *fields, key=key))
        sending = asyncio.create_task(connection.send_slowly(b" " * 100_000, 0.05))
        response = await connection.read_to_end()
        sending.cancel()
    assert response is not None
    assert (response.status, response.headers["X-Should-Retry"]) == (408, "true")
    assert "body" in str(response.json()[member])
    after = (await scrape(impatient)).value("pixelfactory_http_slow_requests_total", part="body")
    assert after == before + 1


async def test_ends_a_body_that_falls_silent_after_much_has_arrived(impatient: ServiceProcess) -> None:
    key, piece = impatient.key(), b" " * 2_000_000
    async with connected(impatient.url) as connection:
        await connection.send(
            head("POST", "/api/v1/images/generations", f"Content-Length: {2 * len(piece)}", key=key)
        )
        await connection.send(piece)
        response = await connection.read_to_end()
    assert response is not None
    assert response.status == 408


async def test_drops_a_slow_body_that_nobody_reads(impatient: ServiceProcess) -> None:
    async with connected(impatient.url) as connection:
        await connection.send(head("POST", "/api/v1/images/generations", "Content-Length: 100000"))
        response = await connection.read_to_end()
    assert response is not None
    assert response.status == 401
    assert "Traceback" not in impatient.log


async def test_waits_for_a_large_body_that_keeps_its_rate(impatient: ServiceProcess) -> None:
    """Twice the time limit, while the header announces no more than is sent."""
    key, piece = impatient.key(), b" " * 60_000
    async with connected(impatient.url) as connection:
        await connection.send(
            head("POST", "/api/v1/images/generations", f"Content-Length: {6 * len(piece)}", key=key)
        )
        for _ in range(6):
            await connection.send(piece)
            await asyncio.sleep(0.3)
        response = await connection.read_to_end()
    assert response is not None
    assert (response.status, response.json()["error"]["code"]) == (400, "payload_too_large")


async def test_disconnects_a_client_that_does_not_read(impatient: ServiceProcess) -> None:
    async def active() -> float:
        return (await scrape(impatient)).value("pixelfactory_http_connections", state="active")

    async with connected(impatient.url) as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.send(b"GET /openapi.json HTTP/1.1\r\nHost: service\r\n\r\n" * 30)
        await poll(active, lambda count: count == 2)
        await poll(active, lambda count: count == 1)


@asynccontextmanager
async def crowd(
    service: ServiceProcess, count: int, data: bytes, address: str
) -> AsyncIterator[list[RawConnection]]:
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = await stack.enter_async_context(connected(service.url, address=address))
            await connection.send(data)
            connections.append(connection)
        yield connections


@pytest.mark.slow
async def test_half_open_connections_do_not_keep_others_out(crowded: ServiceProcess) -> None:
    before = (await scrape(crowded)).value("pixelfactory_http_connections_over_limit_total")
    async with crowd(crowded, 4 * PER_ADDRESS, HALF_A_HEADER, "127.0.0.9") as connections:
        assert await connections[0].read_to_end() is None, "the oldest one gives way"
        for _ in range(2 * PER_ADDRESS):
            async with connected(crowded.url, address="127.0.0.9") as caller:
                await caller.send(head("GET", "/healthz"))
                response = await caller.read_to_end()
            assert response is not None
            assert response.status == 200
        after = (await scrape(crowded)).value("pixelfactory_http_connections_over_limit_total")
        assert after >= before + 3 * PER_ADDRESS


async def test_refuses_connections_of_an_address_whose_uploads_take_all(crowded: ServiceProcess) -> None:
    key = crowded.key()
    upload = head("POST", "/api/v1/images/generations", "Content-Length: 1000", key=key)

    async def active() -> float:
        return (await scrape(crowded)).value("pixelfactory_http_connections", state="active")

    async with crowd(crowded, PER_ADDRESS, upload, "127.0.0.8"):
        await poll(active, lambda count: count > PER_ADDRESS)
        async with connected(crowded.url, address="127.0.0.8") as caller:
            response = await caller.read_to_end()
        assert response is not None
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert response.json()["error"]["code"] == "too_many_connections"
        assert response.headers["Access-Control-Allow-Origin"] == "*"  # for clients in web pages
        async with connected(crowded.url, address="127.0.0.7") as other:
            await other.send(head("GET", "/healthz"))
            response = await other.read_to_end()
        assert response is not None
        assert response.status == 200


def count_open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_counts_failures_to_accept_and_logs_few(impatient: ServiceProcess) -> None:
    """The process may open no more descriptors for a while."""
    assert impatient.process is not None
    pid, limits = impatient.process.pid, resource.RLIMIT_NOFILE
    soft, hard = resource.prlimit(pid, limits)
    async with AsyncExitStack() as stack:
        for _ in range(30):
            await stack.enter_async_context(connected(impatient.url))
        resource.prlimit(pid, limits, (count_open_files(pid) // 2, hard))
        try:
            for _ in range(30):
                await stack.enter_async_context(connected(impatient.url))
            await wait_until(lambda: "cannot be accepted" in impatient.log)
        finally:
            resource.prlimit(pid, limits, (soft, hard))

    async def is_served() -> bool:
        async with impatient.client() as http, http.get("/healthz") as response:
            return response.status == 200

    await poll(is_served)
    counted = (await scrape(impatient)).value("pixelfactory_http_accept_errors_total")
    assert counted >= 1
    assert "out of system resource" not in impatient.log
    lines = re.findall(r"^\S+ (\S+) .*cannot be accepted", impatient.log, re.MULTILINE)
    assert len({line[:8] for line in lines}) >= len(lines) - 1, "about one line a second"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [(256, 2000, 1000, 1000), (256, 500, 1000, 500), (900, 2000, 500, 900)],
)
def test_raises_the_soft_limit_on_open_files(soft: int, hard: int, wanted: int, expected: int) -> None:
    code = f"""
import resource
from orchestrator.web.server import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(raise_descriptor_limit({wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(expected), str(expected), str(hard)]
