"""The caller's budget alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.errors import InvalidRequest
from orchestrator.net.egress import is_valid_webhook_url
from orchestrator.service import GenerationService
from orchestrator.web.account.billing_schemas import BudgetAlert, BudgetAlertList
from orchestrator.web.auth import Authenticator
from orchestrator.web.http.request_model import PositiveUsd, RequestModel, read_request_model, usd_to_micros
from orchestrator.web.openapi.operation import openapi_operation
from pricing.alerts import Alert, AlertMetric
from pricing.money import to_usd

MAX_ALERTS = 50


class ChangeAlertRequest(RequestModel):
    """When an alert fires, and whom it tells."""

    threshold_usd: PositiveUsd
    #: None: it is only listed.
    url: Annotated[str, Field(max_length=2000)] | None = None


class CreateAlertRequest(ChangeAlertRequest):
    watch: AlertMetric


class AlertRoutes:
    """`/api/v1/billing/alerts`."""

    def __init__(
        self, service: GenerationService, authenticate: Authenticator, *, allow_private: bool
    ) -> None:
        """`allow_private`: receivers may be at private addresses, for development."""
        self._store = service.store
        self._clock = service.clock
        self._authenticate = authenticate
        self._allow_private = allow_private

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/billing/alerts", self.list_alerts),
            web.post("/api/v1/billing/alerts", self.create_alert),
            web.put("/api/v1/billing/alerts/{id}", self.change_alert),
            web.delete("/api/v1/billing/alerts/{id}", self.delete_alert),
        ]

    @openapi_operation(response=BudgetAlertList)
    async def list_alerts(self, request: web.Request) -> web.Response:
        key = await self._authenticate(request)
        alerts = await self._store.list_alerts(key.account.id)
        return web.json_response({"alerts": [to_budget_alert(alert, self._clock()) for alert in alerts]})

    @openapi_operation(body=CreateAlertRequest, response=BudgetAlert, status=201)
    async def create_alert(self, request: web.Request) -> web.Response:
        key = await self._authenticate(request)
        terms = await read_request_model(request, CreateAlertRequest)
        if len(await self._store.list_alerts(key.account.id)) >= MAX_ALERTS:
            raise InvalidRequest(f"An account has at most {MAX_ALERTS} alerts", code="too_many_alerts")
        threshold, url = usd_to_micros(terms.threshold_usd), self._validate_url(terms.url)
        alert = await self._store.add_alert(key.account.id, terms.watch, threshold, url, self._clock())
        return web.json_response(to_budget_alert(alert, self._clock()), status=201)

    @openapi_operation(body=ChangeAlertRequest, response=BudgetAlert)
    async def change_alert(self, request: web.Request) -> web.Response:
        """Other terms; what is crossed by them fires anew."""
        key = await self._authenticate(request)
        terms = await read_request_model(request, ChangeAlertRequest)
        threshold, url = usd_to_micros(terms.threshold_usd), self._validate_url(terms.url)
        id = request.match_info["id"]
        alert = await self._store.update_alert(key.account.id, id, threshold, url, self._clock())
        return web.json_response(to_budget_alert(alert, self._clock()))

    @openapi_operation(status=204)
    async def delete_alert(self, request: web.Request) -> web.Response:
        key = await self._authenticate(request)
        await self._store.delete_alert(key.account.id, request.match_info["id"])
        return web.Response(status=204)

    def _validate_url(self, url: str | None) -> str | None:
        """Refuses at once what could never be delivered; names are looked at when it is."""
        if url is not None and not is_valid_webhook_url(url, allow_private=self._allow_private):
            raise InvalidRequest("`url` must be a public http(s) address", code="invalid_url", param="url")
        return url


def to_budget_alert(alert: Alert, now: datetime) -> dict[str, object]:
    return {
        "id": alert.id,
        "watch": alert.watched.value,
        "threshold_usd": to_usd(alert.threshold),
        "url": alert.url,
        "fired": alert.has_fired(now),
        "created_at": alert.created_at.isoformat(),
    }
