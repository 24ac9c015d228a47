"""Pixazo's gateway: requests that are polled by `request_id`, or tell a webhook; prices in dollars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.catalog import Model
from orchestrator.errors import Gone, InsufficientBalance, InvalidRequest, ServiceError
from orchestrator.failures import MISFORTUNES
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.orders import GenerationRequest
from orchestrator.web.dialects.ids import as_uuid, from_uuid
from orchestrator.web.dialects.pixazo_endpoints import Endpoint, Manner
from orchestrator.web.dialects.pixazo_forms import Gateway
from pricing.money import MICROS_PER_DOLLAR, format_usd

NAME = TARIFF = "pixazo"
STATUS_PATH = "/v2/requests/status/"
CHECK_PATH = "/flux-1-schnell/v1/checkStatus"
#: All addresses that are the gateway's to answer, be there something or not.
PATHS = re.compile(r"/((?!api/|admin/)[^/]+/v1(/|$)|generateT2I(/|$)|v2(/|$))")
#: The two headers of the document that a key comes in.
KEY_HEADERS = ("Ocp-Apim-Subscription-Key", "X-Secret-Key")
WEBHOOK_HEADER = "X-Webhook-URL"


def to_request(
    endpoint: Endpoint,
    body: Gateway,
    model: Model,
    *,
    receiver: str | None,
    idempotency_key: str | None,
) -> GenerationRequest:
    """What a body asks of the endpoint's model; `receiver` is told of its end. Raises InvalidRequest.

    What the content policy refuses is, where requests are polled, a request that has failed: the document
    checks balance, model and parameters when one comes in, and tells of all else by status and webhook.
    Where the result is the answer there is no later, and it is a 400. Neither costs anything.
    """
    return GenerationRequest(
        model=endpoint.model,
        params=body.params(model),
        idempotency_key=idempotency_key,
        tariff=TARIFF,
        priced_as=endpoint.price,
        webhook_url=receiver,
        webhook_ends=_ends(body.events),
        keep_blocked=endpoint.manner is not Manner.SYNCHRONOUS,
        encoding=body.encoding,
        like_picture=body.like_picture,
        origin=origin(endpoint.id),
    )


def _ends(events: Sequence[str] | None) -> frozenset[JobStatus] | None:
    return None if events is None else frozenset().union(*(ENDS[event] for event in events))


#: What `webhook_events_filter` calls the ends of a job.
ENDS: dict[str, frozenset[JobStatus]] = {
    "completed": frozenset({JobStatus.SUCCEEDED}),
    "failed": frozenset({JobStatus.FAILED, JobStatus.CANCELLED}),
}


def origin(model_id: str) -> str:
    """How a job remembers that it was asked for here."""
    return f"{NAME}/{model_id}"


def model_id(job: Job) -> str:
    """The gateway's name of the model that a job was asked of."""
    return (job.origin or "").removeprefix(f"{NAME}/")


_REQUEST = re.compile(r"(?P<model>[\w.-]+)_(?P<uuid>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)


def request_id(job: Job) -> str:
    """`flux-dev_019d42ce-...`"""
    return f"{model_id(job)}_{as_uuid(job.id)}"


def named_job(request_id: str) -> tuple[str, str]:
    """Origin and id of the job that a request id stands for; of none where it is no request id."""
    found = _REQUEST.fullmatch(request_id)
    return (origin(found["model"]), from_uuid(found["uuid"])) if found else ("", "")


def to_queued(job: Job, host: str) -> dict[str, Any]:
    """The answer to a request that is polled at `host`."""
    id = request_id(job)
    return {"request_id": id, "status": status(job), "polling_url": f"{host}{STATUS_PATH}{id}"}


def to_status(record: JobRecord, urls: Sequence[str]) -> dict[str, Any]:
    """What became of a request, as status and webhook tell it; a URL for each of its files."""
    job = record.job
    changed = job.finished_at or job.started_at or job.created_at
    media_type = record.outputs[0].content_type if urls else None
    return {
        "request_id": request_id(job),
        "status": status(job),
        "model_id": model_id(job),
        "error": _error(job),
        "output": {"media_url": list(urls), "media_type": media_type} if urls else None,
        "created_at": _moment(job.created_at),
        "updated_at": _moment(changed),
        "completed_at": _moment(job.finished_at) if job.finished_at else None,
    }


def status(job: Job) -> str:
    """QUEUED, PROCESSING or COMPLETED; FAILED where it lay with what was asked for, ERROR where with us."""
    if job.status is JobStatus.FAILED and job.error and job.error.code in OURS:
        return "ERROR"
    return _STATUSES[job.status]


#: Failures that the caller had no part in.
OURS = MISFORTUNES | {"internal"}
_STATUSES = {
    JobStatus.QUEUED: "QUEUED",
    JobStatus.RUNNING: "PROCESSING",
    JobStatus.SUCCEEDED: "COMPLETED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "FAILED",
}


def to_batch_queued(job: Job) -> dict[str, Any]:
    """The answer to a request of the batch pair that is not finished."""
    told = job.webhook_url is not None
    message = "Result will be sent to the provided webhook URL." if told else "It is still being processed."
    return {
        "requestId": as_uuid(job.id),
        "status": _BATCH_STATUSES[job.status],
        "message": f"Request queued. {message}",
        "pollingEndpoint": "/checkStatus",
        "pollingInstructions": f'POST to /checkStatus with {{"requestId": "{as_uuid(job.id)}"}}',
    }


def to_batch_status(job: Job, url: str | None) -> dict[str, Any]:
    """What became of it, as `checkStatus` and webhook tell it; `url` is its file's."""
    body: dict[str, Any] = {"requestId": as_uuid(job.id), "status": _BATCH_STATUSES[job.status]}
    body |= {"output": url} if url else {}
    body |= {"error": _error(job)} if body["status"] == "failed" else {}
    return body | ({"completedAt": round(job.finished_at.timestamp() * 1000)} if job.finished_at else {})


_BATCH_STATUSES = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "failed",
}


def _error(job: Job) -> str | None:
    if job.status is JobStatus.CANCELLED:
        return "The request was cancelled"
    return job.error.message if job.error else None


def _moment(moment: datetime) -> str:
    """`2026-03-31T10:00:15.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: The `error` of a body by its status; what is wrong with a request's fields is said there at once.
TITLES = {
    401: "Unauthorized",
    402: "Insufficient Balance",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


def to_error(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """`{"error": title, "message": ...}`; `{"error": ...}` alone for a field that is wrong.

    The document knows neither 410 (what has expired is not found) nor 503 (an error of the server).
    """
    message = error.message.replace("`", "")
    if error.code == "model_not_found":
        return 400, {"error": "Model not found", "message": message}
    if isinstance(error, InvalidRequest):
        return 400, {"error": message}
    if isinstance(error, InsufficientBalance):
        message = _short_of(error)
    status = 404 if isinstance(error, Gone) else min(error.status, 500)
    return status, {"error": TITLES.get(status, "Error"), "message": message}


def _short_of(error: InsufficientBalance) -> str:
    """What is missing: `... Required: $0.04`; of a key's own cap what there is to say."""
    if error.code != InsufficientBalance.default_code:
        return error.message
    micros = round(error.details["required_usd"] * MICROS_PER_DOLLAR)
    return f"Your wallet does not have enough balance. Required: ${format_usd(micros)}"
