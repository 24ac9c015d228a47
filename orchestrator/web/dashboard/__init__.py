"""The dashboard: sign-in, playground, billing, API keys and operations.

The pages call `/dashboard/api/...`, which accepts only session cookies and only requests from the dashboard's
own origin. The public API accepts only API keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.execution.results.thumbnails import Thumbnails
from orchestrator.intake.lora_resolver import LoraResolver
from orchestrator.net.webhook_urls import WebhookUrlChecker
from orchestrator.storage.object_store import ObjectStore
from orchestrator.web.dashboard.billing import DashboardBillingRoutes
from orchestrator.web.dashboard.gallery import GalleryRoutes
from orchestrator.web.dashboard.keys import ApiKeyRoutes
from orchestrator.web.dashboard.live import JobStreamRoutes
from orchestrator.web.dashboard.operations import AdminRoutes, OperationsRoutes
from orchestrator.web.dashboard.pages import PageRoutes
from orchestrator.web.dashboard.playground import PlaygroundRoutes
from orchestrator.web.dashboard.session_routes import SessionRoutes
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.instance_status import FleetInstances
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.result_sender import ResultSender
from orchestrator.web.operator_log import OperatorLog, RecordedRoutes
from orchestrator.web.protocols import Clock, DashboardStore, GenerationApi

__all__ = ["DashboardRoutes", "SessionManager"]


class DashboardRoutes:
    """All routes of the dashboard."""

    def __init__(
        self,
        *,
        api: GenerationApi,
        store: DashboardStore,
        accounts: AccountService,
        clock: Clock,
        objects: ObjectStore,
        fleet: FleetInstances,
        delivery: OutputDelivery,
        sender: ResultSender,
        updates: JobUpdates,
        admin: Sequence[AdminRoutes],
        log_of_changes: OperatorLog,
        sessions: SessionManager,
        webhook_urls: WebhookUrlChecker,
        loras: LoraResolver,
    ) -> None:
        self._route_groups = (
            SessionRoutes(sessions),
            PageRoutes(sessions, objects),
            PlaygroundRoutes(
                api=api,
                store=store,
                accounts=accounts,
                clock=clock,
                fleet=fleet,
                delivery=delivery,
                sessions=sessions,
            ),
            GalleryRoutes(
                api=api,
                store=store,
                thumbnails=Thumbnails(objects, store, delivery.marker),
                sender=sender,
                delivery=delivery,
                loras=loras,
                sessions=sessions,
            ),
            JobStreamRoutes(updates, delivery, sessions),
            DashboardBillingRoutes(store, accounts, clock, sessions, webhook_urls),
            RecordedRoutes((ApiKeyRoutes(store, accounts, api, sessions),), log_of_changes),
            OperationsRoutes(admin, sessions),
        )

    def routes(self) -> list[web.RouteDef]:
        return [route for group in self._route_groups for route in group.routes()]
