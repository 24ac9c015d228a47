"""Routes that only PixelDojo has; it shares the jobs API and the list of models with the other dialects."""

from __future__ import annotations

import asyncio

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.errors import InsufficientBalance
from orchestrator.web.auth import ApiKeyScope, authenticate
from orchestrator.web.dialects.credits import in_credits
from orchestrator.web.dialects.pixeldojo import models as pixeldojo_models
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.dialects.pixeldojo.name_schema import schema_of_name
from orchestrator.web.dialects.pixeldojo.schemas import (
    RunModelResponse,
    RunSchemaResponse,
    WebhookReplayResponse,
)
from orchestrator.web.dialects.request_body import parse_body
from orchestrator.web.http.bodies import read_json
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.schemas import JOB_STATUS_NAMES, to_delivery_status
from orchestrator.web.jobs.wait_for_result import job_headers, parse_idempotency_key
from orchestrator.web.openapi.operation import Access, openapi_operation
from orchestrator.web.protocols import GenerationApi
from orchestrator.web.visible_models import visible_catalog


class PixelDojoRoutes:
    """Run a model, read its schema, and send a webhook again."""

    def __init__(self, service: GenerationApi, accounts: AccountService, public_url: str | None) -> None:
        """`public_url` is the URL under which callers reach the service, None for that of the request.

        Raises TariffError if PixelDojo's price list is missing.
        """
        self._service = service
        self._accounts = accounts
        self._public_url = public_url
        service.price_book.micros_per_unit(pixeldojo.TARIFF)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/models/{id}/run", self.run_model),
            web.get("/api/v1/models/{id}/schema", self.get_run_schema),
            web.post("/api/v1/jobs/{id}/webhook", self.replay_webhook),
            web.get("/api/openapi", self.redirect_to_openapi),
        ]

    @openapi_operation(body=pixeldojo.RunBody, response=RunModelResponse, creates_job=True, tag="pixeldojo")
    async def run_model(self, request: web.Request) -> web.Response:
        """Run a model.

        Responds as soon as the job is accepted; poll `statusUrl` or set `webhook_url` for the result.
        """
        key = await authenticate(request)
        name = request.match_info["id"]
        catalog = self._service.catalog_for(key)
        models = catalog.models_of(name)
        parameters = {parameter for model in models for parameter in model.parameters}
        body = parse_body(pixeldojo.RunBody, await read_json(request), parameters=parameters)
        generation_request = pixeldojo.to_request(
            name,
            body,
            catalog,
            idempotency_key=parse_idempotency_key(request),
        )
        credit_micros = self._service.price_book.micros_per_unit(pixeldojo.TARIFF)
        try:
            record = await submit_job(request, self._service, key, generation_request, waits_for_result=False)
        except InsufficientBalance as error:
            raise in_credits(error, credit_micros) from error
        may_read_balance = key.has_scope(ApiKeyScope.BILLING)
        balance = await self._accounts.get_balance(key.account) if may_read_balance else None
        response = pixeldojo.to_run_response(
            record.job,
            JOB_STATUS_NAMES[record.job.status],
            f"{public_base_url(request, self._public_url)}/api/v1/jobs/{record.job.id}",
            credit_micros=credit_micros,
            available_micros=None if balance is None else balance.available,
        )
        return json_response(response, headers=job_headers(record))

    @openapi_operation(response=RunSchemaResponse, access=Access.NONE, tag="pixeldojo")
    async def get_run_schema(self, request: web.Request) -> web.Response:
        """Get the JSON Schema of a model's parameters.

        Needs no API key.
        """
        name = request.match_info["id"]
        catalog = await visible_catalog(request, self._service)
        model = catalog[name]
        other_name = None if name == model.id else name
        api_id = pixeldojo_models.api_id(model, self._service.price_book, other_name)
        # The first one of a model takes a while.
        schema = await asyncio.to_thread(schema_of_name, catalog, name)
        return json_response(RunSchemaResponse(apiId=api_id, json_schema=schema))

    @openapi_operation(response=WebhookReplayResponse, tag="pixeldojo")
    async def replay_webhook(self, request: web.Request) -> web.Response:
        """Send the webhook of a finished job again.

        The message keeps its id, so that the receiver can recognize it.
        """
        key = await authenticate(request)
        message = await self._service.replay_webhook(key.account.id, request.match_info["id"])
        delivery = to_delivery_status(message)
        return json_response(WebhookReplayResponse(jobId=message.job_id, webhook=delivery))

    @openapi_operation(
        access=Access.NONE, status=302, response_description="Redirect to `/openapi.json`.", tag="pixeldojo"
    )
    async def redirect_to_openapi(self, request: web.Request) -> web.Response:
        """Redirect to the OpenAPI document.

        PixelDojo's document names this path.
        """
        return web.Response(status=302, headers={"Location": "/openapi.json"})
