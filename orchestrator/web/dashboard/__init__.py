"""The dashboard: sign-in, playground, billing, API keys and operations.

The pages call `/dashboard/api/...`, which accepts only session cookies and only requests from the dashboard's
own origin. The public API accepts only API keys.
"""

from __future__ import annotations

from aiohttp import web

from orchestrator.service import GenerationService
from orchestrator.web.admin.instances import InstanceAdminRoutes
from orchestrator.web.dashboard.billing import DashboardBillingRoutes
from orchestrator.web.dashboard.keys import ApiKeyRoutes
from orchestrator.web.dashboard.live import JobStreamRoutes
from orchestrator.web.dashboard.operations import OperationsRoutes
from orchestrator.web.dashboard.pages import PageRoutes
from orchestrator.web.dashboard.playground import PlaygroundRoutes
from orchestrator.web.dashboard.session_routes import SessionRoutes
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.jobs.output_urls import OutputDelivery

__all__ = ["DashboardRoutes", "SessionManager"]


class DashboardRoutes:
    """All routes of the dashboard."""

    def __init__(
        self,
        service: GenerationService,
        delivery: OutputDelivery,
        admin: InstanceAdminRoutes,
        sessions: SessionManager,
        *,
        allow_private: bool,
    ) -> None:
        """`allow_private`: accept webhook URLs with private addresses, for development."""
        self._route_groups = (
            SessionRoutes(sessions),
            PageRoutes(sessions, service.object_store),
            PlaygroundRoutes(service, delivery, sessions),
            JobStreamRoutes(service, delivery, sessions),
            DashboardBillingRoutes(service, sessions, allow_private=allow_private),
            ApiKeyRoutes(service, sessions),
            OperationsRoutes(admin, sessions),
        )

    def routes(self) -> list[web.RouteDef]:
        return [route for group in self._route_groups for route in group.routes()]
