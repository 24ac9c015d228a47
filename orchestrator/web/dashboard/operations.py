"""What the operations page asks for: the admin API itself, for an operator who is signed in."""

from __future__ import annotations

from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from orchestrator.web.admin.instances import InstanceAdminRoutes
from orchestrator.web.dashboard.sessions import SessionManager


class OperationsRoutes:
    """`/dashboard/api/admin/v1/...`: the same routes as under `/admin/v1`."""

    def __init__(self, admin: InstanceAdminRoutes, sessions: SessionManager) -> None:
        self._admin = admin
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route(
                route.method,
                f"/dashboard/api{route.path}",
                self._require_operator(cast(Handler, route.handler)),
            )
            for route in self._admin.routes()
        ]

    def _require_operator(self, handler: Handler) -> Handler:
        async def handle_as_operator(request: web.Request) -> web.StreamResponse:
            return await handler(self._sessions.with_admin_token(request))

        return handle_as_operator
