"""Pixazo's gateway: requests that are polled by `to_request_id`, or tell a webhook; prices in dollars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.catalog import Model
from orchestrator.errors import Gone, InsufficientBalance, InvalidRequest, ServiceError
from orchestrator.execution.failures import RETRYABLE_FAILURES
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.web.dialects.ids import job_id_from_uuid, job_id_to_uuid
from orchestrator.web.dialects.pixazo.body_models import EndpointBody
from orchestrator.web.dialects.pixazo.endpoints import PixazoEndpoint, ResponseMode
from pricing.money import MICROS_PER_DOLLAR, format_usd

DIALECT_NAME = TARIFF = "pixazo"
STATUS_PATH = "/v2/requests/status/"
BATCH_STATUS_PATH = "/flux-1-schnell/v1/checkStatus"
#: All addresses that are the gateway's to answer, be there something or not.
PATH_PATTERN = re.compile(r"/((?!api/|admin/)[^/]+/v1(/|$)|generateT2I(/|$)|v2(/|$))")
#: The two headers of the document that a key comes in.
KEY_HEADERS = ("Ocp-Apim-Subscription-Key", "X-Secret-Key")
WEBHOOK_HEADER = "X-Webhook-URL"


def to_request(
    endpoint: PixazoEndpoint,
    body: EndpointBody,
    model: Model,
    *,
    webhook_url: str | None,
    idempotency_key: str | None,
) -> GenerationRequest:
    """What a body asks of the endpoint's model; `receiver` is told of its end. Raises InvalidRequest.

    What the content policy refuses is, where requests are polled, a request that has failed: the document
    checks balance, model and parameters when one comes in, and tells of all else by status and webhook.
    Where the result is the answer there is no later, and it is a 400. Neither costs anything.
    """
    return GenerationRequest(
        model=endpoint.catalog_id,
        params=body.to_params(model),
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        tariff_model=endpoint.tariff_id,
        webhook_url=webhook_url,
        webhook_statuses=_webhook_statuses(body.webhook_event_filter),
        store_blocked_job=endpoint.response_mode is not ResponseMode.SYNCHRONOUS,
        encoding=body.encoding,
        match_image_size=body.match_input_size,
        origin=to_origin(endpoint.id),
    )


def _webhook_statuses(event_filter: Sequence[str] | None) -> frozenset[JobStatus] | None:
    return (
        None
        if event_filter is None
        else frozenset().union(*(STATUSES_BY_WEBHOOK_EVENT[event] for event in event_filter))
    )


#: What `webhook_events_filter` calls the ends of a job.
STATUSES_BY_WEBHOOK_EVENT: dict[str, frozenset[JobStatus]] = {
    "completed": frozenset({JobStatus.SUCCEEDED}),
    "failed": frozenset({JobStatus.FAILED, JobStatus.CANCELLED}),
}


def to_origin(model_id: str) -> str:
    """How a job remembers that it was asked for here."""
    return f"{DIALECT_NAME}/{model_id}"


def to_model_id(job: Job) -> str:
    """The gateway's name of the model that a job was asked of."""
    return (job.origin or "").removeprefix(f"{DIALECT_NAME}/")


_REQUEST_ID_PATTERN = re.compile(
    r"(?P<model>[\w.-]+)_(?P<uuid>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII
)


def to_request_id(job: Job) -> str:
    """`flux-dev_019d42ce-...`"""
    return f"{to_model_id(job)}_{job_id_to_uuid(job.id)}"


def parse_request_id(request_id: str) -> tuple[str, str]:
    """Origin and id of the job that a request id stands for; of none where it is no request id."""
    found = _REQUEST_ID_PATTERN.fullmatch(request_id)
    return (to_origin(found["model"]), job_id_from_uuid(found["uuid"])) if found else ("", "")


def to_queued_response(job: Job, base_url: str) -> dict[str, Any]:
    """The answer to a request that is polled at `base_url`."""
    id = to_request_id(job)
    return {"request_id": id, "status": to_status_name(job), "polling_url": f"{base_url}{STATUS_PATH}{id}"}


def to_status_response(record: JobRecord, urls: Sequence[str]) -> dict[str, Any]:
    """What became of a request, as status and webhook tell it; a URL for each of its files."""
    job = record.job
    changed = job.finished_at or job.started_at or job.created_at
    media_type = record.outputs[0].content_type if urls else None
    return {
        "request_id": to_request_id(job),
        "status": to_status_name(job),
        "model_id": to_model_id(job),
        "error": _error_message(job),
        "output": {"media_url": list(urls), "media_type": media_type} if urls else None,
        "created_at": _format_timestamp(job.created_at),
        "updated_at": _format_timestamp(changed),
        "completed_at": _format_timestamp(job.finished_at) if job.finished_at else None,
    }


def to_status_name(job: Job) -> str:
    """QUEUED, PROCESSING or COMPLETED; FAILED where it lay with what was asked for, ERROR where with us."""
    if job.status is JobStatus.FAILED and job.error and job.error.code in SERVER_ERROR_CODES:
        return "ERROR"
    return _STATUS_NAMES[job.status]


#: Failures that the caller had no part in.
SERVER_ERROR_CODES = RETRYABLE_FAILURES | {"internal"}
_STATUS_NAMES = {
    JobStatus.QUEUED: "QUEUED",
    JobStatus.RUNNING: "PROCESSING",
    JobStatus.SUCCEEDED: "COMPLETED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "FAILED",
}


def to_batch_queued_response(job: Job) -> dict[str, Any]:
    """The answer to a request of the batch pair that is not finished."""
    told = job.webhook_url is not None
    message = "Result will be sent to the provided webhook URL." if told else "It is still being processed."
    return {
        "requestId": job_id_to_uuid(job.id),
        "status": _BATCH_STATUS_NAMES[job.status],
        "message": f"Request queued. {message}",
        "pollingEndpoint": "/checkStatus",
        "pollingInstructions": f'POST to /checkStatus with {{"requestId": "{job_id_to_uuid(job.id)}"}}',
    }


def to_batch_status_response(job: Job, url: str | None) -> dict[str, Any]:
    """What became of it, as `checkStatus` and webhook tell it; `url` is its file's."""
    body: dict[str, Any] = {"requestId": job_id_to_uuid(job.id), "status": _BATCH_STATUS_NAMES[job.status]}
    body |= {"output": url} if url else {}
    body |= {"error": _error_message(job)} if body["status"] == "failed" else {}
    return body | ({"completedAt": round(job.finished_at.timestamp() * 1000)} if job.finished_at else {})


_BATCH_STATUS_NAMES = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}


def _error_message(job: Job) -> str | None:
    if job.status is JobStatus.CANCELLED:
        return "The request was cancelled"
    return job.error.message if job.error else None


def _format_timestamp(timestamp: datetime) -> str:
    """`2026-03-31T10:00:15.000Z`."""
    return timestamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: The `error` of a body by its status; what is wrong with a request's fields is said there at once.
ERROR_TITLES = {
    401: "Unauthorized",
    402: "Insufficient Balance",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


def to_error_response(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """`{"error": title, "message": ...}`; `{"error": ...}` alone for a field that is wrong.

    The document knows neither 410 (what has expired is not found) nor 503 (an error of the server).
    """
    message = error.message.replace("`", "")
    if error.code == "model_not_found":
        return 400, {"error": "Model not found", "message": message}
    if isinstance(error, InvalidRequest):
        return 400, {"error": message}
    if isinstance(error, InsufficientBalance):
        message = _insufficient_balance_message(error)
    status = 404 if isinstance(error, Gone) else min(error.status, 500)
    return status, {"error": ERROR_TITLES.get(status, "Error"), "message": message}


def _insufficient_balance_message(error: InsufficientBalance) -> str:
    """What is missing: `... Required: $0.04`; of a key's own cap what there is to say."""
    if error.code != InsufficientBalance.default_code:
        return error.message
    micros = round(error.details["required_usd"] * MICROS_PER_DOLLAR)
    return f"Your wallet does not have enough balance. Required: ${format_usd(micros)}"
