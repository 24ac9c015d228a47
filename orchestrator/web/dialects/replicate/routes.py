"""Routes of Replicate's API: create, get, list, cancel and stream predictions; models and versions."""

from __future__ import annotations

import asyncio

from aiohttp import web

from orchestrator.errors import NotFound
from orchestrator.intake.model_names import errors_name_model
from orchestrator.intake.uploaded_files import UploadedFiles
from orchestrator.jobs import JobRecord
from orchestrator.store import ApiKey
from orchestrator.web.auth import READ_METHODS, authenticate
from orchestrator.web.dialects.replicate import translation as replicate
from orchestrator.web.dialects.replicate.file_inputs import replace_file_urls
from orchestrator.web.dialects.replicate.schemas import (
    ModelPredictionBody,
    Prediction,
    PredictionBody,
    PredictionPage,
)
from orchestrator.web.dialects.replicate.stream import stream_prediction
from orchestrator.web.dialects.replicate.views import PredictionViews
from orchestrator.web.http.request_model import read_request_model
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.pending_responses import submit_job
from orchestrator.web.jobs.wait_for_result import job_headers, note_job, parse_idempotency_key
from orchestrator.web.openapi.operation import CURSOR_PARAM, Access, ParameterSpec, openapi_operation
from orchestrator.web.protocols import GenerationApi, JobFinder

#: Predictions of a page.
PAGE_SIZE = 100
#: How long before the end of the time that a client waits the response is sent, in seconds.
WAIT_MARGIN_SECONDS = 0.2
CREATE_HEADERS = {
    "Prefer": ParameterSpec(
        {"type": "string"}, "`wait` or `wait=N`: respond when it is finished, or after N seconds (1 to 60)."
    ),
    "Cancel-After": ParameterSpec(
        {"type": "string"}, "Cancel it after this time unless it is finished: `90s`, `1m30s`; at least 5s."
    ),
}
NOT_FINISHED = {202: "The prediction, if it is not finished when the time to wait is over."}


class ReplicateRoutes:
    """Predictions of the caller's account."""

    def __init__(
        self,
        service: GenerationApi,
        views: PredictionViews,
        updates: JobUpdates,
        files: UploadedFiles,
        jobs: JobFinder,
    ) -> None:
        self._service = service
        self._jobs = jobs
        self._views = views
        self._updates = updates
        self._files = files

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/predictions", self.create_by_version),
            web.post("/v1/models/{owner}/{name}/predictions", self.create_by_model),
            web.get("/v1/predictions", self.list_predictions),
            web.get("/v1/predictions/{id}", self.get_prediction),
            web.post("/v1/predictions/{id}/cancel", self.cancel_prediction),
            web.get("/v1/files/stream/{id}/{code}", self.stream),
        ]

    @openapi_operation(
        body=PredictionBody,
        response=Prediction,
        status=201,
        headers=CREATE_HEADERS,
        other_responses=NOT_FINISHED,
        creates_job=True,
        tag="replicate",
    )
    async def create_by_version(self, request: web.Request) -> web.Response:
        """Create a prediction with a version of a model.

        `version` is the id of a version, `owner/name` or both. Poll `urls.get`, name a webhook, follow
        `urls.stream`, or send `Prefer: wait`.
        """
        key = await authenticate(request)
        body = await read_request_model(request, PredictionBody)
        target = replicate.find_version(self._service.catalog_for(key), body.version)
        return await self._create(request, key, target, body)

    @openapi_operation(
        body=ModelPredictionBody,
        response=Prediction,
        status=201,
        headers=CREATE_HEADERS,
        other_responses=NOT_FINISHED,
        creates_job=True,
        tag="replicate",
    )
    async def create_by_model(self, request: web.Request) -> web.Response:
        """Create a prediction with a model.

        `pixel-factory/ID` names every model of `GET /v1/models`; many have their name at Replicate, too.
        """
        key = await authenticate(request)
        path = request.match_info
        target = replicate.find_model(self._service.catalog_for(key), path["owner"], path["name"])
        return await self._create(
            request, key, target, await read_request_model(request, ModelPredictionBody)
        )

    @openapi_operation(query={"cursor": CURSOR_PARAM}, response=PredictionPage, tag="replicate")
    async def list_predictions(self, request: web.Request) -> web.Response:
        """List predictions.

        Returns all jobs of the account as predictions, newest first, a hundred at a time.
        """
        key = await authenticate(request)
        page = await self._service.list_jobs(
            key.account.id, limit=PAGE_SIZE, cursor=request.query.get("cursor"), status=None
        )
        base = self._views.delivery.base_url(request)
        return json_response(
            PredictionPage(
                previous=None,
                next=f"{base}/v1/predictions?cursor={page.cursor}" if page.cursor else None,
                results=[self._views.build(record, request) for record in page.items],
            )
        )

    @openapi_operation(response=Prediction, tag="replicate")
    async def get_prediction(self, request: web.Request) -> web.Response:
        """Get a prediction."""
        record = await self._get_own(request)
        return json_response(self._views.build(record, request), headers=job_headers(record))

    @openapi_operation(response=Prediction, tag="replicate")
    async def cancel_prediction(self, request: web.Request) -> web.Response:
        """Cancel a prediction.

        A finished one is returned unchanged. What is cancelled is not charged.
        """
        record = await self._get_own(request)
        record = await self._service.cancel_job(record.job.id)
        return json_response(self._views.build(record, request), headers=job_headers(record))

    @openapi_operation(
        access=Access.NONE,
        content_types=("text/event-stream",),
        response_description="The event stream.",
        tag="replicate",
    )
    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Stream a prediction as server-sent events.

        The address is `urls.stream` of a prediction and needs no API key. Sends `logs`, `output` (the URL of
        a file) and `done`.
        """
        id, code = request.match_info["id"], request.match_info["code"]
        if not self._views.stream_codes.is_valid(code, id):
            raise replicate.prediction_not_found()
        record = await self._jobs.find_job(replicate.parse_prediction_id(id))
        if record is None or record.job.removed_at is not None:
            raise replicate.prediction_not_found()
        return await stream_prediction(request, note_job(request, record), self._updates, self._views)

    async def _create(
        self, request: web.Request, key: ApiKey, target: replicate.RunTarget, body: ModelPredictionBody
    ) -> web.Response:
        wait_seconds = replicate.parse_wait_seconds(request.headers.get("Prefer", ""))
        catalog = self._service.catalog_for(key)
        inputs = await replace_file_urls(body.input, key.account.id, self._files)
        with errors_name_model(target.name, catalog):
            generation = replicate.to_request(
                target,
                body,
                catalog,
                inputs=inputs,
                idempotency_key=parse_idempotency_key(request),
                cancel_after=replicate.parse_cancel_after(request.headers.get("Cancel-After")),
            )
        record = await submit_job(request, self._service, key, generation, waits_for_result=False)
        if wait_seconds is None or record.job.is_finished:
            return self._response(request, record, 201)
        record = await self._wait(record, wait_seconds)
        headers = {"Preference-Applied": f"wait={wait_seconds:g}"}
        if record.job.is_finished:
            return self._response(request, record, 201, headers)
        # Clients take every status but this one for the end, once they have waited.
        prediction = self._views.build(record, request).model_copy(update={"status": "starting"})
        return json_response(prediction, status=202, headers=job_headers(record) | headers)

    def _response(
        self, request: web.Request, record: JobRecord, status: int, headers: dict[str, str] | None = None
    ) -> web.Response:
        prediction = self._views.build(record, request)
        return json_response(prediction, status=status, headers=job_headers(record) | (headers or {}))

    async def _wait(self, record: JobRecord, seconds: float) -> JobRecord:
        """Return the job when it is finished, or as it is when the time is over."""
        try:
            async with asyncio.timeout(max(seconds - WAIT_MARGIN_SECONDS, 0.0)):
                return await self._service.wait_for_job(record.job.id)
        except TimeoutError:
            return await self._service.get_job(record.job.account_id, record.job.id)

    async def _get_own(self, request: web.Request) -> JobRecord:
        """Return the prediction in the path. Raises NotFound, Gone."""
        key = await authenticate(request, is_poll=request.method in READ_METHODS)
        job_id = replicate.parse_prediction_id(request.match_info["id"])
        try:
            return note_job(request, await self._service.get_job(key.account.id, job_id))
        except NotFound as error:
            raise replicate.prediction_not_found() from error
