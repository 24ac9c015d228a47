"""PixelAPI's addresses: generations and the account."""

from __future__ import annotations

from fractions import Fraction

from aiohttp import web

from orchestrator.jobs import Job, JobRecord
from orchestrator.service import GenerationService
from orchestrator.web.auth import ApiKeyScope, authenticate
from orchestrator.web.dialects.credits import to_credits
from orchestrator.web.dialects.ids import job_id_from_uuid
from orchestrator.web.dialects.openai.images import parse_body
from orchestrator.web.dialects.pixelapi import schemas as answers
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.http.bodies import read_json
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.wait_for_result import job_headers, parse_idempotency_key
from orchestrator.web.openapi.operation import LIMIT_PARAM, openapi_operation


class PixelApiRoutes:
    """Submit, poll, and look at one's credits."""

    def __init__(self, service: GenerationService, delivery: OutputDelivery) -> None:
        """Raises TariffError where the dialect's price list is missing."""
        self._service = service
        self._delivery = delivery
        service.price_book.micros_per_unit(pixelapi.TARIFF)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/image/generate", self.submit_generation),
            web.get("/v1/image/{id}", self.get_generation),
            web.get("/v1/account/balance", self.get_balance),
            web.get("/v1/account/usage", self.list_generations),
        ]

    @openapi_operation(
        body=pixelapi.PixelApiGenerateBody,
        response=answers.PixelApiSubmitResponse,
        creates_job=True,
        tag="pixelapi",
    )
    async def submit_generation(self, request: web.Request) -> web.Response:
        """Submits a generation, and answers at once.

        What is against the content policy is told when it is polled, and costs nothing.
        """
        key = await authenticate(request, self._service.store)
        fields = await read_json(request)
        catalog = self._service.catalog
        body = parse_body(pixelapi.PixelApiGenerateBody, fields, form=False)
        asked = pixelapi.to_request(body, catalog, idempotency_key=parse_idempotency_key(request))
        record = await self._service.submit(key, asked)
        answer = pixelapi.to_submit_response(
            record.job, self._service.get_model(record.job), self._credit_micros
        )
        return web.json_response(answer, headers=job_headers(record))

    @openapi_operation(response=answers.PixelApiGenerationResponse, tag="pixelapi")
    async def get_generation(self, request: web.Request) -> web.Response:
        """What became of a generation."""
        key = await authenticate(request, self._service.store)
        job_id = job_id_from_uuid(request.match_info["id"])
        record = await self._service.get_job(key.account.id, job_id)
        return web.json_response(self._to_generation(record), headers=job_headers(record))

    @openapi_operation(response=answers.CreditBalanceResponse, tag="pixelapi")
    async def get_balance(self, request: web.Request) -> web.Response:
        """What is left of the account's credits."""
        key = await authenticate(request, self._service.store, ApiKeyScope.BILLING)
        have = await self._service.accounts.get_balance(key.account)
        return web.json_response(
            {
                "credits_remaining": to_credits(have.available, self._credit_micros),
                "plan": key.account.plan,
                # Accounts have a name, which may well be an address.
                "email": key.account.name if "@" in key.account.name else None,
            }
        )

    @openapi_operation(response=answers.PixelApiHistoryResponse, query={"limit": LIMIT_PARAM}, tag="pixelapi")
    async def list_generations(self, request: web.Request) -> web.Response:
        """The latest generations, newest first."""
        key = await authenticate(request, self._service.store)
        page = await self._service.list_jobs(
            key.account.id, limit=parse_limit(request), cursor=None, status=None
        )
        generations = [
            {**self._to_generation(record), "prompt": record.job.params.get("prompt")}
            for record in page.items
        ]
        return web.json_response({"generations": generations})

    def _to_generation(self, record: JobRecord) -> dict[str, object]:
        seconds = pixelapi.output_seconds_left(record.job, self._service.clock())
        url = self._delivery.presign_url(record.outputs[0], seconds) if seconds else None
        return pixelapi.to_generation_response(
            record.job, self._model_name(record.job), self._credit_micros, url
        )

    def _model_name(self, job: Job) -> str:
        """The document's name of the model, also of one that is not offered any more."""
        catalog = self._service.catalog
        return pixelapi.api_id(catalog[job.model]) if job.model in catalog else job.model

    @property
    def _credit_micros(self) -> Fraction:
        return self._service.price_book.micros_per_unit(pixelapi.TARIFF)
