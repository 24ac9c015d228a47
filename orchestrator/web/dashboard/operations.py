"""The API of the operations page: admin routes with an operator's session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from orchestrator.web.dashboard.sessions import SessionManager


class AdminRoutes(Protocol):
    """A part of the admin API."""

    def routes(self) -> list[web.RouteDef]: ...


class OperationsRoutes:
    """Serve the routes of `/admin/v1` below `/dashboard/api` too."""

    def __init__(self, admin: Sequence[AdminRoutes], sessions: SessionManager) -> None:
        self._admin = admin
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route(
                route.method,
                f"/dashboard/api{route.path}",
                self._require_operator(cast(Handler, route.handler)),
            )
            for group in self._admin
            for route in group.routes()
        ]

    def _require_operator(self, handler: Handler) -> Handler:
        async def handle_as_operator(request: web.Request) -> web.StreamResponse:
            return await handler(await self._sessions.with_admin_token(request))

        return handle_as_operator
