"""The caller's budget alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import Field

from orchestrator.errors import InvalidRequest
from orchestrator.net.egress import is_receiver
from orchestrator.service import Service
from orchestrator.web.account.billing_schemas import BudgetAlert, BudgetAlerts
from orchestrator.web.auth import Enter
from orchestrator.web.http.request_model import Form, PositiveUsd, micros, read_form
from orchestrator.web.openapi.operation import describes
from pricing.alerts import Alert, AlertMetric
from pricing.money import to_usd

MAX_ALERTS = 50


class AlertTerms(Form):
    """When an alert fires, and whom it tells."""

    threshold_usd: PositiveUsd
    #: None: it is only listed.
    url: Annotated[str, Field(max_length=2000)] | None = None


class NewAlert(AlertTerms):
    watch: AlertMetric


class Alerts:
    """`/api/v1/billing/alerts`."""

    def __init__(self, service: Service, enter: Enter, *, allow_private: bool) -> None:
        """`allow_private`: receivers may be at private addresses, for development."""
        self._store = service.store
        self._clock = service.clock
        self._enter = enter
        self._allow_private = allow_private

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/billing/alerts", self.list),
            web.post("/api/v1/billing/alerts", self.add),
            web.put("/api/v1/billing/alerts/{id}", self.change),
            web.delete("/api/v1/billing/alerts/{id}", self.remove),
        ]

    @describes(answer=BudgetAlerts)
    async def list(self, request: web.Request) -> web.Response:
        key = await self._enter(request)
        alerts = await self._store.list_alerts(key.account.id)
        return web.json_response({"alerts": [alert_view(alert, self._clock()) for alert in alerts]})

    @describes(body=NewAlert, answer=BudgetAlert, status=201)
    async def add(self, request: web.Request) -> web.Response:
        key = await self._enter(request)
        terms = await read_form(request, NewAlert)
        if len(await self._store.list_alerts(key.account.id)) >= MAX_ALERTS:
            raise InvalidRequest(f"An account has at most {MAX_ALERTS} alerts", code="too_many_alerts")
        threshold, url = micros(terms.threshold_usd), self._checked(terms.url)
        alert = await self._store.add_alert(key.account.id, terms.watch, threshold, url, self._clock())
        return web.json_response(alert_view(alert, self._clock()), status=201)

    @describes(body=AlertTerms, answer=BudgetAlert)
    async def change(self, request: web.Request) -> web.Response:
        """Other terms; what is crossed by them fires anew."""
        key = await self._enter(request)
        terms = await read_form(request, AlertTerms)
        threshold, url = micros(terms.threshold_usd), self._checked(terms.url)
        id = request.match_info["id"]
        alert = await self._store.update_alert(key.account.id, id, threshold, url, self._clock())
        return web.json_response(alert_view(alert, self._clock()))

    @describes(status=204)
    async def remove(self, request: web.Request) -> web.Response:
        key = await self._enter(request)
        await self._store.delete_alert(key.account.id, request.match_info["id"])
        return web.Response(status=204)

    def _checked(self, url: str | None) -> str | None:
        """Refuses at once what could never be delivered; names are looked at when it is."""
        if url is not None and not is_receiver(url, allow_private=self._allow_private):
            raise InvalidRequest("`url` must be a public http(s) address", code="invalid_url", param="url")
        return url


def alert_view(alert: Alert, now: datetime) -> dict[str, object]:
    return {
        "id": alert.id,
        "watch": alert.watched.value,
        "threshold_usd": to_usd(alert.threshold),
        "url": alert.url,
        "fired": alert.has_fired(now),
        "created_at": alert.created_at.isoformat(),
    }
