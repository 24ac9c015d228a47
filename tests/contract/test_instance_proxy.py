"""The proxy in front of an instance, with a simulator behind it: nothing passes without the token."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web
from yarl import URL

from comfy_instances.fleet.ray.proxy import PromptWatch, ReverseProxy, require_token
from comfy_instances.process.child import find_free_port
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.protocol.outputs import FileRef
from comfy_instances.session.session import InstanceSession, SessionSettings
from tests.support.cli import start_simulator
from tests.support.polling import poll, wait_until

TOKEN = "the-token-of-this-instance"
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
MIB = 2**20


@dataclass
class ProxyHarness:
    """A proxy, and the server behind it."""

    url: str
    #: URL of the server; None while it does not run.
    upstream: str | None
    watch: PromptWatch

    def session(self, token: str | None = TOKEN) -> InstanceSession:
        return InstanceSession(self.url, settings=SessionSettings(token=token))

    def client(self, **headers: str) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.url, headers={"Authorization": f"Bearer {TOKEN}", **headers})


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def proxied(upstream: str | None) -> AsyncIterator[ProxyHarness]:
    harness = ProxyHarness("", upstream, PromptWatch())
    proxy = ReverseProxy(lambda: harness.upstream, harness.watch)
    app = web.Application(middlewares=[require_token(TOKEN)])
    app.on_startup.append(proxy.open)
    app.on_cleanup.append(proxy.close)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    async with serving(app) as url:
        harness.url = url
        yield harness


@pytest.fixture
async def simulated(tmp_path: Path) -> AsyncIterator[ProxyHarness]:
    port = find_free_port()
    options = ("--port", str(port), "--base-directory", str(tmp_path))
    process = start_simulator(*options, environment=dict(os.environ), output=tmp_path / "log")
    try:
        async with proxied(f"http://127.0.0.1:{port}") as harness, harness.client() as http:

            async def status() -> int:
                async with http.get("/system_stats") as response:
                    return response.status

            await poll(status, lambda code: code == 200)
            yield harness
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}", "Bearer é"]
)
async def test_rejects_a_missing_or_wrong_token(given: str | None) -> None:
    """With 401, whatever is asked for, and before anything reaches the instance."""
    reached = []

    async def reach(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reach)
    headers = {} if given is None else {"Authorization": given}
    tries = (("GET", "/queue"), ("POST", "/prompt"), ("GET", "/nothing"), ("PUT", "/x/../y"))
    async with (
        serving(app) as upstream,
        proxied(upstream) as harness,
        aiohttp.ClientSession(harness.url, headers=headers) as http,
    ):
        for method, path in tries:
            async with http.request(method, path) as response:
                assert response.status == 401
                assert TOKEN not in await response.text()
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await http.ws_connect("/ws")
        assert error.value.status == 401
    assert reached == []


async def test_sessions_without_the_token_never_connect(simulated: ProxyHarness) -> None:
    async with simulated.session(None) as session:
        with pytest.raises(InstanceGone, match="401"):
            await session.get_queue()
        with pytest.raises(InstanceGone, match="websocket"):
            await session.wait_connected(0.5)


async def test_runs_prompts_through_the_proxy(simulated: ProxyHarness) -> None:
    """Requests, uploads, downloads and the messages of the websocket."""
    events = list[object]()
    async with simulated.session() as session:
        assert "SaveImage" in await session.get_object_info()
        name = await session.upload_input("in a b.png", b"not looked at", "image/png", "pets")
        folder, _, file_name = name.partition("/")
        assert await session.fetch_file(FileRef(file_name, folder, "input")) == b"not looked at"
        results = await asyncio.gather(
            *(session.run_prompt(str(uuid.uuid4()), GRAPH, events.append) for _ in range(3))
        )
        for result in results:
            file = result.outputs[0].file
            assert file is not None
            assert (await session.fetch_file(file)).startswith(b"\x89PNG")
        assert events
        assert not simulated.watch.is_running


async def test_a_prompt_is_found_by_a_later_session(simulated: ProxyHarness) -> None:
    prompt_id = str(uuid.uuid4())
    async with simulated.session() as session:
        await session.run_prompt(prompt_id, GRAPH)
    async with simulated.session() as later:
        resumed = await later.resume_prompt(prompt_id)
        assert resumed is not None
        assert resumed.prompt_id == prompt_id


async def test_says_that_no_instance_runs(simulated: ProxyHarness) -> None:
    """As a refused connection does, so that prompts are not waited for."""
    async with simulated.session() as session:
        await session.wait_connected(20)
        for upstream in (None, f"http://127.0.0.1:{find_free_port()}"):
            simulated.upstream = upstream
            with pytest.raises(InstanceGone) as error:
                await session.get_queue()
            assert error.value.connection_refused


async def test_no_path_leads_to_another_server() -> None:
    seen = list[str]()

    async def show(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", show)
    async with serving(app) as upstream, proxied(upstream) as harness:
        port = harness.url.rpartition(":")[2]
        for target in ("//127.0.0.2:1/x", "http://127.0.0.2:1/x", "/@127.0.0.2:1/x"):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
            head = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            status = int((await reader.read()).split()[1])
            assert status in (200, 400)
            writer.close()
            await writer.wait_closed()
    assert seen == ["//127.0.0.2:1/x", "/@127.0.0.2:1/x"]


async def test_an_instance_that_answers_nonsense_is_a_bad_gateway() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"this is not HTTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    upstream = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with (
        server,
        proxied(upstream) as harness,
        harness.client() as http,
        http.get("/queue") as response,
    ):
        assert response.status == 502
        assert "X-Instance-State" not in response.headers


async def test_keeps_paths_queries_headers_and_statuses() -> None:
    seen = list[tuple[str, str, str | None, str | None]]()

    async def show(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append((request.method, request.raw_path, headers.get("X-Mark"), headers.get("Authorization")))
        return web.Response(status=418, reason="Short", headers={"X-Answer": "1"}, body=b"tea")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", show)
    async with serving(app) as upstream, proxied(upstream) as harness, harness.client() as http:
        path = "/view%2Fx/%C3%A4?filename=a%20b+c%26d&empty="
        for method in ("GET", "PUT", "DELETE"):
            async with http.request(
                method, URL(harness.url + path, encoded=True), headers={"X-Mark": "m"}
            ) as response:
                assert (response.status, response.headers["X-Answer"]) == (418, "1")
                assert await response.read() == b"tea"
        async with http.head("/x") as response:
            assert (response.status, response.headers["Content-Length"]) == (418, "3")
    assert seen[:3] == [(method, path, "m", None) for method in ("GET", "PUT", "DELETE")]


@pytest.mark.slow
async def test_streams_large_bodies_both_ways_in_bounded_memory() -> None:
    """256 MB up and down while the process stays within a part of that."""
    size, piece = 256 * MIB, b"x" * MIB
    process, before, largest = psutil.Process(), psutil.Process().memory_info().rss, 0

    async def take(request: web.Request) -> web.StreamResponse:
        nonlocal largest
        count = 0
        async for chunk in request.content.iter_chunked(MIB):
            count += len(chunk)
            largest = max(largest, process.memory_info().rss)
        response = web.StreamResponse(headers={"X-Received": str(count)})
        await response.prepare(request)
        for _ in range(size // MIB):
            await response.write(piece)
        return response

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // MIB):
            yield piece

    app = web.Application(client_max_size=2 * size)
    app.router.add_post("/upload", take)
    async with (
        serving(app) as upstream,
        proxied(upstream) as harness,
        harness.client() as http,
        http.post("/upload", data=body()) as response,
    ):
        assert response.headers["X-Received"] == str(size)
        count = 0
        async for chunk in response.content.iter_chunked(MIB):
            count += len(chunk)
            largest = max(largest, process.memory_info().rss)
        assert count == size
    assert largest - before < size / 4


async def test_a_reader_that_stops_slows_the_instance_down() -> None:
    """Nothing is collected for it."""
    sent = 0

    async def pour(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * MIB)
            sent += 1

    app = web.Application()
    app.router.add_get("/view", pour)
    async with (
        serving(app) as upstream,
        proxied(upstream) as harness,
        harness.client() as http,
        http.get("/view") as response,
    ):
        await response.content.readexactly(1)
        earlier = -1
        while earlier != sent:  # until the buffers of the system are full
            earlier = sent
            await asyncio.sleep(0.5)
        assert sent < 64


async def test_a_client_that_disconnects_ends_the_request_of_the_instance() -> None:
    ended = asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        return web.Response()

    app = web.Application()
    app.router.add_get("/slow", wait)
    async with serving(app) as upstream, proxied(upstream) as harness, harness.client() as http:
        with pytest.raises(TimeoutError):
            await http.get("/slow", timeout=aiohttp.ClientTimeout(total=0.5))
        await asyncio.wait_for(ended.wait(), 20)


async def test_an_instance_that_dies_within_a_response_breaks_the_connection() -> None:
    """A response that is cut off must not look complete."""

    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"the first half")
        await asyncio.sleep(0.1)
        assert request.transport is not None
        request.transport.abort()
        return response

    app = web.Application()
    app.router.add_get("/view", break_off)
    async with serving(app) as upstream, proxied(upstream) as harness, harness.client() as http:
        with pytest.raises(aiohttp.ClientError):
            async with http.get("/view") as response:
                await response.read()


async def test_websockets_close_together() -> None:
    sockets = list[web.WebSocketResponse]()

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        sockets.append(socket)
        async for message in socket:
            await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/ws", echo)
    async with serving(app) as upstream, proxied(upstream) as harness, harness.client() as http:
        large = b"x" * (8 * MIB)
        async with http.ws_connect("/ws?clientId=1", max_msg_size=2 * len(large)) as socket:
            await socket.send_bytes(large)
            assert await socket.receive_bytes() == large
        await wait_until(lambda: sockets[0].closed)
        async with http.ws_connect("/ws?clientId=2") as socket:
            await socket.send_bytes(b"1")
            await socket.receive_bytes()
            await sockets[1].close()
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


def test_the_watch_knows_whether_a_prompt_runs() -> None:
    watch = PromptWatch()

    def tell(kind: str) -> bool:
        watch.record(json.dumps({"type": kind, "data": {"prompt_id": "p"}}))
        return watch.is_running

    assert tell("execution_start")
    assert tell("progress")
    assert tell("execution_cached")
    assert not tell("execution_success")
    for end in ("execution_error", "execution_interrupted"):
        assert tell("execution_start")
        assert not tell(end)
    watch.record("no message of an instance")
    assert not watch.is_running
