"""Runs an application on the bounded server."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from comfy_instances.tasks import spawn
from orchestrator.web.metrics import ServerMetrics
from orchestrator.web.server.accept_errors import quiet_accept_errors
from orchestrator.web.server.connection_table import ConnectionState, ConnectionTable
from orchestrator.web.server.descriptors import max_client_connections
from orchestrator.web.server.limits import ServerLimits
from orchestrator.web.server.request_handler import BoundedRequestHandler
from orchestrator.web.server.request_targets import normalize_target

#: Longest step of the server's clock, in intervals: clients do not pay for time in which the process stood.
MAX_STEP_INTERVALS = 2
#: Connections that are checked before others have their turn: many may have to be closed at the same time.
CHECKS_IN_A_ROW = 20


class BoundedServer(web.Server):
    """aiohttp's server, with a table of its connections and a clock for their deadlines."""

    def __init__(
        self,
        server: web.Server,
        limits: ServerLimits,
        metrics: ServerMetrics,
        *,
        max_per_address: int | None,
        **options: Any,
    ) -> None:
        """Take over handler and request factory of `server`; `options` are those of RequestHandler."""
        super().__init__(server.request_handler, handler_cancellation=True, **options)
        self._make_app_request = server.request_factory
        self.request_factory = self._begin_request
        self._options = options
        self.limits = limits
        self.metrics = metrics
        self.now = 0.0
        self.table: ConnectionTable[RequestHandler] = ConnectionTable(
            max_client_connections(limits.max_connections), max_per_address
        )
        for state in ConnectionState:
            metrics.connections.labels(state.value).set_function(partial(self.table.count, state))

    def __call__(self) -> RequestHandler:
        return BoundedRequestHandler(self, loop=asyncio.get_running_loop(), **self._options)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else "local"
        closing = self.table.admit(handler, address)
        if closing is None:
            return
        self.metrics.closed_connections.inc()
        if closing is handler and isinstance(handler, BoundedRequestHandler):
            handler.refuse()
        else:
            closing.force_close()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.table.remove(handler)

    def note_idle(self, handler: RequestHandler) -> None:
        """Note that the request of a connection has been answered."""
        self.table.move(handler, ConnectionState.IDLE)

    async def watch_deadlines(self) -> None:
        """Check the deadlines of all connections, again and again."""
        loop, interval = asyncio.get_running_loop(), self.limits.check_interval_seconds
        checked_at = loop.time()
        while True:
            await asyncio.sleep(interval)
            passed = min(loop.time() - checked_at, MAX_STEP_INTERVALS * interval)
            checked_at = loop.time()
            self.now += passed
            for number, handler in enumerate(self.connections):
                if isinstance(handler, BoundedRequestHandler):
                    handler.check_deadlines(self.now, passed)
                if number % CHECKS_IN_A_ROW == 0:
                    await asyncio.sleep(0)

    def _begin_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        message = normalize_target(message)
        request = self._make_app_request(message, payload, protocol, writer, task)
        if isinstance(protocol, BoundedRequestHandler) and message.method != "UNKNOWN":
            protocol.begin_request(request, payload)
        self.table.move(protocol, ConnectionState.ACTIVE)
        return request


class BoundedAppRunner(web.AppRunner):
    """Runs an application on a `BoundedServer`. A client that disconnects cancels its handler.

    Bodies are not decompressed here: that would happen on the event loop, before anybody is authenticated.
    """

    def __init__(
        self,
        app: web.Application,
        limits: ServerLimits,
        metrics: ServerMetrics,
        *,
        behind_proxy: bool = False,
        shutdown_timeout: float = 5.0,
    ) -> None:
        """`behind_proxy`: all connections come from a proxy, so its address has no limit of its own."""
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)
        self._limits = limits
        self._metrics = metrics
        self._max_per_address = None if behind_proxy else limits.max_connections_per_address
        self._stack = ExitStack()

    async def _make_server(self) -> web.Server:
        server = BoundedServer(
            await super()._make_server(),
            self._limits,
            self._metrics,
            max_per_address=self._max_per_address,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=self._limits.keepalive_seconds,
        )
        self._stack.enter_context(quiet_accept_errors(self._metrics.accept_errors.inc))
        watch = spawn(server.watch_deadlines(), "HTTP deadlines")
        self._stack.callback(watch.cancel)
        return server

    async def cleanup(self) -> None:
        self._stack.close()
        await super().cleanup()
