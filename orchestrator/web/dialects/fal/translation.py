"""fal: from the input of an app to a GenerationRequest, and from a job to a state or a result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.manifest import ModelKind
from orchestrator.errors import invalid_field
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import FailureKind, Job, JobRecord, JobStatus, Output
from orchestrator.jobs.events import JobEvent
from orchestrator.jobs.options import JobOptions, options_of
from orchestrator.web.dialects.fal.errors import StartTimeout, StillInProgress
from orchestrator.web.dialects.fal.schemas import (
    FalFile,
    FalLog,
    FalMetrics,
    FalQueueStatus,
    FalResult,
    FalTimings,
    QueueUrls,
)
from orchestrator.web.dialects.ids import job_id_to_uuid
from orchestrator.web.dialects.job_logs import job_log_lines
from orchestrator.web.dialects.run_input import to_run_request
from orchestrator.web.jobs.wait_for_result import require_success
from orchestrator.web.video_length import video_length

DIALECT_NAME = "fal"
#: fal's names of fields.
FIELD_NAMES: Mapping[str, str] = MappingProxyType({"image_urls": "images"})
#: fal's names of parameters that hold files, for errors about one that is missing.
USUAL_NAMES: Mapping[str, str] = MappingProxyType(
    {"image": "image_url", "images": "image_urls", "mask": "mask_url", "video": "video_url"}
)
#: Fields that change nothing here, with the values that ask for nothing.
_WITHOUT_EFFECT: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {"acceleration": (str,), "enable_prompt_expansion": (bool,), "expand_prompt": (bool,)}
)
_NEUTRAL = frozenset({"none", "regular", False})
_DURATION = re.compile(r"(\d{1,5}(?:\.\d{1,4})?)s?", re.ASCII)
#: The shortest time that `X-Fal-Request-Timeout` may name, and the longest, in seconds.
MIN_TIMEOUT, MAX_TIMEOUT = 1.0, 24 * 3600.0
TIMEOUT_HEADER, PRIORITY_HEADER = "X-Fal-Request-Timeout", "X-Fal-Queue-Priority"
_KINDS = {"video": "video", "audio": "audio", "model": "model_mesh"}


def to_origin(app: str) -> str:
    """Return the origin of jobs of an app."""
    return f"{DIALECT_NAME}/{app}"


def app_of(job: Job) -> str | None:
    """Return the app of a job; None for one of another dialect."""
    dialect, _, app = (job.origin or "").partition("/")
    return app if dialect == DIALECT_NAME else None


def to_request(
    app: str,
    name: str,
    sent: Mapping[str, Any],
    catalog: Catalog,
    *,
    idempotency_key: str | None,
    webhook_url: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    is_queued: bool = False,
) -> GenerationRequest:
    """Translate the input of an app whose model is `name`. Raises InvalidRequest."""
    fields, warnings = _take_own_fields(sent, catalog, name)
    request = to_run_request(
        name,
        fields,
        catalog,
        own_names=FIELD_NAMES,
        usual_names=USUAL_NAMES,
        idempotency_key=idempotency_key,
        has_white_masks=True,
    )
    options = JobOptions(
        start_within=parse_timeout(headers.get(TIMEOUT_HEADER)),
        request={"sync_mode": True} if sent.get("sync_mode") else {},
    )
    return replace(
        request.with_field_names({"webhook_url": "fal_webhook"}),
        webhook_url=webhook_url,
        warnings=(*request.warnings, *warnings, *_header_warnings(headers)),
        origin=to_origin(app),
        extra_params=options.to_params(),
        store_blocked_job=is_queued,
    )


def _take_own_fields(
    sent: Mapping[str, Any], catalog: Catalog, name: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields for the model, and sentences about those that change nothing."""
    known = {parameter for model in catalog.models_of(name) for parameter in model.parameters}
    fields = dict(sent)
    if not isinstance(fields.pop("sync_mode", None), bool | None):
        raise invalid_field("sync_mode", f"must be true or false (got {str(sent['sync_mode'])[:40]})")
    warnings = []
    for field, types in _WITHOUT_EFFECT.items():
        value = None if field in known else fields.pop(field, None)
        if value is None:
            continue
        if not isinstance(value, types):
            allowed = "true or false" if bool in types else "a text, such as none"
            raise invalid_field(field, f"must be {allowed} (got {str(value)[:40]})")
        if value is True:
            raise invalid_field(field, "must be false: no model here rewrites prompts")
        if value not in _NEUTRAL:
            warnings.append(f"`{field}` has no effect")
    if isinstance(fields.get("duration"), str):
        found = _DURATION.fullmatch(fields["duration"].strip())
        if found is None:
            raise invalid_field("duration", f"must be seconds, such as 5 (got {fields['duration'][:40]!r})")
        fields["duration"] = float(found[1])
    if isinstance(fields.get("loras"), list):
        fields["loras"] = [_to_lora(each) for each in fields["loras"]]
    return fields, warnings


def _to_lora(lora: Any) -> Any:
    """Return a LoRA under our names: fal calls them `path` and `scale`."""
    if not isinstance(lora, dict) or "path" not in lora:
        return lora
    names = {"path": "name", "scale": "strength"}
    return {names.get(field, field): value for field, value in lora.items()}


def parse_timeout(header: str | None) -> float | None:
    """Return within how many seconds a request must start. Raises InvalidRequest."""
    if header is None:
        return None
    found = _DURATION.fullmatch(header.strip())
    if found is None or not MIN_TIMEOUT <= float(found[1]) <= MAX_TIMEOUT:
        raise invalid_field(
            TIMEOUT_HEADER,
            f"must be a number of seconds from {MIN_TIMEOUT:g} to {MAX_TIMEOUT:g} (got {header[:40]!r})",
        )
    return float(found[1])


def _header_warnings(headers: Mapping[str, str]) -> list[str]:
    priority = headers.get(PRIORITY_HEADER, "normal").lower()
    if priority not in ("normal", "low"):
        raise invalid_field(PRIORITY_HEADER, f"must be normal or low (got {priority[:40]!r})")
    warnings = (
        [] if priority == "normal" else [f"`{PRIORITY_HEADER}` has no effect: the plan sets the priority"]
    )
    for name in ("X-Fal-Runner-Hint", "X-Fal-Object-Lifecycle-Preference"):
        if name in headers:
            warnings.append(f"`{name}` has no effect")
    return warnings


def to_urls(job: Job, app: str, base_url: str) -> QueueUrls:
    """Return the addresses of a request below the queue of the app's owner and name."""
    base_app = "/".join(app.split("/")[:2])
    id = job_id_to_uuid(job.id)
    url = f"{base_url}/fal/queue/{base_app}/requests/{id}"
    return QueueUrls(request_id=id, response_url=url, status_url=f"{url}/status", cancel_url=f"{url}/cancel")


def to_status(
    record: JobRecord,
    urls: QueueUrls,
    *,
    position: int | None = None,
    events: Iterable[JobEvent] | None = None,
) -> FalQueueStatus:
    """Return the state of a request; `events` are its latest ones if logs are asked for."""
    job = record.job
    fields: dict[str, Any] = {**dict(urls), "logs": None if events is None else to_logs(record, events)}
    if job.status is JobStatus.QUEUED:
        fields |= {"status": "IN_QUEUE", "queue_position": max((position or 1) - 1, 0)}
    elif not job.is_finished:
        fields |= {"status": "IN_PROGRESS"}
    else:
        fields |= {"status": "COMPLETED", "metrics": FalMetrics(inference_time=inference_seconds(job))}
        error = _error_text(job)
        if error is not None:
            fields |= {"error": error[0], "error_type": error[1]}
    return FalQueueStatus.model_validate(fields)


def to_logs(record: JobRecord, events: Iterable[JobEvent]) -> list[FalLog]:
    """Return the log of a request."""
    moment = record.job.finished_at or record.job.started_at or record.job.created_at
    return [
        FalLog(message=line, level="INFO", source="USER", timestamp=_format_time(moment))
        for line in job_log_lines(record, events)
    ]


def _error_text(job: Job) -> tuple[str, str] | None:
    if job.status is JobStatus.CANCELLED:
        return "The request was cancelled", "cancelled"
    return (job.error.message, job.error.code) if job.error else None


def require_result(record: JobRecord) -> JobRecord:
    """Return a finished request that has a result.

    Raises StillInProgress, StartTimeout, ContentBlocked, InvalidRequest, GenerationFailed.
    """
    job = record.job
    if not job.is_finished:
        raise StillInProgress("Request is still in progress")
    if job.error is not None and job.error.code == FailureKind.EXPIRED and options_of(job).start_within:
        raise StartTimeout(
            "The request has not started within the time of its `X-Fal-Request-Timeout`",
            headers={"X-Fal-Request-Timeout-Type": "user"},
        )
    return require_success(record)


def to_result(record: JobRecord, model: Model | None, urls: Sequence[str]) -> FalResult:
    """Return the result of a request; `urls` are those of its files, in order."""
    job = record.job
    files = [to_file(output, url) for output, url in zip(record.outputs, urls, strict=True)]
    fields: dict[str, Any] = {"timings": FalTimings(inference=inference_seconds(job) or 0)}
    for name in ("seed", "prompt"):
        if job.params.get(name) is not None:
            fields[name] = job.params[name]
    if files and files[0].content_type.startswith("image/"):
        fields |= {"images": files, "has_nsfw_concepts": [False] * len(files)}
        if model is not None and model.kind is ModelKind.UPSCALE:
            fields["image"] = files[0]
    elif files:
        fields[_field_of(files[0], model)] = files[0]
    return FalResult.model_validate(fields)


def _field_of(file: FalFile, model: Model | None) -> str:
    if model is not None and model.kind is ModelKind.TRAINER:
        return "diffusers_lora_file"
    return _KINDS.get(file.content_type.partition("/")[0], "model_mesh")


def to_file(output: Output, url: str) -> FalFile:
    """Return a file of a result."""
    fields: dict[str, Any] = {
        "url": url,
        "content_type": output.content_type,
        "file_name": output.key.rpartition("/")[2],
        "file_size": output.size,
    }
    if output.width is not None:
        fields |= {"width": output.width, "height": output.height}
    length = video_length(output)
    for ours, theirs in (("seconds", "duration"), ("fps", "fps"), ("frames", "num_frames")):
        if ours in length:
            fields[theirs] = length[ours]
    return FalFile.model_validate(fields)


def inference_seconds(job: Job) -> float | None:
    """Return how long a finished request ran."""
    if job.finished_at is None or job.started_at is None:
        return None
    return round((job.finished_at - job.started_at).total_seconds(), 6)


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
