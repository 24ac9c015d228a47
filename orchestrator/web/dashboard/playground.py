"""The API of the playground page: account, models, quotes, jobs and output files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.billing.api_keys import mask_api_key
from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.fair_slots import FairSlots
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord
from orchestrator.media.errors import ObjectNotFound
from orchestrator.storage.object_store import ObjectStore
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.web.account.billing_schemas import to_budget_alert, to_wallet_balance
from orchestrator.web.dashboard.presets import preset_sizes
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.http.bodies import read_fields
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.instance_status import FleetInstances
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.schemas import to_job_fields
from orchestrator.web.protocols import Clock, DashboardStore, GenerationApi
from pricing.tariff import Tariff


class PlaygroundRoutes:
    """Routes for sessions of an API key."""

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
        sessions: SessionManager,
    ) -> None:
        self._api = api
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._objects = objects
        self._download_slots = FairSlots("downloads", 6, per_account=2, max_waiting=64)
        self._fleet = fleet
        self._delivery = delivery
        self._sessions = sessions

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/dashboard/api/account", self.get_account),
            web.get("/dashboard/api/models", self.list_models),
            web.post("/dashboard/api/quote", self.quote_job),
            web.get("/dashboard/api/jobs", self.list_jobs),
            web.post("/dashboard/api/jobs", self.submit_job),
            web.delete("/dashboard/api/jobs/{id}", self.cancel_job),
            web.get("/dashboard/api/jobs/{id}/outputs/{index:[0-9]{1,3}}", self.download_output),
        ]

    async def get_account(self, request: web.Request) -> web.Response:
        """Return what the header of every page shows.

        That is the account, key, balance, fired alerts, and whether instances are simulated.
        """
        key = await self._sessions.require_key(request)
        body = {
            "name": key.account.name,
            "plan": key.account.plan,
            "key": mask_api_key(key.prefix),
            "scopes": sorted(key.limits.scopes),
            "balance": None,
            "alerts": [],
            "simulated": any(info.simulated for info in self._fleet.instances()),
        }
        return web.json_response(
            body | (await self._billing_summary(key) if key.has_scope(ApiKeyScope.BILLING) else {})
        )

    async def list_models(self, request: web.Request) -> web.Response:
        """List the models that the key may use, with the parameters for their forms."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        models = [model for model in self._api.catalog if key.can_use_model(model.id)]
        tariff = self._api.default_tariff
        views = [to_playground_model(model, tariff) for model in models]
        return web.json_response({"models": views, "default": pixel_factory.DEFAULT_MODEL})

    async def quote_job(self, request: web.Request) -> web.Response:
        """Return the price of `{"model": ..., "params": {...}}`."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        order = await self._api.quote(key, await _read_generation_request(request))
        return web.json_response(
            {"cost_usd": order.quote.usd, "minimum_applied": order.quote.minimum_applied}
        )

    async def submit_job(self, request: web.Request) -> web.Response:
        """Submit a job and return it without waiting for its result."""
        key = await self._sessions.require_key_within_rate_limit(request, ApiKeyScope.GENERATE)
        record = await self._api.submit(key, await _read_generation_request(request))
        return web.json_response(to_playground_job(record, self._delivery), status=202)

    async def list_jobs(self, request: web.Request) -> web.Response:
        """List the account's jobs, newest first, from the playground and from all APIs."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        page = await self._api.list_jobs(
            key.account.id, limit=parse_limit(request), cursor=request.query.get("cursor"), status=None
        )
        jobs = [to_playground_job(record, self._delivery) for record in page.items]
        return web.json_response({"jobs": jobs, "next": page.cursor})

    async def cancel_job(self, request: web.Request) -> web.Response:
        """Cancel an unfinished job. Its price is released."""
        record = await self._get_own_job(request, ApiKeyScope.GENERATE)
        return web.json_response(to_playground_job(await self._api.cancel_job(record.job.id), self._delivery))

    async def download_output(self, request: web.Request) -> web.Response:
        """Send an output as a download with a file name.

        Browsers ignore a suggested file name for URLs of another origin, such as presigned ones.
        """
        record = await self._get_own_job(request, ApiKeyScope.READ)
        index = int(request.match_info["index"])
        if index >= len(record.outputs):
            raise NotFound(
                f"Job {record.job.id!r} has no output {index}; it has {len(record.outputs)}",
                code="output_not_found",
            )
        output = record.outputs[index]
        try:
            async with self._download_slots.slot(record.job.account_id):
                body = await self._objects.get(output.key)
        except ObjectNotFound as error:
            raise NotFound(
                "The output has expired and its file was deleted. Submit the job again.",
                code="output_expired",
            ) from error
        name = f"{record.job.model}-{record.job.id[-8:]}-{index + 1}{PurePosixPath(output.key).suffix}"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=body, content_type=output.content_type, headers=headers)

    async def _billing_summary(self, key: ApiKey) -> dict[str, object]:
        """Return the balance and the fired alerts."""
        balance, now = await self._accounts.get_balance(key.account), self._clock()
        alerts = await self._store.list_alerts(key.account.id)
        fired = [to_json_dict(to_budget_alert(alert, now)) for alert in alerts if alert.has_fired(now)]
        return {"balance": to_json_dict(to_wallet_balance(balance)), "alerts": fired}

    async def _get_own_job(self, request: web.Request, scope: ApiKeyScope) -> JobRecord:
        key = await self._sessions.require_key(request, scope)
        return await self._api.get_job(key.account.id, request.match_info["id"])


def to_playground_job(record: JobRecord, delivery: OutputDelivery) -> dict[str, Any]:
    """Return a job as the API shows it, with all outputs in the order of their seeds.

    The seed is a string, because JavaScript rounds integers above 2^53.
    """
    job = to_json_dict(to_job_fields(record, delivery))
    outputs = [
        {
            "url": delivery.presign_url(output),
            "type": output.content_type,
            "width": output.width,
            "height": output.height,
        }
        for output in record.outputs
    ]
    seed = {"seed": str(record.job.params["seed"])} if "seed" in record.job.params else {}
    return job | {"params": job["params"] | seed, "outputs": outputs}


def to_playground_model(model: Model, tariff: Tariff) -> dict[str, Any]:
    """Return a model with the parameters, sizes and price that its form needs."""
    return {
        "id": model.id,
        "name": model.name,
        "kind": model.kind.value,
        "description": model.description,
        "max_n": model.max_n,
        "price_usd": tariff.base_cents(model.price_class) / 100,
        "parameters": {name: spec.model_dump(mode="json") for name, spec in model.parameters.items()},
        "sizes": preset_sizes(model),
    }


async def _read_generation_request(request: web.Request) -> GenerationRequest:
    fields = await read_fields(request)
    params = fields.get("params")
    if not isinstance(params, dict):
        raise InvalidRequest(
            f"`params` must be an object (got {type(params).__name__})", code="invalid_params", param="params"
        )
    return GenerationRequest(model=fields.get("model", ""), params=params)
