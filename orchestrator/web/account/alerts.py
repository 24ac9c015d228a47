"""`/api/v1/billing/alerts`: budget alerts of the caller's account."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.errors import invalid_field
from orchestrator.net.webhook_urls import WebhookUrlChecker, describe_rejected_url
from orchestrator.store.protocol import AlertStore
from orchestrator.web.account.billing_schemas import BudgetAlert, BudgetAlertList, to_budget_alert
from orchestrator.web.auth import ApiKey, Authenticator
from orchestrator.web.http.request_model import PositiveUsd, RequestModel, read_request_model, usd_to_micros
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import openapi_operation
from orchestrator.web.protocols import Clock
from pricing.alerts import AlertMetric

#: Alerts per account.
MAX_ALERTS = 50


class ChangeAlertRequest(RequestModel):
    """New threshold and URL of an alert."""

    threshold_usd: PositiveUsd = Field(description="Threshold in US dollars.", examples=[20])
    url: Annotated[str, Field(max_length=2000)] | None = Field(
        None,
        description="Public URL that receives a `budget.alert` webhook; null: the alert is only listed.",
        examples=["https://example.com/webhook"],
    )


class CreateAlertRequest(ChangeAlertRequest):
    """A new alert."""

    watch: AlertMetric = Field(
        description="What to watch: the `balance`, or the spending of the `day` or `month` (UTC)."
    )


class AlertRoutes:
    """Routes of budget alerts."""

    def __init__(
        self,
        store: AlertStore,
        clock: Clock,
        authenticate: Authenticator,
        webhook_urls: WebhookUrlChecker,
    ) -> None:
        self._store = store
        self._clock = clock
        self._authenticate = authenticate
        self._webhook_urls = webhook_urls

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/billing/alerts", self.list_alerts),
            web.post("/api/v1/billing/alerts", self.create_alert),
            web.put("/api/v1/billing/alerts/{id}", self.change_alert),
            web.delete("/api/v1/billing/alerts/{id}", self.delete_alert),
        ]

    @openapi_operation(
        summary="List budget alerts",
        description="Returns all budget alerts of the account, and whether they have fired.",
        response=BudgetAlertList,
    )
    async def list_alerts(self, request: web.Request) -> web.Response:
        """Return the caller's alerts."""
        key = await self._authenticate(request)
        alerts = await self._store.list_alerts(key.account.id)
        return json_response(
            BudgetAlertList(alerts=[to_budget_alert(alert, self._clock()) for alert in alerts])
        )

    @openapi_operation(
        summary="Create a budget alert",
        description="Creates an alert that fires once when its threshold is crossed, and again only after it "
        "was crossed back or a new period has begun. It fires at once if the threshold is crossed already.",
        body=CreateAlertRequest,
        response=BudgetAlert,
        response_description="The created alert.",
        status=201,
    )
    async def create_alert(self, request: web.Request) -> web.Response:
        """Create an alert of the caller's account."""
        key = await self._authenticate(request)
        body = await read_request_model(request, CreateAlertRequest)
        threshold, url = usd_to_micros(body.threshold_usd), await self._validate_url(key, body.url)
        alert = await self._store.add_alert(
            key.account.id, body.watch, threshold, url, self._clock(), max_alerts=MAX_ALERTS
        )
        return json_response(to_budget_alert(alert, self._clock()), status=201)

    @openapi_operation(
        summary="Change a budget alert",
        description="Replaces threshold and URL of an alert. It fires again if the new threshold is crossed.",
        body=ChangeAlertRequest,
        response=BudgetAlert,
        response_description="The changed alert.",
    )
    async def change_alert(self, request: web.Request) -> web.Response:
        """Change an alert of the caller's account."""
        key = await self._authenticate(request)
        body = await read_request_model(request, ChangeAlertRequest)
        threshold, url = usd_to_micros(body.threshold_usd), await self._validate_url(key, body.url)
        alert_id = request.match_info["id"]
        alert = await self._store.update_alert(key.account.id, alert_id, threshold, url, self._clock())
        return json_response(to_budget_alert(alert, self._clock()))

    @openapi_operation(
        summary="Delete a budget alert",
        description="Deletes an alert of the account.",
        response_description="The alert is deleted.",
        status=204,
    )
    async def delete_alert(self, request: web.Request) -> web.Response:
        """Delete an alert of the caller's account."""
        key = await self._authenticate(request)
        await self._store.delete_alert(key.account.id, request.match_info["id"])
        return web.Response(status=204)

    async def _validate_url(self, key: ApiKey, url: str | None) -> str | None:
        """Return `url` if a webhook may be sent to it. Raises InvalidRequest."""
        if url is not None and not await self._webhook_urls.is_allowed(url, key.account.id):
            raise invalid_field("url", describe_rejected_url(url))
        return url
