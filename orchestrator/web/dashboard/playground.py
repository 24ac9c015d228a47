"""The API of the playground page: account, models, quotes and new jobs; `gallery` has the others."""

from __future__ import annotations

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.billing.api_keys import mask_api_key
from orchestrator.catalog import Catalog
from orchestrator.catalog.tasks import find_tasks
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.intake.name_defaults import default_params
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.web.account.billing_schemas import (
    BudgetAlert,
    WalletBalance,
    to_budget_alert,
    to_wallet_balance,
)
from orchestrator.web.dashboard.job_views import to_playground_job
from orchestrator.web.dashboard.schemas import (
    PlaygroundAccount,
    PlaygroundModelList,
    PlaygroundQuote,
    to_playground_model,
)
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.dialects.model_selection import with_fill
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.http.bodies import read_fields
from orchestrator.web.http.response_model import json_response
from orchestrator.web.instance_status import FleetInstances
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.protocols import Clock, DashboardStore, GenerationApi


class PlaygroundRoutes:
    """Routes for sessions of an API key."""

    def __init__(
        self,
        *,
        api: GenerationApi,
        store: DashboardStore,
        accounts: AccountService,
        clock: Clock,
        fleet: FleetInstances,
        delivery: OutputDelivery,
        sessions: SessionManager,
    ) -> None:
        self._api = api
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._fleet = fleet
        self._delivery = delivery
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/dashboard/api/account", self.get_account),
            web.get("/dashboard/api/models", self.list_models),
            web.get("/dashboard/api/models/{model}/examples/{parameter}", self.get_example_file),
            web.post("/dashboard/api/quote", self.quote_job),
            web.post("/dashboard/api/jobs", self.submit_job),
        ]

    async def get_account(self, request: web.Request) -> web.Response:
        """Return what the header of every page shows.

        That is the account, key, balance, fired alerts, and whether instances are simulated.
        """
        key = await self._sessions.require_key(request)
        may_see_billing = key.has_scope(ApiKeyScope.BILLING)
        return json_response(
            PlaygroundAccount(
                name=key.account.name,
                plan=key.account.plan,
                key=mask_api_key(key.prefix),
                scopes=sorted(key.limits.scopes),
                balance=await self._balance(key) if may_see_billing else None,
                alerts=await self._fired_alerts(key) if may_see_billing else [],
                simulated=any(info.simulated for info in self._fleet.instances()),
            )
        )

    async def list_models(self, request: web.Request) -> web.Response:
        """List the models that the key may use, with the parameters for their forms."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        catalog, tariff = self._api.catalog_for(key), self._api.default_tariff
        views = [
            to_playground_model(name, model, tariff, default_params(catalog.defaults_of(name), model))
            for name, model in dict(catalog.names()).items()
            if key.can_use_model(model.id)
        ]
        response = json_response(PlaygroundModelList(models=views, default=pixel_factory.DEFAULT_MODEL))
        # Large, and without anything that a stranger may choose.
        response.enable_compression()
        return response

    async def get_example_file(self, request: web.Request) -> web.Response:
        """Return an input file of the author that is kept with a model."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        model = self._api.catalog_for(key)[request.match_info["model"]]
        file = model.example_files.get(request.match_info["parameter"])
        if file is None or not key.can_use_model(model.id):
            raise NotFound("There is no such example file", code="not_found")
        headers = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
        # A stranger's file must never run as a page of this origin.
        headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
        return web.Response(body=file.data, content_type=file.content_type, headers=headers)

    async def quote_job(self, request: web.Request) -> web.Response:
        """Return the price of `{"model": ..., "params": {...}}`."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        order = await self._api.quote(
            key, await _read_generation_request(request, self._api.catalog_for(key))
        )
        return json_response(
            PlaygroundQuote(cost_usd=order.quote.usd, minimum_applied=order.quote.minimum_applied)
        )

    async def submit_job(self, request: web.Request) -> web.Response:
        """Submit a job and return it without waiting for its result."""
        key = await self._sessions.require_key_within_rate_limit(request, ApiKeyScope.GENERATE)
        record = await self._api.submit(
            key, await _read_generation_request(request, self._api.catalog_for(key))
        )
        return json_response(to_playground_job(record, self._delivery, request), status=202)

    async def _balance(self, key: ApiKey) -> WalletBalance:
        return to_wallet_balance(await self._accounts.get_balance(key.account))

    async def _fired_alerts(self, key: ApiKey) -> list[BudgetAlert]:
        now = self._clock()
        alerts = await self._store.list_alerts(key.account.id)
        return [to_budget_alert(alert, now) for alert in alerts if alert.has_fired(now)]


async def _read_generation_request(request: web.Request, catalog: Catalog) -> GenerationRequest:
    fields = await read_fields(request)
    params = fields.get("params")
    if not isinstance(params, dict):
        raise InvalidRequest(
            f"`params` must be an object (got {type(params).__name__})", code="invalid_params", param="params"
        )
    has_image = bool(params.get("image") or params.get("images"))

    def translate(has_mask: bool) -> GenerationRequest:
        served_by = _find_model_of_task(fields.get("model"), catalog, has_image=has_image, has_mask=has_mask)
        return GenerationRequest(model=fields.get("model", ""), served_by=served_by, params=params)

    return with_fill(translate, has_image=has_image, has_mask=bool(params.get("mask")))


def _find_model_of_task(name: object, catalog: Catalog, *, has_image: bool, has_mask: bool) -> str | None:
    """Return the model of a name that has several, by the images of the request; None for other names."""
    if not isinstance(name, str) or not catalog.tasks_of(name):
        return None
    return catalog.resolve(name, *find_tasks(image_count=int(has_image), has_mask=has_mask)).id
