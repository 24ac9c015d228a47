"""Pixazo's addresses: one for each model, and two where requests are asked after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest, NotAuthenticated, NotFound
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.service import GenerationService
from orchestrator.web.auth import ApiKey, ApiKeyScope, authenticate, bearer_token
from orchestrator.web.dialects.ids import job_id_from_uuid
from orchestrator.web.dialects.pixazo import schemas as answers
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixazo.body_models import EndpointBody
from orchestrator.web.dialects.pixazo.endpoints import (
    BATCH_MODEL_IDS,
    PIXAZO_ENDPOINTS,
    PixazoEndpoint,
    ResponseMode,
)
from orchestrator.web.dialects.pixazo.request_bodies import CheckStatusBody
from orchestrator.web.http.bodies import read_json
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.wait_for_result import (
    cancel_on_disconnect,
    job_headers,
    parse_idempotency_key,
    wait_for_result,
)
from orchestrator.web.openapi.operation import Access, ParameterSpec, openapi_operation

Handler = Callable[[web.Request], Awaitable[web.Response]]

WEBHOOK_HEADER_SPEC = {
    pixazo.WEBHOOK_HEADER: ParameterSpec({"type": "string", "format": "uri"}, "Is told of the end.")
}
SYNC_RESULT_RESPONSE = {200: "The result, where it was to be waited for and came soon enough."}


class PixazoJobViews:
    """Requests as those see them who poll, and webhooks."""

    def __init__(self, delivery: OutputDelivery) -> None:
        self._delivery = delivery

    def webhook_payload(self, record: JobRecord) -> Mapping[str, Any]:
        """What a webhook is sent: what there is to poll."""
        batched = pixazo.to_model_id(record.job) in BATCH_MODEL_IDS
        return self.to_batch_status(record) if batched else self.to_status(record)

    def to_status(self, record: JobRecord) -> dict[str, Any]:
        return pixazo.to_status_response(record, self.output_urls(record))

    def to_batch_status(self, record: JobRecord) -> dict[str, Any]:
        return pixazo.to_batch_status_response(record.job, next(iter(self.output_urls(record)), None))

    def output_urls(self, record: JobRecord) -> list[str]:
        """Of the files of a request that has succeeded."""
        there = record.job.status is JobStatus.SUCCEEDED
        return [self._delivery.presign_url(output) for output in record.outputs] if there else []


class PixazoRoutes:
    """The gateway."""

    def __init__(
        self,
        service: GenerationService,
        delivery: OutputDelivery,
        public_url: str | None,
        result_timeout: float,
    ) -> None:
        """`patience`: for how many seconds results are waited for where a caller may poll as well.

        Raises TariffError where the dialect's price list is missing.
        """
        self._service = service
        self._job_views = PixazoJobViews(delivery)
        self._public_url = public_url
        self._result_timeout = result_timeout
        service.price_book.micros_per_unit(pixazo.TARIFF)

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.post(endpoint.path, self._make_handler(endpoint)) for endpoint in PIXAZO_ENDPOINTS),
            web.get(pixazo.STATUS_PATH + "{id}", self.get_status),
            web.post(pixazo.BATCH_STATUS_PATH, self.check_batch_status),
        ]

    @openapi_operation(response=answers.PixazoStatusResponse, access=Access.GATEWAY, tag="pixazo")
    async def get_status(self, request: web.Request) -> web.Response:
        """What became of a request."""
        key = await self._authenticate(request, ApiKeyScope.READ)
        origin, job_id = pixazo.parse_request_id(request.match_info["id"])
        record = await self._get_job(key.account.id, origin, job_id)
        return _job_response(self._job_views.to_status(record), record)

    @openapi_operation(
        body=CheckStatusBody, response=answers.PixazoBatchStatusResponse, access=Access.GATEWAY, tag="pixazo"
    )
    async def check_batch_status(self, request: web.Request) -> web.Response:
        """What became of a request of a batch."""
        key = await self._authenticate(request, ApiKeyScope.READ)
        body = CheckStatusBody.parse(await read_json(request))
        (origin,) = (pixazo.to_origin(model) for model in BATCH_MODEL_IDS)
        record = await self._get_job(key.account.id, origin, job_id_from_uuid(body.requestId))
        return _job_response(self._job_views.to_batch_status(record), record)

    def _make_handler(self, endpoint: PixazoEndpoint) -> Handler:
        """What serves an endpoint, described as the endpoint is."""
        give, answer, status = {
            ResponseMode.QUEUED: (self._respond_queued, answers.PixazoQueuedResponse, 202),
            ResponseMode.SYNCHRONOUS: (self._respond_with_result, answers.PixazoResultResponse, 200),
            ResponseMode.BATCH: (self._respond_batch, answers.PixazoBatchQueuedResponse, 202),
        }[endpoint.response_mode]

        async def handle(request: web.Request) -> web.Response:
            body, record = await self._submit(request, endpoint)
            return await give(request, body, record)

        handle.__doc__ = endpoint.body.__doc__
        queued = endpoint.response_mode is ResponseMode.QUEUED
        return openapi_operation(
            body=endpoint.body,
            response=answer,
            status=status,
            other_responses={} if status == 200 else SYNC_RESULT_RESPONSE,
            headers=WEBHOOK_HEADER_SPEC if queued else {},
            access=Access.GATEWAY,
            creates_job=True,
            tag="pixazo",
        )(handle)

    async def _submit(self, request: web.Request, endpoint: PixazoEndpoint) -> tuple[EndpointBody, JobRecord]:
        """The body of a request, and its job. Raises as `Service.submit` does."""
        key = await self._authenticate(request, ApiKeyScope.GENERATE)
        model = endpoint.resolve_model(self._service.catalog)
        body = endpoint.body.parse(await read_json(request))
        header = (
            request.headers.get(pixazo.WEBHOOK_HEADER)
            if endpoint.response_mode is ResponseMode.QUEUED
            else None
        )
        again = parse_idempotency_key(request)
        try:
            asked = pixazo.to_request(
                endpoint, body, model, webhook_url=body.webhook_receiver_url or header, idempotency_key=again
            )
            return body, await self._service.submit(key, asked)
        except InvalidRequest as error:
            raise endpoint.body.translate_error(error) from error

    async def _respond_queued(
        self, request: web.Request, body: EndpointBody, record: JobRecord
    ) -> web.Response:
        if body.waits_for_result:
            record = await self._wait_until_timeout(record)
            if record.job.is_finished:
                return _job_response(self._job_views.to_status(record), record)
        return _job_response(
            pixazo.to_queued_response(record.job, public_base_url(request, self._public_url)), record, 202
        )

    async def _respond_with_result(
        self, request: web.Request, body: EndpointBody, record: JobRecord
    ) -> web.Response:
        record = await wait_for_result(self._service, record)
        return _job_response({"output": self._job_views.output_urls(record)[0]}, record)

    async def _respond_batch(
        self, request: web.Request, body: EndpointBody, record: JobRecord
    ) -> web.Response:
        if body.webhook_receiver_url is None:
            record = await self._wait_until_timeout(record)
            if record.job.is_finished:
                return _job_response(self._job_views.to_batch_status(record), record)
        return _job_response(pixazo.to_batch_queued_response(record.job), record, 202)

    async def _wait_until_timeout(self, record: JobRecord) -> JobRecord:
        """The job once it is finished, or as it is when patience ends."""
        try:
            async with cancel_on_disconnect(self._service, record), asyncio.timeout(self._result_timeout):
                return await self._service.wait_for_job(record.job.id)
        except TimeoutError:
            return await self._service.get_job(record.job.account_id, record.job.id)

    async def _get_job(self, account_id: str, origin: str, job_id: str) -> JobRecord:
        """A request of the gateway. Raises NotFound alike for all that are not the account's, Gone."""
        missing = NotFound("There is no such request", code="request_not_found")
        try:
            record = await self._service.get_job(account_id, job_id)
        except NotFound as error:
            raise missing from error
        if record.job.origin != origin:
            raise missing
        return record

    async def _authenticate(self, request: web.Request, scope: ApiKeyScope) -> ApiKey:
        """Raises as `authenticate` does."""
        given = (request.headers.get(name) for name in pixazo.KEY_HEADERS)
        token = next(filter(None, given), None) or bearer_token(request)
        if token is None:
            raise NotAuthenticated(
                f"Missing API key: send it as `{pixazo.KEY_HEADERS[0]}`", code="missing_api_key"
            )
        return await authenticate(request, self._service.store, scope, token=token)


def _job_response(body: Mapping[str, Any], record: JobRecord, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers=job_headers(record))
