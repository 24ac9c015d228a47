"""Jobs as predictions, for responses, webhooks and streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.jobs.events import EventHub
from orchestrator.jobs.options import ProgressMessage
from orchestrator.url_codes import UrlCodes
from orchestrator.web.dialects.replicate import translation as replicate
from orchestrator.web.dialects.replicate.schemas import Prediction, PredictionUrls
from orchestrator.web.http.response_model import to_json_dict
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.protocols import ModelOffer


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionViews:
    """Builds predictions with fresh URLs."""

    models: ModelOffer
    delivery: OutputDelivery
    events: EventHub
    #: Of the addresses of streams, which need no key.
    stream_codes: UrlCodes

    def build(self, record: JobRecord, request: web.Request | None) -> Prediction:
        """Return a job as a prediction."""
        job = record.job
        is_removed = self.delivery.expiry.is_expired(job)
        return replicate.to_prediction(
            record,
            urls=[] if is_removed else self.output_urls(record, request),
            addresses=self._addresses(record, request),
            version=self._version(record),
            events=() if job.is_finished else self.events.latest_events(job.id),
            is_removed=is_removed,
        )

    def webhook_payload(self, record: JobRecord) -> Mapping[str, Any]:
        """Return the body of the webhook of a finished prediction."""
        return to_json_dict(self.build(record, None))

    def progress_payload(self, record: JobRecord, topic: str) -> Mapping[str, Any]:
        """Return the body of a webhook about a prediction that was not finished when it was due."""
        job = replace(record.job, status=JobStatus.RUNNING, finished_at=None, error=None)
        shards = [] if topic == ProgressMessage.STARTED else record.shards
        return to_json_dict(self.build(JobRecord(job=job, shards=shards), None))

    def output_urls(self, record: JobRecord, request: web.Request | None) -> list[str]:
        """Return the URLs of the files that there are by now."""
        if record.job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
            return []
        return [self.delivery.url_of(record.job.id, output.key, request) for output in record.outputs]

    def _addresses(self, record: JobRecord, request: web.Request | None) -> PredictionUrls:
        id = replicate.to_prediction_id(record.job)
        base = self.delivery.base_url(request)
        return PredictionUrls(
            get=f"{base}/v1/predictions/{id}",
            cancel=f"{base}/v1/predictions/{id}/cancel",
            stream=f"{base}/v1/files/stream/{id}/{self.stream_codes.code(id)}",
        )

    def _version(self, record: JobRecord) -> str:
        """Return the id of the offered version of the model, or that with which the job was accepted."""
        catalog, name = self.models.catalog, record.job.shown_model
        return replicate.version_id(catalog, name) if name in catalog else record.job.model_version or ""
