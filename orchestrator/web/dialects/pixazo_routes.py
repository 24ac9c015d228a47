"""Pixazo's addresses: one for each model, and two where requests are asked after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from orchestrator.errors import InvalidRequest, NotAuthenticated, NotFound
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.service import Service
from orchestrator.web.address import own_address
from orchestrator.web.auth import Key, Scope, authenticate, bearer
from orchestrator.web.bodies import read_json
from orchestrator.web.delivery import Delivery
from orchestrator.web.dialects import pixazo
from orchestrator.web.dialects import pixazo_answers as answers
from orchestrator.web.dialects.ids import from_uuid
from orchestrator.web.dialects.pixazo_bodies import CheckBody
from orchestrator.web.dialects.pixazo_endpoints import BATCHED, ENDPOINTS, Endpoint, Manner
from orchestrator.web.dialects.pixazo_forms import Gateway
from orchestrator.web.operations import Access, Value, describes
from orchestrator.web.results import cancelled_with_caller, finished, idempotency_key, job_headers

Handler = Callable[[web.Request], Awaitable[web.Response]]

WEBHOOK = {pixazo.WEBHOOK_HEADER: Value({"type": "string", "format": "uri"}, "Is told of the end.")}
SOON = {200: "The result, where it was to be waited for and came soon enough."}


class Requests:
    """Requests as those see them who poll, and webhooks."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def told(self, record: JobRecord) -> Mapping[str, Any]:
        """What a webhook is sent: what there is to poll."""
        batched = pixazo.model_id(record.job) in BATCHED
        return self.batched(record) if batched else self.status(record)

    def status(self, record: JobRecord) -> dict[str, Any]:
        return pixazo.to_status(record, self.urls(record))

    def batched(self, record: JobRecord) -> dict[str, Any]:
        return pixazo.to_batch_status(record.job, next(iter(self.urls(record)), None))

    def urls(self, record: JobRecord) -> list[str]:
        """Of the files of a request that has succeeded."""
        there = record.job.status is JobStatus.SUCCEEDED
        return [self._delivery.url(output) for output in record.outputs] if there else []


class Pixazo:
    """The gateway."""

    def __init__(self, service: Service, delivery: Delivery, public_url: str | None, patience: float) -> None:
        """`patience`: for how many seconds results are waited for where a caller may poll as well.

        Raises TariffError where the dialect's price list is missing.
        """
        self._service = service
        self._requests = Requests(delivery)
        self._public_url = public_url
        self._patience = patience
        service.prices_now.unit(pixazo.TARIFF)

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.post(endpoint.path, self._handler(endpoint)) for endpoint in ENDPOINTS),
            web.get(pixazo.STATUS_PATH + "{id}", self.status),
            web.post(pixazo.CHECK_PATH, self.check),
        ]

    @describes(answer=answers.GatewayStatus, access=Access.GATEWAY, tag="pixazo")
    async def status(self, request: web.Request) -> web.Response:
        """What became of a request."""
        key = await self._enter(request, Scope.READ)
        origin, job_id = pixazo.named_job(request.match_info["id"])
        record = await self._find(key.account.id, origin, job_id)
        return _answer(self._requests.status(record), record)

    @describes(body=CheckBody, answer=answers.BatchStatus, access=Access.GATEWAY, tag="pixazo")
    async def check(self, request: web.Request) -> web.Response:
        """What became of a request of a batch."""
        key = await self._enter(request, Scope.READ)
        body = CheckBody.read(await read_json(request))
        (origin,) = (pixazo.origin(model) for model in BATCHED)
        record = await self._find(key.account.id, origin, from_uuid(body.requestId))
        return _answer(self._requests.batched(record), record)

    def _handler(self, endpoint: Endpoint) -> Handler:
        """What serves an endpoint, described as the endpoint is."""
        give, answer, status = {
            Manner.QUEUED: (self._queued, answers.GatewayQueued, 202),
            Manner.SYNCHRONOUS: (self._result, answers.GatewayResult, 200),
            Manner.BATCH: (self._batch, answers.BatchQueued, 202),
        }[endpoint.manner]

        async def handle(request: web.Request) -> web.Response:
            body, record = await self._accept(request, endpoint)
            return await give(request, body, record)

        handle.__doc__ = endpoint.body.__doc__
        queued = endpoint.manner is Manner.QUEUED
        return describes(
            body=endpoint.body,
            answer=answer,
            status=status,
            also={} if status == 200 else SOON,
            headers=WEBHOOK if queued else {},
            access=Access.GATEWAY,
            job=True,
            tag="pixazo",
        )(handle)

    async def _accept(self, request: web.Request, endpoint: Endpoint) -> tuple[Gateway, JobRecord]:
        """The body of a request, and its job. Raises as `Service.submit` does."""
        key = await self._enter(request, Scope.GENERATE)
        model = endpoint.model_in(self._service.catalog)
        body = endpoint.body.read(await read_json(request))
        header = request.headers.get(pixazo.WEBHOOK_HEADER) if endpoint.manner is Manner.QUEUED else None
        again = idempotency_key(request)
        try:
            asked = pixazo.to_request(
                endpoint, body, model, receiver=body.receiver or header, idempotency_key=again
            )
            return body, await self._service.submit(key, asked)
        except InvalidRequest as error:
            raise endpoint.body.in_its_words(error) from error

    async def _queued(self, request: web.Request, body: Gateway, record: JobRecord) -> web.Response:
        if body.waits:
            record = await self._awaited(record)
            if record.job.finished:
                return _answer(self._requests.status(record), record)
        return _answer(pixazo.to_queued(record.job, own_address(request, self._public_url)), record, 202)

    async def _result(self, request: web.Request, body: Gateway, record: JobRecord) -> web.Response:
        record = await finished(self._service, record)
        return _answer({"output": self._requests.urls(record)[0]}, record)

    async def _batch(self, request: web.Request, body: Gateway, record: JobRecord) -> web.Response:
        if body.receiver is None:
            record = await self._awaited(record)
            if record.job.finished:
                return _answer(self._requests.batched(record), record)
        return _answer(pixazo.to_batch_queued(record.job), record, 202)

    async def _awaited(self, record: JobRecord) -> JobRecord:
        """The job once it is finished, or as it is when patience ends."""
        try:
            async with cancelled_with_caller(self._service, record), asyncio.timeout(self._patience):
                return await self._service.wait(record.job.id)
        except TimeoutError:
            return await self._service.get(record.job.account_id, record.job.id)

    async def _find(self, account_id: str, origin: str, job_id: str) -> JobRecord:
        """A request of the gateway. Raises NotFound alike for all that are not the account's, Gone."""
        missing = NotFound("There is no such request", code="request_not_found")
        try:
            record = await self._service.get(account_id, job_id)
        except NotFound as error:
            raise missing from error
        if record.job.origin != origin:
            raise missing
        return record

    async def _enter(self, request: web.Request, scope: Scope) -> Key:
        """Raises as `authenticate` does."""
        given = (request.headers.get(name) for name in pixazo.KEY_HEADERS)
        token = next(filter(None, given), None) or bearer(request)
        if token is None:
            raise NotAuthenticated(
                f"Missing API key: send it as `{pixazo.KEY_HEADERS[0]}`", code="missing_api_key"
            )
        return await authenticate(request, self._service.store, scope, token=token)


def _answer(body: Mapping[str, Any], record: JobRecord, status: int = 200) -> web.Response:
    return web.json_response(body, status=status, headers=job_headers(record))
