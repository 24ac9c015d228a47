"""Jobs as states and results of fal's API, for responses and webhooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest, ServiceError
from orchestrator.jobs import JobRecord
from orchestrator.jobs.options import options_of
from orchestrator.web.dialects.fal import translation as fal
from orchestrator.web.dialects.fal.schemas import FalQueueStatus, FalResult, QueueUrls
from orchestrator.web.dialects.ids import job_id_to_uuid
from orchestrator.web.http.embedded_files import EmbeddedFiles
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.protocols import ModelOffer


@dataclass(frozen=True, kw_only=True, slots=True)
class FalViews:
    """Builds states and results with fresh URLs."""

    models: ModelOffer
    delivery: OutputDelivery

    def urls(self, record: JobRecord, request: web.Request | None) -> QueueUrls:
        """Return the addresses of a request."""
        app = fal.app_of(record.job) or ""
        return fal.to_urls(record.job, app, self.delivery.base_url(request))

    def status(
        self, record: JobRecord, request: web.Request, updates: JobUpdates, *, with_logs: bool
    ) -> FalQueueStatus:
        """Return the state of a request."""
        job_id = record.job.id
        queue = None if record.job.is_finished else updates.get_queue_position(job_id)
        return fal.to_status(
            record,
            self.urls(record, request),
            position=queue.position if queue else None,
            events=list(updates.events.latest_events(job_id)) if with_logs else None,
        )

    async def result(
        self, record: JobRecord, request: web.Request, embedded: EmbeddedFiles | None = None
    ) -> FalResult:
        """Return the result of a request that has one, with data URLs if it asks for them.

        `embedded` gets their files where the response can hold them.
        """
        if not options_of(record.job).request.get("sync_mode"):
            return self._result(record, self._links(record, request))
        files = await self.delivery.load_files(record)
        texts = [embedded.add(file) if embedded else await file.to_base64() for file in files]
        urls = [
            f"data:{output.content_type};base64,{text}"
            for output, text in zip(record.outputs, texts, strict=True)
        ]
        return self._result(record, urls)

    def webhook_payload(self, record: JobRecord) -> Mapping[str, Any]:
        """Return the body of the webhook of a finished request."""
        id = job_id_to_uuid(record.job.id)
        body: dict[str, Any] = {"request_id": id, "gateway_request_id": id}
        try:
            fal.require_result(record)
        except ServiceError as error:
            detail = {"detail": error.message, "error_type": error.code}
            return {**body, "status": "ERROR", "error": error.message, "payload": detail}
        payload = to_json_dict(self._result(record, self._links(record, None)))
        return {**body, "status": "OK", "payload": payload}

    def _links(self, record: JobRecord, request: web.Request | None) -> list[str]:
        return [self.delivery.url_of(record.job.id, output.key, request) for output in record.outputs]

    def _result(self, record: JobRecord, urls: Sequence[str]) -> FalResult:
        return fal.to_result(record, self._find_model(record), urls)

    def _find_model(self, record: JobRecord) -> Model | None:
        try:
            return self.models.get_model(record.job)
        except InvalidRequest:
            return None
