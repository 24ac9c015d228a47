"""Pixazo's gateway: from a request body to a GenerationRequest, and from a job to a response."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.catalog import FollowImage, Model
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import RETRYABLE_FAILURES, Job, JobRecord, JobStatus
from orchestrator.web.dialects.ids import job_id_to_uuid
from orchestrator.web.dialects.image_formats import check_image_format
from orchestrator.web.dialects.pixazo.base_bodies import EndpointBody
from orchestrator.web.dialects.pixazo.endpoints import PixazoEndpoint, ResponseMode
from orchestrator.web.dialects.pixazo.request_ids import to_model_id, to_origin, to_request_id
from orchestrator.web.dialects.pixazo.schemas import (
    PixazoBatchQueuedResponse,
    PixazoBatchStatusResponse,
    PixazoOutput,
    PixazoQueuedResponse,
    PixazoStatusResponse,
)
from orchestrator.web.dialects.status_names import STATUS_NAMES

TARIFF = "pixazo"
STATUS_PATH = "/v2/requests/status/"
BATCH_STATUS_PATH = "/flux-1-schnell/v1/checkStatus"
#: `pollingEndpoint` in the document; it is served as given, from the root of the host.
POLLING_ENDPOINT = "/checkStatus"
WEBHOOK_HEADER = "X-Webhook-URL"

#: Failures that the caller did not cause.
SERVER_ERROR_CODES = RETRYABLE_FAILURES | {"internal"}

#: Final statuses by the event of `webhook_events_filter` that reports them.
STATUSES_BY_WEBHOOK_EVENT: dict[str, frozenset[JobStatus]] = {
    "completed": frozenset({JobStatus.SUCCEEDED}),
    "failed": frozenset({JobStatus.FAILED, JobStatus.CANCELLED}),
}


def to_request(
    endpoint: PixazoEndpoint,
    body: EndpointBody,
    model: Model,
    *,
    header_webhook_url: str | None,
    idempotency_key: str | None,
) -> GenerationRequest:
    """Translate the body of a request to an endpoint. Raises InvalidRequest.

    `header_webhook_url` is the value of the header `X-Webhook-URL`; a receiver in the body takes precedence.

    A request that is polled and that the content policy rejects becomes a failed job: the document checks
    balance, model and parameters at once, and reports all else by status and webhook. A request whose
    response is the result gets a 400 instead. Neither costs anything.
    """
    check_image_format(model, body.encoding, (body.model_extra or {}).get("background"))
    params = body.to_parameters(model)
    webhook_url = body.webhook_receiver_url or header_webhook_url
    return GenerationRequest(
        model=endpoint.catalog_id,
        shown_model=endpoint.id,
        served_by=model.id,
        params=params.values,
        computed_from=params.computed_from,
        field_names=body.names_of(params.values),
        warnings=(*params.warnings, *_webhook_warnings(body, header_webhook_url)),
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        tariff_model=endpoint.tariff_id,
        webhook_url=webhook_url,
        webhook_statuses=_webhook_statuses(body.webhook_event_filter),
        store_blocked_job=endpoint.response_mode is not ResponseMode.SYNCHRONOUS,
        encoding=body.encoding,
        pixels_by_shape=body.pixels_by_shape,
        aspect_ratio=body.asked_aspect_ratio,
        follow_image=FollowImage.SIZE if body.match_input_size else FollowImage.SHAPE,
        origin=to_origin(endpoint.id),
    )


def _webhook_warnings(body: EndpointBody, header_url: str | None) -> list[str]:
    """Return sentences about webhook fields that have no effect."""
    body_url = body.webhook_receiver_url
    if body_url and header_url and body_url != header_url:
        return [f"the header `{WEBHOOK_HEADER}` has no effect: the body names another receiver"]
    if body.webhook_event_filter is not None and not body_url and not header_url:
        return ["`webhook_events_filter` has no effect without a `webhook`"]
    return []


def _webhook_statuses(event_filter: Sequence[str] | None) -> frozenset[JobStatus] | None:
    if event_filter is None:
        return None
    return frozenset().union(*(STATUSES_BY_WEBHOOK_EVENT[event] for event in event_filter))


def to_queued_response(job: Job, base_url: str) -> PixazoQueuedResponse:
    """Return the response to a request that is polled at `base_url`."""
    request_id = to_request_id(job)
    return PixazoQueuedResponse.model_validate(
        {
            "request_id": request_id,
            "status": to_status_name(job),
            "polling_url": f"{base_url}{STATUS_PATH}{request_id}",
        }
    )


def to_status_response(record: JobRecord, urls: Sequence[str]) -> PixazoStatusResponse:
    """Return the state of a request; `urls` are those of its files, in order."""
    job = record.job
    changed = job.finished_at or job.started_at or job.created_at
    output = PixazoOutput(media_url=list(urls), media_type=record.outputs[0].content_type) if urls else None
    return PixazoStatusResponse.model_validate(
        {
            "request_id": to_request_id(job),
            "status": to_status_name(job),
            "model_id": to_model_id(job),
            "error": _error_message(job),
            "output": output,
            "created_at": _format_timestamp(job.created_at),
            "updated_at": _format_timestamp(changed),
            "completed_at": _format_timestamp(job.finished_at) if job.finished_at else None,
        }
    )


def to_status_name(job: Job) -> str:
    """Return the document's name of a job's status.

    QUEUED, PROCESSING, COMPLETED, FAILED if the request caused the failure, ERROR if the service did.
    """
    if job.status is JobStatus.FAILED and job.error and job.error.code in SERVER_ERROR_CODES:
        return "ERROR"
    return STATUS_NAMES[job.status].upper()


def to_batch_queued_response(job: Job) -> PixazoBatchQueuedResponse:
    """Return the response to an unfinished request of a batch."""
    message = (
        "It is still being processed."
        if job.webhook_url is None
        else "Result will be sent to the provided webhook URL."
    )
    request_id = job_id_to_uuid(job.id)
    return PixazoBatchQueuedResponse.model_validate(
        {
            "requestId": request_id,
            "status": STATUS_NAMES[job.status],
            "message": f"Request queued. {message}",
            "pollingEndpoint": POLLING_ENDPOINT,
            "pollingInstructions": f'POST to {POLLING_ENDPOINT} with {{"requestId": "{request_id}"}}',
        }
    )


def to_batch_status_response(job: Job, url: str | None) -> PixazoBatchStatusResponse:
    """Return the state of a request of a batch; `url` is that of its file."""
    fields: dict[str, Any] = {"requestId": job_id_to_uuid(job.id), "status": STATUS_NAMES[job.status]}
    if url:
        fields["output"] = url
    if fields["status"] == "failed":
        fields["error"] = _error_message(job)
    if job.finished_at:
        fields["completedAt"] = round(job.finished_at.timestamp() * 1000)
    return PixazoBatchStatusResponse.model_validate(fields)


def _error_message(job: Job) -> str | None:
    if job.status is JobStatus.CANCELLED:
        return "The request was cancelled"
    return job.error.message if job.error else None


def _format_timestamp(timestamp: datetime) -> str:
    """Format a time as `2026-03-31T10:00:15.000Z`."""
    return timestamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
