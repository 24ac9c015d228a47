"""The API of the billing page: the public billing and webhook routes with a session, and the plan."""

from __future__ import annotations

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.net.webhook_urls import WebhookUrlChecker
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.web.account.alerts import AlertRoutes
from orchestrator.web.account.billing import BillingRoutes
from orchestrator.web.account.webhook_messages import WebhookMessageRoutes
from orchestrator.web.dashboard.sessions import SAFE_METHODS, SessionManager
from orchestrator.web.protocols import Clock, DashboardStore
from orchestrator.webhooks.sender import SigningSecrets
from pricing.money import to_usd
from pricing.plans import billing_period


class DashboardBillingRoutes:
    """Serve `/api/v1/billing/...` and `/api/v1/webhooks/...` below `/dashboard/api` too."""

    def __init__(
        self,
        store: DashboardStore,
        accounts: AccountService,
        clock: Clock,
        sessions: SessionManager,
        webhook_urls: WebhookUrlChecker,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._sessions = sessions
        self._route_groups = (
            BillingRoutes(store, accounts, clock, self._authenticate),
            AlertRoutes(store, clock, self._authenticate, webhook_urls),
            WebhookMessageRoutes(store, SigningSecrets(store, clock), clock, self._authenticate),
        )

    def routes(self) -> list[web.RouteDef]:
        shared = [
            web.route(route.method, route.path.replace("/api/v1", "/dashboard/api", 1), route.handler)
            for group in self._route_groups
            for route in group.routes()
        ]
        return [web.get("/dashboard/api/billing/plan", self.get_plan), *shared]

    async def get_plan(self, request: web.Request) -> web.Response:
        """Return the account's plan: monthly price and credits, credits left, and when they renew."""
        account = (await self._authenticate(request)).account
        await self._accounts.renew_allowance(account)
        plan = self._accounts.get_plan(account)
        _, end = billing_period(account.plan_since, self._accounts.now())
        body = {
            "id": plan.id,
            "price_usd": to_usd(plan.price),
            "allowance_usd": to_usd(plan.monthly_micros),
            "left_usd": to_usd(await self._store.remaining_allowance(account.id)),
            "renews_at": end.isoformat(),
        }
        return web.json_response(body)

    async def _authenticate(self, request: web.Request) -> ApiKey:
        """Return the API key of the session. Only requests that change something count for the rate limit."""
        authenticate = (
            self._sessions.require_key
            if request.method in SAFE_METHODS
            else self._sessions.require_key_within_rate_limit
        )
        return await authenticate(request, ApiKeyScope.BILLING)
