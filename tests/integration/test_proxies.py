"""The proxies of `scripts/deploy/` in front of two API processes, as callers meet them."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
import pytest

from tests.support.api import submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.installation import Installation, installed
from tests.support.proxies import Proxy, caddy, find_program, nginx
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess

#: A client over TLS whose body the service refuses midway leaves its socket to the garbage collector.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PATH = "/api/v1/images/generations"
IMAGE = {"model": "sdxl-1.0", "prompt": "a red fox", "width": 512, "height": 512, "response_format": "url"}
MIB = 2**20
KINDS = {"nginx": nginx, "caddy": caddy}
#: Addresses of this machine from which a test fails to sign in, so that no other test is limited.
STRANGERS = {"nginx": "127.0.0.2", "caddy": "127.0.0.3"}
FAILURES_PER_MINUTE = 5
#: Ways to write the path of the routes that processes of an installation use among themselves.
INTERNAL_PATHS = ("/internal/v1/live", "//internal/v1/live", "/%69nternal/v1/live", "/x/../internal/v1/live")


@dataclass(frozen=True)
class Front:
    """An installation with two API processes, and its proxies by kind."""

    installation: Installation
    apis: tuple[ServiceProcess, ServiceProcess]
    proxies: dict[str, Proxy]
    key: str


@pytest.fixture(scope="module")
def front(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    programs = {kind: program for kind in KINDS if (program := find_program(kind))}
    if not programs:
        pytest.skip("needs nginx or Caddy: apt install nginx-light caddy")
    with installed(tmp_path_factory.mktemp("proxied"), s3) as installation, ExitStack() as stack:
        installation.settings |= {
            "PIXELFACTORY_TRUSTED_PROXIES": "1",
            "PIXELFACTORY_FAILURES_PER_MINUTE": str(FAILURES_PER_MINUTE),
        }
        installation.scheduler("scheduler")
        apis = installation.api("api-1"), installation.api_without_files("api-2")
        ports = [api.port for api in apis]
        proxies = {
            kind: stack.enter_context(KINDS[kind](program, tmp_path_factory.mktemp(kind), ports))
            for kind, program in programs.items()
        }
        yield Front(installation, apis, proxies, new_key(apis[0], "20.00"))
        gc.collect()


@pytest.fixture(params=KINDS)
def proxy(request: pytest.FixtureRequest, front: Front) -> Proxy:
    if request.param not in front.proxies:
        pytest.skip(f"needs {request.param}: apt install {request.param}")
    return front.proxies[request.param]


@pytest.fixture
async def http(proxy: Proxy, front: Front) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {front.key}"}
    async with aiohttp.ClientSession(
        proxy.url, headers=headers, connector=aiohttp.TCPConnector(ssl=proxy.tls or True)
    ) as session:
        yield session


async def test_the_sdk_makes_images_through_the_proxy(proxy: Proxy, front: Front) -> None:
    client = openai.DefaultAsyncHttpxClient(verify=proxy.tls or True)
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key=front.key, max_retries=0, http_client=client
    ) as sdk:
        made = await asyncio.gather(
            *(sdk.images.generate(model="sdxl-1.0", prompt="a fox", size="512x512") for _ in range(6))
        )
    assert [len(one.data or ()) for one in made] == [1] * 6
    counts = [count_requests(api, "/v1/images/generations") for api in front.apis]
    assert min(counts) > 0, counts


def count_requests(api: ServiceProcess, path: str) -> int:
    return sum(f"POST {path} 200" in line for line in api.log.splitlines())


async def test_events_arrive_while_the_job_runs(http: aiohttp.ClientSession, front: Front) -> None:
    simulators = front.installation.simulators
    for simulator in simulators:
        simulator.process.send_signal(signal.SIGSTOP)
    try:
        job = await submit_job(http, IMAGE)
        async with http.get(f"/api/v1/jobs/{job}/events") as events:
            assert events.headers["Content-Type"].startswith("text/event-stream")
            # The job cannot end before this was read.
            assert b"event: " in await events.content.readuntil(b"\n\n")
            for simulator in simulators:
                simulator.process.send_signal(signal.SIGCONT)
            assert b"completed" in await events.read()
    finally:
        for simulator in simulators:
            simulator.process.send_signal(signal.SIGCONT)


async def test_a_body_of_100_mb_reaches_the_service(http: aiohttp.ClientSession) -> None:
    status, body = await post_prompt_of(http, 100_000_000)
    assert (status, body["error"]["code"]) == (400, "invalid_prompt")


async def test_the_service_itself_refuses_a_body_above_its_limit(http: aiohttp.ClientSession) -> None:
    status, body = await post_prompt_of(http, 97 * MIB)
    assert (status, body["error"]["code"]) == (400, "payload_too_large")


async def post_prompt_of(http: aiohttp.ClientSession, size: int) -> tuple[int, dict[str, Any]]:
    """Send a generation with a prompt of that many characters."""
    start, end = b'{"model": "sdxl-1.0", "prompt": "', b'"}'

    async def body() -> AsyncIterator[bytes]:
        yield start
        for offset in range(0, size, MIB):
            yield b"x" * min(MIB, size - offset)
        yield end

    length = str(len(start) + size + len(end))
    headers = {"Content-Type": "application/json", "Content-Length": length}
    async with http.post(PATH, data=body(), headers=headers) as response:
        return response.status, dict(await response.json())


@pytest.mark.parametrize("path", [*INTERNAL_PATHS, "/internal", "/metrics"])
def test_refuses_what_is_not_for_callers(proxy: Proxy, path: str) -> None:
    """The proxy refuses it itself: the answer is not the service's."""
    answer = request_as_it_is(proxy, path)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"x-request-id" not in answer.lower()
    assert b'"error"' not in answer


def request_as_it_is(proxy: Proxy, path: str) -> bytes:
    """Return the response to a GET of a path that clients would tidy up."""
    host, port = proxy.url.rpartition("/")[2].split(":")
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
    with ExitStack() as stack:
        connection: socket.socket = stack.enter_context(socket.create_connection((host, int(port)), 30))
        if proxy.tls is not None:
            connection = stack.enter_context(proxy.tls.wrap_socket(connection, server_hostname=host))
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


async def test_operators_sign_in_and_see_instances(
    proxy: Proxy, http: aiohttp.ClientSession, front: Front
) -> None:
    """From a private address; the dashboard compares the origin with the host, port included."""
    token = front.apis[0].admin_token
    async with http.get("/admin/v1/instances", headers={"Authorization": f"Bearer {token}"}) as response:
        assert response.status == 200
        assert len((await response.json())["instances"]) == 2
    async with http.post("/session", json={"credential": token}, headers={"Origin": proxy.url}) as response:
        assert response.status == 204, await response.text()
        cookie = response.headers["Set-Cookie"].partition(";")[0]
    for origin, status in (("https://elsewhere.example", 403), (proxy.url, 204)):
        async with http.delete("/session", headers={"Origin": origin, "Cookie": cookie}) as response:
            assert response.status == status, await response.text()


async def test_a_forged_address_does_not_hide_a_caller(
    proxy: Proxy, front: Front, request: pytest.FixtureRequest
) -> None:
    address = STRANGERS[request.node.callspec.params["proxy"]]
    connector = aiohttp.TCPConnector(ssl=proxy.tls or True, local_addr=(address, 0))
    codes = []
    async with aiohttp.ClientSession(proxy.url, connector=connector) as stranger:
        for number in range(FAILURES_PER_MINUTE + 1):
            headers = {"Authorization": "Bearer pk-wrong", "X-Forwarded-For": f"198.51.100.{number}"}
            async with stranger.get("/api/v1/jobs", headers=headers) as response:
                codes.append((await response.json())["error"]["code"])
    assert codes == ["unauthorized"] * FAILURES_PER_MINUTE + ["rate_limit_exceeded"]


async def test_a_result_of_one_process_is_read_through_another(
    http: aiohttp.ClientSession, front: Front
) -> None:
    """One has the secrets in files, the other in settings: links of either are valid at both."""
    job = await submit_job(http, IMAGE)
    done = await wait_for_job(http, job)
    (asset,) = done["assets"]
    path = "/" + asset["url"].split("/", 3)[3]
    for api in front.apis:
        async with api.client() as anyone, anyone.get(path) as response:
            assert response.status == 200, json.dumps(done)
    assert not list((front.apis[1].data_dir).glob("*-*")), "a secret file was made"


async def test_requests_go_to_the_process_that_is_left(front: Front) -> None:
    """The last test: it ends one of them."""
    front.apis[1].kill()
    for proxy in front.proxies.values():
        connector = aiohttp.TCPConnector(ssl=proxy.tls or True)
        async with aiohttp.ClientSession(proxy.url, connector=connector) as anyone:
            for _ in range(10):
                async with anyone.get(
                    "/api/v1/models", headers={"Authorization": f"Bearer {front.key}"}
                ) as response:
                    assert response.status == 200
