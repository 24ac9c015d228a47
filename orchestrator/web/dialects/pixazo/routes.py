"""Routes of Pixazo's gateway: one path for each model, and two to poll requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest, NotAuthenticated, NotFound
from orchestrator.intake.model_names import errors_name_model
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.web.auth import ApiKey, ApiKeyScope, authenticate, bearer_token
from orchestrator.web.dialects.ids import job_id_from_uuid
from orchestrator.web.dialects.pixazo import translation as pixazo
from orchestrator.web.dialects.pixazo.base_bodies import EndpointBody
from orchestrator.web.dialects.pixazo.endpoints import (
    BATCH_MODEL_IDS,
    PIXAZO_ENDPOINTS,
    PixazoEndpoint,
    ResponseMode,
)
from orchestrator.web.dialects.pixazo.request_bodies import CheckStatusBody
from orchestrator.web.dialects.pixazo.request_ids import (
    JobReference,
    parse_request_id,
    to_model_id,
    to_origin,
)
from orchestrator.web.dialects.pixazo.schemas import (
    PixazoBatchQueuedResponse,
    PixazoBatchStatusResponse,
    PixazoQueuedResponse,
    PixazoResultResponse,
    PixazoStatusResponse,
)
from orchestrator.web.http.bodies import read_json
from orchestrator.web.http.public_url import public_base_url
from orchestrator.web.http.response_model import ResponseModel, json_response
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import (
    cancel_on_disconnect,
    job_headers,
    parse_idempotency_key,
    wait_for_result,
)
from orchestrator.web.openapi.operation import Access, ParameterSpec, openapi_operation
from orchestrator.web.protocols import GenerationApi

Handler = Callable[[web.Request], Awaitable[web.Response]]

#: The document's two headers for an API key.
KEY_HEADERS = ("Ocp-Apim-Subscription-Key", "X-Secret-Key")
WEBHOOK_HEADER_SPEC = {
    pixazo.WEBHOOK_HEADER: ParameterSpec(
        {"type": "string", "format": "uri"}, "URL that is called when the request is finished."
    )
}
RESPONSE_SCHEMAS: Mapping[ResponseMode, type[ResponseModel]] = {
    ResponseMode.QUEUED: PixazoQueuedResponse,
    ResponseMode.SYNCHRONOUS: PixazoResultResponse,
    ResponseMode.BATCH: PixazoBatchQueuedResponse,
}
RESPONSE_MODE_DESCRIPTIONS = {
    ResponseMode.QUEUED: "Responds as soon as the request is accepted; poll `polling_url` or name a webhook"
    " for the result.",
    ResponseMode.SYNCHRONOUS: "Waits for the result. A webhook gets it, too.",
    ResponseMode.BATCH: "With a webhook, responds as soon as the request is accepted. Without one, waits for"
    " the result up to a minute; poll `checkStatus` after that.",
}
FINISHED_RESPONSE = {200: "The finished request, if the response waits for it and it is finished in time."}


class PixazoJobViews:
    """Jobs as responses and webhooks of the gateway show them."""

    def __init__(self, delivery: OutputDelivery) -> None:
        self._delivery = delivery

    def webhook_payload(self, record: JobRecord) -> Mapping[str, Any]:
        """Return the payload of a webhook, which is the response to polling."""
        is_batch = to_model_id(record.job) in BATCH_MODEL_IDS
        status = self.to_batch_status(record, None) if is_batch else self.to_status(record, None)
        return status.model_dump(exclude_unset=True)

    def to_status(self, record: JobRecord, request: web.Request | None) -> PixazoStatusResponse:
        """Return the state of a request, with new URLs."""
        return pixazo.to_status_response(record, self.output_urls(record, request))

    def to_batch_status(self, record: JobRecord, request: web.Request | None) -> PixazoBatchStatusResponse:
        """Return the state of a request of a batch, with a new URL."""
        url = next(iter(self.output_urls(record, request)), None)
        return pixazo.to_batch_status_response(record.job, url)

    def output_urls(self, record: JobRecord, request: web.Request | None) -> list[str]:
        """Return new URLs of the files of a request that succeeded; none for any other."""
        if record.job.status is not JobStatus.SUCCEEDED:
            return []
        return [self._delivery.url_of(record.job.id, output.key, request) for output in record.outputs]


class PixazoRoutes:
    """The gateway's endpoints."""

    def __init__(
        self,
        service: GenerationApi,
        delivery: OutputDelivery,
        public_url: str | None,
        result_timeout: float,
    ) -> None:
        """`result_timeout` is the number of seconds to wait for a result that the caller may poll as well.

        Raises TariffError if Pixazo's price list is missing.
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
            web.post(pixazo.POLLING_ENDPOINT, self.check_batch_status),
        ]

    @openapi_operation(response=PixazoStatusResponse, access=Access.GATEWAY, tag="pixazo")
    async def get_status(self, request: web.Request) -> web.Response:
        """Get the state and the result of a request."""
        key = await self._authenticate(request, ApiKeyScope.READ)
        record = await self._get_job(key.account.id, parse_request_id(request.match_info["id"]))
        return _job_response(self._job_views.to_status(record, request), record)

    @openapi_operation(
        body=CheckStatusBody, response=PixazoBatchStatusResponse, access=Access.GATEWAY, tag="pixazo"
    )
    async def check_batch_status(self, request: web.Request) -> web.Response:
        """Get the state and the result of a request of a batch."""
        key = await self._authenticate(request, ApiKeyScope.READ)
        body = CheckStatusBody.parse(await read_json(request))
        (origin,) = (to_origin(model) for model in BATCH_MODEL_IDS)
        reference = JobReference(origin=origin, job_id=job_id_from_uuid(body.requestId))
        record = await self._get_job(key.account.id, reference)
        return _job_response(self._job_views.to_batch_status(record, request), record)

    def _make_handler(self, endpoint: PixazoEndpoint) -> Handler:
        """Return the documented handler of an endpoint."""

        async def handle(request: web.Request) -> web.Response:
            body, record = await self._submit(request, endpoint)
            match endpoint.response_mode:
                case ResponseMode.SYNCHRONOUS:
                    return await self._respond_with_result(request, record)
                case ResponseMode.BATCH:
                    return await self._respond_batch(request, record)
                case ResponseMode.QUEUED:
                    return await self._respond_queued(request, body, record)

        is_synchronous = endpoint.response_mode is ResponseMode.SYNCHRONOUS
        return openapi_operation(
            summary=endpoint.summary,
            description=RESPONSE_MODE_DESCRIPTIONS[endpoint.response_mode],
            body=endpoint.body,
            response=RESPONSE_SCHEMAS[endpoint.response_mode],
            status=200 if is_synchronous else 202,
            other_responses={} if is_synchronous else FINISHED_RESPONSE,
            headers=WEBHOOK_HEADER_SPEC,
            access=Access.GATEWAY,
            creates_job=True,
            tag="pixazo",
        )(handle)

    async def _submit(self, request: web.Request, endpoint: PixazoEndpoint) -> tuple[EndpointBody, JobRecord]:
        """Create the job of a request. Raises as `GenerationService.submit` does."""
        key = await self._authenticate(request, ApiKeyScope.GENERATE)
        model = endpoint.resolve_model(self._service.catalog_for(key))
        body = endpoint.body.parse(await read_json(request), model.parameters)
        idempotency_key = parse_idempotency_key(request)
        try:
            with errors_name_model(endpoint.catalog_id, self._service.catalog_for(key), endpoint.id):
                generation_request = pixazo.to_request(
                    endpoint,
                    body,
                    model,
                    header_webhook_url=request.headers.get(pixazo.WEBHOOK_HEADER),
                    idempotency_key=idempotency_key,
                )
                record = await submit_job(
                    request,
                    self._service,
                    key,
                    generation_request,
                    waits_for_result=_waits_for_result(endpoint, body, generation_request),
                )
        except InvalidRequest as error:
            raise body.translate_error(error) from error
        return body, record

    async def _respond_queued(
        self, request: web.Request, body: EndpointBody, record: JobRecord
    ) -> web.Response:
        if body.waits_for_result:
            record = await self._wait_until_timeout(record)
            if record.job.is_finished:
                return _job_response(self._job_views.to_status(record, request), record)
        base_url = public_base_url(request, self._public_url)
        return _job_response(pixazo.to_queued_response(record.job, base_url), record, 202)

    async def _respond_with_result(self, request: web.Request, record: JobRecord) -> web.Response:
        record = await wait_for_result(self._service, record)
        url = self._job_views.output_urls(record, request)[0]
        return _job_response(PixazoResultResponse(output=url), record)

    async def _respond_batch(self, request: web.Request, record: JobRecord) -> web.Response:
        if record.job.webhook_url is None:
            record = await self._wait_until_timeout(record)
            if record.job.is_finished:
                return _job_response(self._job_views.to_batch_status(record, request), record)
        return _job_response(pixazo.to_batch_queued_response(record.job), record, 202)

    async def _wait_until_timeout(self, record: JobRecord) -> JobRecord:
        """Return the job when it is finished, or its present state when the timeout is over."""
        try:
            async with cancel_on_disconnect(self._service, record), asyncio.timeout(self._result_timeout):
                return await self._service.wait_for_job(record.job.id)
        except TimeoutError:
            return await self._service.get_job(record.job.account_id, record.job.id)

    async def _get_job(self, account_id: str, reference: JobReference | None) -> JobRecord:
        """Return a request of the account.

        Raises NotFound with the same message for ids that are invalid, unknown or another account's; Gone.
        """
        not_found = NotFound("The account has no request with this id", code="request_not_found")
        if reference is None:
            raise not_found
        try:
            record = await self._service.get_job(account_id, reference.job_id)
        except NotFound as error:
            raise not_found from error
        if record.job.origin != reference.origin:
            raise not_found
        return record

    async def _authenticate(self, request: web.Request, scope: ApiKeyScope) -> ApiKey:
        """Return the API key of one of the document's headers or of `Authorization`.

        Raises as `authenticate` does.
        """
        given = (request.headers.get(name) for name in KEY_HEADERS)
        token = next(filter(None, given), None) or bearer_token(request)
        if token is None:
            raise NotAuthenticated(
                f"Missing API key: send it in the header `{KEY_HEADERS[0]}`", code="missing_api_key"
            )
        return await authenticate(request, scope, token=token, is_poll=scope is ApiKeyScope.READ)


def _waits_for_result(endpoint: PixazoEndpoint, body: EndpointBody, request: GenerationRequest) -> bool:
    """Whether the response waits for the result, if only for a while."""
    match endpoint.response_mode:
        case ResponseMode.SYNCHRONOUS:
            return True
        case ResponseMode.BATCH:
            return request.webhook_url is None
        case ResponseMode.QUEUED:
            return body.waits_for_result


def _job_response(body: ResponseModel, record: JobRecord, status: int = 200) -> web.Response:
    return json_response(body, status=status, headers=job_headers(record))
