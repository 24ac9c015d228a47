"""Routes of PixelAPI: generations and the account's credits."""

from __future__ import annotations

from fractions import Fraction

from aiohttp import web

from orchestrator.billing.accounts import AccountService
from orchestrator.errors import InsufficientBalance, InvalidRequest
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.web.auth import ApiKeyScope, authenticate
from orchestrator.web.dialects.credits import in_credits, to_credits
from orchestrator.web.dialects.ids import job_id_from_uuid
from orchestrator.web.dialects.pixelapi import translation as pixelapi
from orchestrator.web.dialects.pixelapi.schemas import (
    CreditBalanceResponse,
    PixelApiGenerationResponse,
    PixelApiHistoryItem,
    PixelApiHistoryResponse,
    PixelApiSubmitResponse,
)
from orchestrator.web.dialects.request_body import parse_body
from orchestrator.web.http.bodies import read_json
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import job_headers, note_job, parse_idempotency_key
from orchestrator.web.openapi.operation import LIMIT_PARAM, openapi_operation
from orchestrator.web.protocols import Clock, GenerationApi


class PixelApiRoutes:
    """Submit and poll generations, and read the account's credits."""

    def __init__(
        self,
        service: GenerationApi,
        delivery: OutputDelivery,
        accounts: AccountService,
        clock: Clock,
    ) -> None:
        """Raises TariffError if PixelAPI's price list is missing."""
        self._service = service
        self._accounts = accounts
        self._delivery = delivery
        self._clock = clock
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
        response=PixelApiSubmitResponse,
        creates_job=True,
        tag="pixelapi",
    )
    async def submit_generation(self, request: web.Request) -> web.Response:
        """Submit a generation.

        Responds at once; poll `GET /v1/image/{id}` for the result. A request that the content policy rejects
        is reported as `blocked` when it is polled, and costs nothing.
        """
        key = await authenticate(request)
        fields = await read_json(request)
        catalog = self._service.catalog_for(key)
        body = parse_body(
            pixelapi.PixelApiGenerateBody, fields, parameters=catalog.parameters_of(fields.get("model"))
        )
        idempotency_key = parse_idempotency_key(request)
        try:
            generation_request = pixelapi.to_request(body, catalog, idempotency_key=idempotency_key)
            record = await submit_job(request, self._service, key, generation_request, waits_for_result=False)
        except InvalidRequest as error:
            raise body.use_document_names(error, catalog) from error
        except InsufficientBalance as error:
            raise in_credits(error, self._credit_micros) from error
        response = pixelapi.to_submit_response(record.job, self._credit_micros)
        return json_response(response, headers=job_headers(record))

    @openapi_operation(response=PixelApiGenerationResponse, tag="pixelapi")
    async def get_generation(self, request: web.Request) -> web.Response:
        """Get a generation and its result."""
        key = await authenticate(request, is_poll=True)
        job_id = job_id_from_uuid(request.match_info["id"])
        record = note_job(request, await self._service.get_job(key.account.id, job_id))
        return json_response(self._to_generation(request, record), headers=job_headers(record))

    @openapi_operation(response=CreditBalanceResponse, tag="pixelapi")
    async def get_balance(self, request: web.Request) -> web.Response:
        """Get the account's credits."""
        key = await authenticate(request, ApiKeyScope.BILLING)
        balance = await self._accounts.get_balance(key.account)
        return json_response(
            CreditBalanceResponse(
                credits_remaining=to_credits(balance.available, self._credit_micros),
                plan=key.account.plan,
                email=pixelapi.account_email(key.account),
            )
        )

    @openapi_operation(response=PixelApiHistoryResponse, query={"limit": LIMIT_PARAM}, tag="pixelapi")
    async def list_generations(self, request: web.Request) -> web.Response:
        """List the account's latest generations, newest first."""
        key = await authenticate(request)
        page = await self._service.list_jobs(
            key.account.id, limit=parse_limit(request), cursor=None, status=None
        )
        return json_response(
            PixelApiHistoryResponse(
                generations=[self._to_history_item(request, record) for record in page.items]
            )
        )

    def _to_history_item(self, request: web.Request, record: JobRecord) -> PixelApiHistoryItem:
        generation = self._to_generation(request, record).model_dump(exclude_unset=True)
        return PixelApiHistoryItem(**generation, prompt=record.job.params.get("prompt"))

    def _to_generation(self, request: web.Request, record: JobRecord) -> PixelApiGenerationResponse:
        return pixelapi.to_generation_response(
            record.job, self._credit_micros, self._output_url(request, record)
        )

    def _output_url(self, request: web.Request, record: JobRecord) -> str | None:
        """Return the URL of the output, or None if there is none (yet, or any more)."""
        job = record.job
        if job.status is not JobStatus.SUCCEEDED or job.finished_at is None:
            return None
        expires = job.finished_at + pixelapi.OUTPUT_LIFETIME
        if expires <= self._clock():
            return None
        return self._delivery.url_of(job.id, record.outputs[0].key, request, expires=expires)

    @property
    def _credit_micros(self) -> Fraction:
        return self._service.price_book.micros_per_unit(pixelapi.TARIFF)
