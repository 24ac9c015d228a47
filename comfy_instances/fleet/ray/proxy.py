"""A reverse proxy in front of one instance: checks a token, which ComfyUI can not, and passes everything on.

HTTP bodies are streamed in both directions and websocket messages are passed on one by one, each only after
the earlier one was sent, so that a slow side slows the other one down instead of filling the memory.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDict
from yarl import URL

from comfy_instances.log_text import error_text
from comfy_instances.protocol.proxied import NOT_RUNNING, STATE_HEADER
from comfy_instances.tasks import spawn

CHUNK_BYTES = 2**16
#: Largest message of a websocket, as sessions accept it.
MAX_MESSAGE_BYTES = 256 * 2**20
CONNECT_TIMEOUT_S, PING_SECONDS, CLOSE_TIMEOUT_S = 5.0, 20.0, 1.0
#: Headers that belong to one connection, and those that are the proxy's own affair. ComfyUI compares `Origin`
#: with `Host`, against web pages that reach a loopback address; the token does that here.
_NOT_FORWARDED = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade", "authorization", "host", "origin", "expect"),
    }
)
_STARTS = frozenset({"execution_start"})
_ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})
_EVENT = re.compile(r'^\s*\{\s*"type"\s*:\s*"(execution_[a-z]+)"')

UpstreamUrl = Callable[[], str | None]


class PromptWatch:
    """Whether the instance runs a prompt, by the events that pass through the proxy."""

    def __init__(self) -> None:
        self.is_running = False

    def record(self, text: str) -> None:
        """Take one text message of the instance."""
        found = _EVENT.match(text)
        if found is not None and found[1] in _STARTS | _ENDS:
            self.is_running = found[1] in _STARTS and "prompt_id" in json.loads(text).get("data", {})

    def reset(self) -> None:
        """Note that the process has ended."""
        self.is_running = False


def is_authorised(headers: Mapping[str, str], token: str) -> bool:
    """Whether a request has the token; compared in constant time."""
    given = headers.get(hdrs.AUTHORIZATION, "")
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {token}".encode())


def require_token(token: str) -> Middleware:
    """Return a middleware that answers requests without the token with 401, before their body is read."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_authorised(request.headers, token):
            headers = {hdrs.WWW_AUTHENTICATE: "Bearer", hdrs.CONNECTION: "close"}
            body = {"error": "the token of this instance is missing or wrong"}
            return web.json_response(body, status=401, headers=headers)
        return await handler(request)

    return check


class ReverseProxy:
    """Passes requests on to the instance at the URL that `upstream_url` returns at that time."""

    def __init__(self, upstream_url: UpstreamUrl, watch: PromptWatch | None = None) -> None:
        """`upstream_url` returns None while no instance runs. `watch` sees the instance's events."""
        self._upstream_url = upstream_url
        self._watch = watch or PromptWatch()
        self._http: aiohttp.ClientSession | None = None

    async def open(self, app: web.Application) -> None:
        """Create the connection pool; a handler of `on_startup`."""
        self._http = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=CHUNK_BYTES,
        )

    async def close(self, app: web.Application) -> None:
        """Close the connection pool; a handler of `on_cleanup`."""
        if self._http is not None:
            await self._http.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request with what the instance answers."""
        root = self._upstream_url()
        if root is None or self._http is None:
            return _not_running("the instance is not running")
        if not request.raw_path.startswith("/"):
            return web.json_response({"error": "the request must name a path"}, status=400)
        # Joined as text: a path such as `//host/` must not lead to another server.
        url = URL(root.rstrip("/") + request.raw_path, encoded=True)
        if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
            return await self._relay_socket(self._http, request, url)
        return await self._relay_request(self._http, request, url)

    async def _relay_request(
        self, http: aiohttp.ClientSession, request: web.Request, url: URL
    ) -> web.StreamResponse:
        headers = _forwarded_headers(request.headers)
        body = request.content if request.body_exists else None
        try:
            async with http.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                return await _relay_response(request, answer)
        except aiohttp.ClientConnectorError as error:
            return _not_running(f"the instance is not running: {error.os_error.strerror}")
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = error_text(error)
            return web.json_response({"error": f"the instance does not respond: {reason}"}, status=502)

    async def _relay_socket(
        self, http: aiohttp.ClientSession, request: web.Request, url: URL
    ) -> web.StreamResponse:
        try:
            upstream = await http.ws_connect(
                url, max_msg_size=MAX_MESSAGE_BYTES, heartbeat=PING_SECONDS, timeout=_ws_timeout()
            )
        except aiohttp.ClientConnectorError as error:
            return _not_running(f"the instance is not running: {error.os_error.strerror}")
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = error_text(error)
            return web.json_response({"error": f"the instance opens no websocket: {reason}"}, status=502)
        async with upstream:
            downstream = web.WebSocketResponse(
                max_msg_size=MAX_MESSAGE_BYTES, timeout=CLOSE_TIMEOUT_S, compress=False
            )
            await downstream.prepare(request)
            await self._relay_messages(downstream, upstream)
        return downstream

    async def _relay_messages(
        self, downstream: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse
    ) -> None:
        """Pass messages on in both directions until one side closes, then close both."""
        directions = {
            spawn(_copy_messages(downstream, upstream, None), "proxy requests", awaited=True),
            spawn(_copy_messages(upstream, downstream, self._watch), "proxy events", awaited=True),
        }
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in directions:
                task.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            await downstream.close()


async def _copy_messages(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    watch: PromptWatch | None,
) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            if watch is not None:
                watch.record(message.data)
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)


async def _relay_response(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    response.headers.extend(_forwarded_headers(answer.headers))
    if hdrs.CONTENT_LENGTH not in answer.headers and _has_body(request, answer):
        response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async for piece in answer.content.iter_chunked(CHUNK_BYTES):
            await response.write(piece)
    except (aiohttp.ClientError, TimeoutError):
        # The response has begun: only a broken connection shows the receiver that it is incomplete.
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


def _has_body(request: web.Request, answer: aiohttp.ClientResponse) -> bool:
    return request.method != hdrs.METH_HEAD and answer.status not in (204, 304) and answer.status >= 200


def _forwarded_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    named = {name.strip().lower() for name in headers.get(hdrs.CONNECTION, "").split(",")}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in _NOT_FORWARDED and name.lower() not in named
    )


def _not_running(reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=503, headers={STATE_HEADER: NOT_RUNNING})


def _ws_timeout() -> aiohttp.ClientWSTimeout:
    return aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S)
