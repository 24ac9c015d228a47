"""Hands requests of operators that only the scheduler can answer on to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import wraps
from typing import Protocol, cast

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from orchestrator.execution.live.link import ANSWER_SECONDS, no_scheduler
from orchestrator.web.auth import OPERATOR_HEADER, bearer_token, require_admin
from orchestrator.web.http.bodies import read_body

#: How long the scheduler may take for an operator's request, in seconds.
FORWARD_SECONDS = 10 * ANSWER_SECONDS


#: Headers of a request and of its response that are passed on.
_SENT_HEADERS = (OPERATOR_HEADER, "Content-Type")
_RETURNED_HEADERS = ("Content-Type", "Content-Disposition", "Cache-Control", "X-Accel-Buffering")


class Forwarder(Protocol):
    """The connection to the scheduler."""

    @property
    def url(self) -> str | None: ...

    @property
    def http(self) -> aiohttp.ClientSession: ...


class RouteGroup(Protocol):
    """A part of the admin API."""

    def routes(self) -> list[web.RouteDef]: ...


class ForwardedRoutes:
    """The routes of parts of the admin API, documented as they are, answered by the scheduler."""

    def __init__(
        self,
        groups: Sequence[RouteGroup],
        forwarder: Forwarder,
        token: str,
        authenticate: Callable[[web.Request], Awaitable[object]] | None = None,
    ) -> None:
        """`token` is the admin token, the same in all processes of an installation.

        `authenticate` accepts further credentials, which the scheduler checks again.
        """
        self._authenticate = authenticate
        self._groups = groups
        self._forwarder = forwarder
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route(route.method, route.path, self._forward(cast(Handler, route.handler)))
            for group in self._groups
            for route in group.routes()
        ]

    def _forward(self, handler: Handler) -> Handler:
        @wraps(handler)
        async def forward(request: web.Request) -> web.StreamResponse:
            if self._authenticate is None:
                require_admin(request, self._token)
            else:
                await self._authenticate(request)
            if (url := self._forwarder.url) is None:
                raise no_scheduler()
            path = request.rel_url.raw_path_qs.removeprefix("/dashboard/api")
            try:
                async with self._forwarder.http.request(
                    request.method,
                    url + path,
                    data=await read_body(request) or None,
                    headers=_forwarded_headers(request),
                    timeout=aiohttp.ClientTimeout(
                        total=None, connect=FORWARD_SECONDS, sock_read=FORWARD_SECONDS
                    ),
                    allow_redirects=False,
                ) as answer:
                    if answer.content_type == "text/event-stream":
                        return await _forward_stream(request, answer)
                    async with asyncio.timeout(FORWARD_SECONDS):
                        body = await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise no_scheduler() from error
            return web.Response(status=answer.status, body=body, headers=_returned_headers(answer))

        return forward


def _forwarded_headers(request: web.Request) -> dict[str, str]:
    """Return who sends a request, and what its body is."""
    headers = {"Authorization": f"Bearer {bearer_token(request)}"}
    return headers | {name: request.headers[name] for name in _SENT_HEADERS if name in request.headers}


def _returned_headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in _RETURNED_HEADERS if name in answer.headers}


async def _forward_stream(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Pass a stream of events on as it comes, until either side ends it."""
    response = web.StreamResponse(status=answer.status, headers=_returned_headers(answer))
    with suppress(ConnectionError, aiohttp.ClientError, TimeoutError):
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
    return response
