"""One connection of a client: aiohttp's protocol with deadlines, and answers to what is no HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from orchestrator.errors import InvalidRequest, RequestTimeout, ServiceError, ServiceUnavailable
from orchestrator.web.cors import CONNECTION_ERROR_HEADERS
from orchestrator.web.error_response import REQUEST_ID_HEADER, build_error_response
from orchestrator.web.http.bodies import BodyTimeout
from orchestrator.web.server.quiet_log import QuietLog

if TYPE_CHECKING:
    from orchestrator.web.server.runner import BoundedServer

log = logging.getLogger(__name__)

#: Start of a request that is kept to know its path, in bytes.
MAX_KEPT_HEAD = 2048
#: Longest part of the parser's message that the answer repeats, in characters.
MAX_SHOWN_REASON = 200
_REQUEST_LINE = re.compile(rb"\s*[!-~]+ +(?P<target>/[!-~]*)")

#: Begins the repetition of what could not be parsed.
_EXCERPT = re.compile(r":?\s+(?:when reading: )?(?:b['\"]|bytearray)")

_malformed_log = QuietLog(log)


class BoundedRequestHandler(RequestHandler):
    """Closes its connection when a header or a body takes too long. All times are on the server's clock."""

    __slots__ = (
        "_answered",
        "_body_since",
        "_bounded_server",
        "_data_at",
        "_head",
        "_head_since",
        "_payload",
        "_target",
    )

    def __init__(self, server: BoundedServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._bounded_server = server
        #: Start of the request line and header that are being received.
        self._head = b""
        #: When the header began; None while no header is awaited.
        self._head_since: float | None = None
        #: Body of the request in progress, and when it began.
        self._payload: StreamReader | None = None
        self._body_since = 0.0
        #: When data last arrived.
        self._data_at = 0.0
        #: Whether the request in progress has been answered.
        self._answered = True
        #: Path of the last request.
        self._target = "/"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._head_since = self._bounded_server.now
        _limit_unacknowledged_data(transport, self._bounded_server.limits.write_seconds)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._awaits_head():
            if data and self._head_since is None:
                self._head_since = self._bounded_server.now
            if len(self._head) < MAX_KEPT_HEAD:
                self._head += data[:MAX_KEPT_HEAD]
        self._data_at = self._bounded_server.now
        super().data_received(data)
        if self._messages and self._payload is not None and not self._payload.is_eof():
            # Nothing can follow a body that is not complete, except the parser's report of an error in it.
            self._messages.clear()
            self._fail_damaged_body(self._payload)

    def begin_request(self, request: web.BaseRequest, payload: StreamReader) -> None:
        """Note that the header of a request is complete."""
        self._head_since, self._head = None, b""
        self._payload, self._body_since, self._answered = payload, self._bounded_server.now, False
        self._data_at = self._body_since
        self._target = request.path

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        result = await super().finish_response(request, resp, start_time)
        self._answered = True
        if self._payload is not None and self._payload.exception() is not None:
            self.force_close()  # aiohttp would go on reading the body, and log its error.
        else:
            self._bounded_server.note_idle(self)
        return result

    def check_deadlines(self, now: float, interval: float) -> None:
        """Close the connection, or fail its body, if it has taken too long."""
        limits, payload = self._bounded_server.limits, self._payload
        if self.transport is None:
            return
        if self._head_since is not None:
            if now - self._head_since > limits.header_seconds:
                self._end_slow_header()
            return
        if payload is None or payload.is_eof():
            return
        if self._reading_paused:
            self._body_since += interval  # The client may not send.
            self._data_at = now
        elif (
            now - self._body_since > limits.allowed_body_seconds(payload.total_bytes)
            or now - self._data_at > limits.body_seconds
        ):
            self._end_slow_body(payload, now)

    def refuse(self) -> None:
        """Answer that there are too many connections, and close this one."""
        self._send_and_close(
            ServiceUnavailable(
                "Too many connections; retry later", code="too_many_connections", retry_after=1
            )
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no valid HTTP in the format of the dialect, with one line in the log."""
        if status != InvalidRequest.status:
            return super().handle_error(request, status, exc, message)
        reason = _parser_reason(message or str(exc))
        request_id = f"req_{uuid.uuid4().hex}"
        self._note_malformed(f"{reason} {request_id}")
        if request.writer.output_size > 0:
            raise ConnectionError("a response has been started")
        error = InvalidRequest(f"The request is not valid HTTP: {reason}", code="invalid_http")
        response = build_error_response(self._path_of_head(), error)
        response.headers.update(CONNECTION_ERROR_HEADERS | {REQUEST_ID_HEADER: request_id})
        response.force_close()
        return response

    def _fail_damaged_body(self, payload: StreamReader) -> None:
        """Let the handler answer that the body is damaged."""
        self._note_malformed("damaged body")
        if self._answered:
            self.force_close()
        elif payload.exception() is None:
            payload.set_exception(web.RequestPayloadError("damaged chunk"))

    def _note_malformed(self, reason: str) -> None:
        self._bounded_server.metrics.malformed_requests.inc()
        address = self.peername[0] if isinstance(self.peername, tuple) else "a local client"
        _malformed_log.write("malformed HTTP from %s: %s", address, reason)

    def _awaits_head(self) -> bool:
        return self._answered and (self._payload is None or self._payload.is_eof())

    def _path_of_head(self) -> str:
        """Return the path of the request that is not valid, or of the one whose body is not."""
        found = _REQUEST_LINE.match(self._head)
        if found is None:
            return self._target
        return unquote(found["target"].decode("ascii").partition("?")[0])

    def _end_slow_header(self) -> None:
        self._bounded_server.metrics.slow_clients.labels("header").inc()
        if self._head:
            self._send_and_close(
                RequestTimeout("The header of the request did not arrive in time"), self._path_of_head()
            )
        else:
            self.force_close()

    def _end_slow_body(self, payload: StreamReader, now: float) -> None:
        """Let the handler answer that the body is too slow; close the connection if it does not."""
        if self._answered or payload.exception() is not None:
            self.force_close()
            return
        self._bounded_server.metrics.slow_clients.labels("body").inc()
        payload.set_exception(BodyTimeout())
        # If the handler does not read the body, the next check after this time closes the connection.
        self._body_since = now

    def _send_and_close(self, error: ServiceError, path: str = "/") -> None:
        """Send a response without a request, and close the connection."""
        transport = self.transport
        if transport is not None:
            transport.write(_raw_response(build_error_response(path, error)))
        self.force_close()


def _raw_response(response: web.Response) -> bytes:
    """Return the bytes of a response that closes its connection."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {
        **response.headers,
        **CONNECTION_ERROR_HEADERS,
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _limit_unacknowledged_data(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Let the system end the connection if the client does not take what is sent to it (Linux only)."""
    connection = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None or connection is None or connection.family == socket.AF_UNIX:
        return
    try:
        connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
    except OSError as error:
        log.debug("cannot set TCP_USER_TIMEOUT: %s", error)


def _parser_reason(text: str) -> str:
    """Return the parser's message in ASCII, without the excerpt of the request that follows it."""
    line = text.strip().partition("\n")[0]
    return json.dumps(_EXCERPT.split(line)[0])[1:-1].rstrip(":")[:MAX_SHOWN_REASON]
