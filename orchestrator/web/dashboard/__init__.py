"""Pages for people: sign-in, playground with gallery, billing, keys, operations.

The pages are plain files that talk to `/dashboard/api/...`, which only a signed-in browser may use, and
only from our own pages. The public API knows nothing of sessions.
"""

from __future__ import annotations

from aiohttp import web

from orchestrator.service import Service
from orchestrator.web.admin.instances import Admin
from orchestrator.web.dashboard.billing import Money
from orchestrator.web.dashboard.keys import Keys
from orchestrator.web.dashboard.live import Live
from orchestrator.web.dashboard.operations import Operations
from orchestrator.web.dashboard.pages import Pages
from orchestrator.web.dashboard.playground import Playground
from orchestrator.web.dashboard.session_routes import Entrance
from orchestrator.web.dashboard.sessions import Sessions
from orchestrator.web.jobs.output_urls import Delivery

__all__ = ["Dashboard", "Sessions"]


class Dashboard:
    """All of it."""

    def __init__(
        self,
        service: Service,
        delivery: Delivery,
        admin: Admin,
        sessions: Sessions,
        *,
        allow_private: bool,
    ) -> None:
        """`allow_private`: receivers of webhooks may be at private addresses, for development."""
        self._parts = (
            Entrance(sessions),
            Pages(sessions, service.objects),
            Playground(service, delivery, sessions),
            Live(service, delivery, sessions),
            Money(service, sessions, allow_private=allow_private),
            Keys(service, sessions),
            Operations(admin, sessions),
        )

    def routes(self) -> list[web.RouteDef]:
        return [route for part in self._parts for route in part.routes()]
