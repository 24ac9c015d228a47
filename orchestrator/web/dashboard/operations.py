"""What the operations page asks for: the admin API itself, for an operator who is signed in."""

from __future__ import annotations

from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler

from orchestrator.web.admin.instances import Admin
from orchestrator.web.dashboard.sessions import Sessions


class Operations:
    """`/dashboard/api/admin/v1/...`: the same routes as under `/admin/v1`."""

    def __init__(self, admin: Admin, sessions: Sessions) -> None:
        self._admin = admin
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route(
                route.method,
                f"/dashboard/api{route.path}",
                self._behind_session(cast(Handler, route.handler)),
            )
            for route in self._admin.routes()
        ]

    def _behind_session(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await handler(self._sessions.as_operator(request))

        return answer
