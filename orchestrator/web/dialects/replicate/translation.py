"""Replicate: from the body of a prediction to a GenerationRequest, and from a job to a prediction."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidRequest, NotFound, invalid_field
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import Job, JobRecord, JobStatus
from orchestrator.jobs.events import JobEvent
from orchestrator.jobs.options import JobOptions, ProgressMessage, options_of
from orchestrator.web.dialects.hosted_names import (
    OWN_OWNER,
    find_hosted_name,
    require_hosted_name,
    shown_name,
)
from orchestrator.web.dialects.ids import job_id_from_hex, job_id_to_hex
from orchestrator.web.dialects.job_logs import job_log_lines
from orchestrator.web.dialects.replicate.schemas import (
    ModelPredictionBody,
    Prediction,
    PredictionMetrics,
    PredictionStatus,
    PredictionUrls,
    ReplicateModelEntry,
    ReplicateModelPage,
)
from orchestrator.web.dialects.run_input import to_run_request
from orchestrator.web.dialects.shown_requests import shown_request

DIALECT_NAME = "replicate"
#: Replicate's names of open models that the catalog has under another name.
MODEL_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "stability-ai/stable-diffusion": "sd-1.5",
        "stability-ai/stable-diffusion-3.5-large": "sd-3.5-large",
        "prunaai/z-image-turbo": "z-image-turbo",
        "prunaai/hidream-l1-full": "hidream-i1",
        "prunaai/hidream-e1.1": "hidream-e1",
        "wan-video/wan-2.1-1.3b": "wan2.1-t2v-fast",
        "wan-video/wan-2.2-5b-fast": "wan2.2-5b",
        "wan-video/wan-2.2-i2v-a14b": "wan2.2-i2v-14b",
        "wan-video/wan-2.2-i2v-fast": "wan2.2-i2v-14b",
        "wan-video/wan-2.2-t2v-fast": "wan2.2-t2v-14b",
        "men1scus/birefnet": "birefnet-cutout",
        "tencent/hunyuan-video": "hunyuan-video-720p",
    }
)
#: Replicate's names of fields.
FIELD_NAMES: Mapping[str, str] = MappingProxyType(
    {"megapixels": "resolution", "image_input": "images", "input_images": "images"}
)
#: What the JavaScript client holds, and no model takes.
_CLIENT_SETTINGS = frozenset({"auth", "baseUrl", "fileEncodingStrategy"})
#: How the clients name themselves: `GET /v1/models` is OpenAI's list for all others.
CLIENT_NAMES = ("replicate-python/", "replicate-javascript/")
STATUS_NAMES: Mapping[JobStatus, PredictionStatus] = MappingProxyType(
    {
        JobStatus.QUEUED: "starting",
        JobStatus.RUNNING: "processing",
        JobStatus.SUCCEEDED: "succeeded",
        JobStatus.FAILED: "failed",
        JobStatus.CANCELLED: "canceled",
    }
)
#: Messages before the end by the event that asks for them.
_MESSAGES_BY_EVENT = {"start": ProgressMessage.STARTED, "output": ProgressMessage.OUTPUT}
#: Longest and shortest time that `Prefer: wait=N` and `Cancel-After` name, in seconds.
MAX_WAIT_SECONDS, MIN_CANCEL_SECONDS, MAX_CANCEL_SECONDS = 60, 5, 24 * 3600
_WAIT = re.compile(r"wait(?:\s*=\s*(?P<seconds>\d{1,3}(?:\.\d{1,3})?))?", re.ASCII)
_DURATION = re.compile(
    r"(?:(?P<h>\d{1,4})h)?(?:(?P<m>\d{1,5})m)?(?:(?P<s>\d{1,6}(?:\.\d{1,3})?)s?)?", re.ASCII
)
_VERSION = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PREDICTION_ID = re.compile(r"[a-z2-7]{26}", re.ASCII)
#: `/v1/files/ID`, the address of an uploaded file.
FILE_URL = re.compile(r"https?://[^/?#\s]+/v1/files/(?P<id>file_[0-9a-f]{32})/?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTarget:
    """The model that a prediction runs."""

    #: Name in the catalog.
    name: str
    #: `owner/name`, as responses show it.
    shown: str


def to_prediction_id(job: Job) -> str:
    """Return the id of a job as Replicate writes ids: 26 letters and digits."""
    raw = bytes.fromhex(job_id_to_hex(job.id))
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def parse_prediction_id(text: str) -> str:
    """Return the job id of a prediction. Raises NotFound for text that is none."""
    if _PREDICTION_ID.fullmatch(text) is None:
        raise prediction_not_found()
    raw = base64.b32decode(text.upper() + "======")
    return job_id_from_hex(raw.hex())


def prediction_not_found() -> NotFound:
    """Return the error for an id that is unknown, or of another account."""
    return NotFound("The account has no prediction with this id", code="prediction_not_found")


def find_model(catalog: Catalog, owner: str, name: str) -> RunTarget:
    """Return the model of `owner/name`. Raises NotFound."""
    asked = f"{owner}/{name}"
    return RunTarget(name=require_hosted_name(catalog, asked, MODEL_NAMES), shown=asked)


def find_version(catalog: Catalog, version: str) -> RunTarget:
    """Return the model of a version: its id, `owner/name` or `owner/name:id`. Raises InvalidRequest."""
    asked, _, id = version.rpartition(":") if ":" in version else ("", "", version)
    if "/" in version and _VERSION.fullmatch(id) is None:
        asked, id = version, ""
    if asked:
        name = find_hosted_name(catalog, asked, MODEL_NAMES)
        if name is not None and id in ("", version_id(catalog, name)):
            return RunTarget(name=name, shown=asked)
    elif _VERSION.fullmatch(id):
        for name, _ in _all_names(catalog):
            if version_id(catalog, name) == id:
                return RunTarget(name=name, shown=shown_name(catalog, name))
    raise invalid_field(
        "version",
        f"must be `owner/name`, or the id of a version that is offered (got {version[:80]!r});"
        f" `GET /v1/models/{OWN_OWNER}/ID` shows that of each model",
    )


def to_model_entry(
    catalog: Catalog, name: str, shown: str, *, base_url: str, is_public: bool
) -> ReplicateModelEntry:
    """Return the model `name` of the catalog as `shown`, its `owner/name`."""
    owner, _, shown_as = shown.partition("/")
    return ReplicateModelEntry(
        url=f"{base_url}/v1/models/{shown}",
        owner=owner,
        name=shown_as,
        description=catalog[name].description,
        visibility="public" if is_public else "private",
        github_url=None,
        paper_url=None,
        license_url=None,
        run_count=0,
        cover_image_url=None,
        default_example=None,
    )


def to_model_page(catalog: Catalog, public: Catalog, base_url: str) -> ReplicateModelPage:
    """Return the models of a catalog, each under the name of its owner."""
    entries = [
        to_model_entry(catalog, name, shown_name(catalog, name), base_url=base_url, is_public=name in public)
        for name, _ in catalog.offers()
    ]
    return ReplicateModelPage(previous=None, next=None, results=entries)


def version_id(catalog: Catalog, name: str) -> str:
    """Return the id of the offered version of a name: it changes with the models that serve the name."""
    digests = (model.digest for model in catalog.models_of(name))
    return hashlib.sha256("\n".join((name, *digests)).encode()).hexdigest()


def _all_names(catalog: Catalog) -> Iterable[tuple[str, object]]:
    for name, model in catalog.offers():
        yield name, model
        for alias in model.aliases:
            yield alias, model


def to_request(
    target: RunTarget,
    body: ModelPredictionBody,
    catalog: Catalog,
    *,
    idempotency_key: str | None,
    cancel_after: float | None,
    inputs: Mapping[str, Any] | None = None,
) -> GenerationRequest:
    """Translate a prediction; `inputs` is its input with links to uploaded files. Raises InvalidRequest."""
    _check_input(body.input)
    sent = _with_resolution(body.input if inputs is None else inputs, catalog, target.name)
    request = to_run_request(
        target.name,
        sent,
        catalog,
        own_names=FIELD_NAMES,
        idempotency_key=idempotency_key,
        has_white_masks=True,
    )
    events = body.webhook_events_filter
    options = JobOptions(
        cancel_after=cancel_after,
        messages=_messages(events) if body.webhook else frozenset(),
        request={"input": shown_request(body.input)},
    )
    if body.webhook and body.webhook_completed and body.webhook != body.webhook_completed:
        raise InvalidRequest(
            "`webhook` and `webhook_completed` name different receivers; send one of them",
            code="conflicting_fields",
            param="webhook_completed",
        )
    return replace(
        request.with_field_names({"webhook_url": "webhook" if body.webhook else "webhook_completed"}),
        webhook_url=body.webhook or body.webhook_completed,
        webhook_statuses=_final_statuses(events) if body.webhook else None,
        warnings=(*request.warnings, *_webhook_warnings(body)),
        origin=f"{DIALECT_NAME}/{target.shown}",
        extra_params=options.to_params(),
        store_blocked_job=True,
    )


def _check_input(sent: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for the settings of the JavaScript client, which it may send for the input."""
    if sent.keys() >= _CLIENT_SETTINGS:
        raise invalid_field(
            "input",
            'holds the settings of the client, its token among them: with `fileEncodingStrategy: "data-uri"`,'
            ' the JavaScript client sends them instead of the input. Use "default" or "upload", or put'
            " data URLs into the input yourself",
        )


def _with_resolution(sent: Mapping[str, Any], catalog: Catalog, name: str) -> Mapping[str, Any]:
    """Return the input with `megapixels` as a resolution, for models without a parameter of that name."""
    value = sent.get("megapixels")
    if value is None or any("megapixels" in model.parameters for model in catalog.models_of(name)):
        return sent
    if value == "match_input":
        return {field: each for field, each in sent.items() if field != "megapixels"}
    return {**sent, "megapixels": f"{value} MP" if isinstance(value, str | int | float) else value}


def _messages(events: Sequence[str] | None) -> frozenset[ProgressMessage]:
    asked = _MESSAGES_BY_EVENT if events is None else events
    return frozenset(_MESSAGES_BY_EVENT[event] for event in asked if event in _MESSAGES_BY_EVENT)


def _final_statuses(events: Sequence[str] | None) -> frozenset[JobStatus] | None:
    return None if events is None or "completed" in events else frozenset()


def _webhook_warnings(body: ModelPredictionBody) -> list[str]:
    if body.webhook_events_filter is None:
        return []
    if not body.webhook:
        return ["`webhook_events_filter` has no effect without a `webhook`"]
    if "logs" in body.webhook_events_filter:
        return ["`logs` in `webhook_events_filter` sends no message; `urls.stream` has the logs as they come"]
    return []


def parse_wait_seconds(header: str) -> float | None:
    """Return how long `Prefer: wait` asks to wait; None if it does not. Raises InvalidRequest."""
    for part in re.split(r"[,;]", header):
        if not part.strip().lower().startswith("wait"):
            continue
        found = _WAIT.fullmatch(part.strip().lower())
        seconds = float(found["seconds"] or MAX_WAIT_SECONDS) if found else 0.0
        if not 0 < seconds <= MAX_WAIT_SECONDS:
            raise invalid_field(
                "Prefer",
                f"must be `wait` or `wait=1` to `wait={MAX_WAIT_SECONDS}` (got {part.strip()[:40]!r})",
            )
        return seconds
    return None


def parse_cancel_after(header: str | None) -> float | None:
    """Return after how many seconds `Cancel-After` cancels a prediction. Raises InvalidRequest."""
    if header is None:
        return None
    found = _DURATION.fullmatch(header.strip())
    seconds = 0.0
    if found is not None and header.strip():
        seconds = 3600 * int(found["h"] or 0) + 60 * int(found["m"] or 0) + float(found["s"] or 0)
    if not MIN_CANCEL_SECONDS <= seconds <= MAX_CANCEL_SECONDS:
        raise invalid_field(
            "Cancel-After",
            f"must be a time from {MIN_CANCEL_SECONDS}s to 24h, such as 90s or 1m30s (got {header[:40]!r})",
        )
    return seconds


def to_prediction(
    record: JobRecord,
    *,
    urls: Sequence[str],
    addresses: PredictionUrls,
    version: str,
    events: Iterable[JobEvent] = (),
    is_removed: bool = False,
) -> Prediction:
    """Return a job as a prediction; `urls` are those of its files, `events` the latest ones of the job."""
    job = record.job
    fields: dict[str, Any] = {
        "id": to_prediction_id(job),
        "model": shown_model(job),
        "version": version,
        "input": shown_input(job),
        "output": _output(record, urls),
        "logs": "".join(f"{line}\n" for line in job_log_lines(record, events)),
        "error": _error(job),
        "status": STATUS_NAMES[job.status],
        "created_at": format_time(job.created_at),
        "started_at": format_time(job.started_at),
        "completed_at": format_time(job.finished_at),
        "data_removed": is_removed,
        "metrics": _metrics(record),
        "source": "api",
        "urls": addresses,
    }
    if job.warnings:
        fields["warnings"] = list(job.warnings)
    return Prediction.model_validate(fields)


def shown_model(job: Job) -> str:
    """Return `owner/name` of the model of a job, also of one that another dialect has created."""
    dialect, _, name = (job.origin or "").partition("/")
    return name if dialect == DIALECT_NAME and name else f"{OWN_OWNER}/{job.shown_model}"


def shown_input(job: Job) -> dict[str, Any]:
    """Return the input of a prediction; of another dialect's job the prompt and the seed."""
    kept = options_of(job).request.get("input")
    if isinstance(kept, dict):
        return kept
    return {name: job.params[name] for name in ("prompt", "seed") if job.params.get(name) is not None}


def _output(record: JobRecord, urls: Sequence[str]) -> list[str] | str | None:
    if not urls:
        return None
    is_image = all(output.content_type.startswith("image/") for output in record.outputs)
    return list(urls) if is_image or len(urls) > 1 else urls[0]


def _error(job: Job) -> str | None:
    return job.error.message if job.error else None


def _metrics(record: JobRecord) -> PredictionMetrics:
    job = record.job
    if job.finished_at is None:
        return PredictionMetrics()
    started = job.started_at or job.finished_at
    times = {
        "predict_time": round((job.finished_at - started).total_seconds(), 6),
        "total_time": round((job.finished_at - job.created_at).total_seconds(), 6),
    }
    images = sum(output.content_type.startswith("image/") for output in record.outputs)
    return PredictionMetrics(**times, **({"image_count": images} if images else {}))


def format_time(moment: datetime | None) -> str | None:
    """Format a time as `2026-01-31T12:00:00.000000Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
