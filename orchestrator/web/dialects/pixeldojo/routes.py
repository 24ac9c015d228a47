"""PixelDojo's own addresses; its jobs are everybody's jobs, and its models everybody's models."""

from __future__ import annotations

from aiohttp import web

from orchestrator.service import GenerationService
from orchestrator.web.auth import authenticate
from orchestrator.web.dialects.openai.images import parse_body
from orchestrator.web.dialects.pixeldojo import models as pixeldojo_models
from orchestrator.web.dialects.pixeldojo import schemas as answers
from orchestrator.web.dialects.pixeldojo import translation as pixeldojo
from orchestrator.web.http.bodies import read_json
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.jobs.views import JOB_STATUS_NAMES
from orchestrator.web.jobs.wait_for_result import job_headers, parse_idempotency_key
from orchestrator.web.openapi import llms_txt
from orchestrator.web.openapi.operation import Access, openapi_operation
from orchestrator.webhooks.sender import to_delivery_status


class PixelDojoRoutes:
    """Run a model, read what it takes, tell a webhook once more."""

    def __init__(self, service: GenerationService, public_url: str | None) -> None:
        """`public_url`: where callers reach us; None: where a request says that it came to.

        Raises TariffError where the dialect's price list is missing.
        """
        self._service = service
        self._public_url = public_url
        service.price_book.micros_per_unit(pixeldojo.TARIFF)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/models/{id}/run", self.run_model),
            web.get("/api/v1/models/{id}/schema", self.get_run_schema),
            web.post("/api/v1/jobs/{id}/webhook", self.replay_webhook),
            web.get("/llms.txt", self.get_llms_txt),
            web.get("/api/openapi", self.redirect_to_openapi),
        ]

    @openapi_operation(
        body=pixeldojo.RunBody, response=answers.RunModelResponse, creates_job=True, tag="pixeldojo"
    )
    async def run_model(self, request: web.Request) -> web.Response:
        """Runs a model, and answers as soon as the job is accepted."""
        key = await authenticate(request, self._service.store)
        fields = await read_json(request)
        body = parse_body(pixeldojo.RunBody, fields, form=False)
        asked = pixeldojo.to_request(
            request.match_info["id"],
            body,
            self._service.catalog,
            idempotency_key=parse_idempotency_key(request),
        )
        record = await self._service.submit(key, asked)
        have = await self._service.accounts.get_balance(key.account)
        url = f"{public_base_url(request, self._public_url)}/api/v1/jobs/{record.job.id}"
        job, unit = record.job, self._service.price_book.micros_per_unit(pixeldojo.TARIFF)
        answer = pixeldojo.to_run_response(
            job, JOB_STATUS_NAMES[job.status], url, credit_micros=unit, available_micros=have.available
        )
        return web.json_response(answer, headers=job_headers(record))

    @openapi_operation(response=answers.RunSchemaResponse, access=Access.NONE, tag="pixeldojo")
    async def get_run_schema(self, request: web.Request) -> web.Response:
        """What a run of one model takes."""
        model = self._service.catalog[request.match_info["id"]]
        api_id = pixeldojo_models.api_id(model, self._service.price_book)
        return web.json_response({"apiId": api_id, "schema": pixeldojo_models.run_schema(model)})

    @openapi_operation(response=answers.WebhookReplayResponse, tag="pixeldojo")
    async def replay_webhook(self, request: web.Request) -> web.Response:
        """Sends a finished job's webhook once more, under the same id."""
        key = await authenticate(request, self._service.store)
        message = await self._service.replay_webhook(key.account.id, request.match_info["id"])
        return web.json_response(
            {"jobId": message.job_id, "webhook": to_delivery_status(message.url, message)}
        )

    @openapi_operation(access=Access.NONE, content_types=("text/plain",), tag="pixeldojo")
    async def get_llms_txt(self, request: web.Request) -> web.Response:
        """The service described for language models."""
        service = self._service
        text = llms_txt.render_llms_txt(
            service.catalog, service.price_book, public_base_url(request, self._public_url)
        )
        return web.Response(text=text, content_type="text/plain", charset="utf-8")

    @openapi_operation(access=Access.NONE, status=302, tag="pixeldojo")
    async def redirect_to_openapi(self, request: web.Request) -> web.Response:
        """The OpenAPI document, under the address that PixelDojo has for it."""
        return web.Response(status=302, headers={"Location": "/openapi.json"})
