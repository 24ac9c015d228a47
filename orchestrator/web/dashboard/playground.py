"""What the playground page asks for: the caller's account, models and prices, jobs and files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from orchestrator.billing.api_keys import mask_api_key
from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord
from orchestrator.media.errors import ObjectNotFound
from orchestrator.service import GenerationService
from orchestrator.store import ApiKey, ApiKeyScope
from orchestrator.web.account.alerts import to_budget_alert
from orchestrator.web.account.billing import to_wallet_balance
from orchestrator.web.dashboard.presets import preset_sizes
from orchestrator.web.dashboard.sessions import SessionManager
from orchestrator.web.dialects.pixel_factory import translation as pixel_factory
from orchestrator.web.http.bodies import read_fields
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.views import to_job_response
from pricing.tariff import Tariff


class PlaygroundRoutes:
    """`/dashboard/api/...` for who is signed in with an API key."""

    def __init__(
        self, service: GenerationService, delivery: OutputDelivery, sessions: SessionManager
    ) -> None:
        self._service = service
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
        """What the head of every page shows: who is signed in, what is left and what is amiss with that, and
        whether results may be simulated."""
        key = await self._sessions.require_key(request)
        body = {
            "name": key.account.name,
            "plan": key.account.plan,
            "key": mask_api_key(key.prefix),
            "scopes": sorted(key.limits.scopes),
            "balance": None,
            "alerts": [],
            "simulated": any(info.simulated for info in self._service.dispatcher.fleet.instances()),
        }
        return web.json_response(
            body | (await self._billing_summary(key) if key.has_scope(ApiKeyScope.BILLING) else {})
        )

    async def list_models(self, request: web.Request) -> web.Response:
        """The models that the key may use, with all that their forms need."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        models = [model for model in self._service.catalog if key.can_use_model(model.id)]
        tariff = self._service.default_tariff
        views = [to_playground_model(model, tariff) for model in models]
        return web.json_response({"models": views, "default": pixel_factory.DEFAULT_MODEL})

    async def quote_job(self, request: web.Request) -> web.Response:
        """The price of `{"model": ..., "params": {...}}`."""
        await self._sessions.require_key(request, ApiKeyScope.READ)
        order = await self._service.quote(await _read_generation_request(request))
        return web.json_response(
            {"cost_usd": order.quote.usd, "minimum_applied": order.quote.minimum_applied}
        )

    async def submit_job(self, request: web.Request) -> web.Response:
        """Accepts a job and does not wait for it."""
        key = await self._sessions.require_key_within_rate_limit(request, ApiKeyScope.GENERATE)
        record = await self._service.submit(key, await _read_generation_request(request))
        return web.json_response(to_playground_job(record, self._delivery), status=202)

    async def list_jobs(self, request: web.Request) -> web.Response:
        """The account's jobs, newest first, whichever way they came."""
        key = await self._sessions.require_key(request, ApiKeyScope.READ)
        page = await self._service.list_jobs(
            key.account.id, limit=parse_limit(request), cursor=request.query.get("cursor"), status=None
        )
        jobs = [to_playground_job(record, self._delivery) for record in page.items]
        return web.json_response({"jobs": jobs, "next": page.cursor})

    async def cancel_job(self, request: web.Request) -> web.Response:
        record = await self._get_own_job(request, ApiKeyScope.GENERATE)
        return web.json_response(
            to_playground_job(await self._service.cancel_job(record.job.id), self._delivery)
        )

    async def download_output(self, request: web.Request) -> web.Response:
        """A file to save. Browsers save under a name of ours only what comes from our own origin."""
        record = await self._get_own_job(request, ApiKeyScope.READ)
        index = int(request.match_info["index"])
        if index >= len(record.outputs):
            raise NotFound("The job has no such output", code="output_not_found")
        output = record.outputs[index]
        try:
            body = await self._service.object_store.get(output.key)
        except ObjectNotFound as error:
            raise NotFound("The file is no longer kept", code="output_expired") from error
        name = f"{record.job.model}-{record.job.id[-8:]}-{index + 1}{PurePosixPath(output.key).suffix}"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(body=body, content_type=output.content_type, headers=headers)

    async def _billing_summary(self, key: ApiKey) -> dict[str, object]:
        """What is left, and the alerts that stand fired."""
        balance, now = await self._service.accounts.get_balance(key.account), self._service.clock()
        alerts = await self._service.store.list_alerts(key.account.id)
        fired = [to_budget_alert(alert, now) for alert in alerts if alert.has_fired(now)]
        return {"balance": to_wallet_balance(balance), "alerts": fired}

    async def _get_own_job(self, request: web.Request, scope: ApiKeyScope) -> JobRecord:
        key = await self._sessions.require_key(request, scope)
        return await self._service.get_job(key.account.id, request.match_info["id"])


def to_playground_job(record: JobRecord, delivery: OutputDelivery) -> dict[str, Any]:
    """A job as the API shows it, with each output in the order of the seeds.

    The seed is a text: JavaScript would round a large one.
    """
    shown = to_job_response(record, delivery)
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
    return shown | {"params": shown["params"] | seed, "outputs": outputs}


def to_playground_model(model: Model, tariff: Tariff) -> dict[str, Any]:
    """What a form for the model has to know."""
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
        raise InvalidRequest("`params` must be an object", code="invalid_params", param="params")
    return GenerationRequest(model=fields.get("model", ""), params=params)
