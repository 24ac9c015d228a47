"""Bodies of the operators' view of jobs, and the functions that build them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from orchestrator.billing.charging import BATCH_PARAM, MINIMUM_PARAM
from orchestrator.errors import ContentBlocked
from orchestrator.execution.failures import FAILURE_MESSAGES
from orchestrator.jobs import (
    MODEL_VERSION_PARAM,
    Attempt,
    FailureKind,
    Job,
    JobRecord,
    JobStatus,
    Shard,
    ShardStatus,
)
from orchestrator.jobs.loras import LORA_OBJECTS_PARAM
from orchestrator.jobs.options import OPTIONS_PARAM
from orchestrator.net.http_urls import url_receiver
from orchestrator.store.job_search import FailedAttempt
from orchestrator.web.account.billing_schemas import EXAMPLE_JOB_ID
from orchestrator.web.admin.schemas import JobMargin
from orchestrator.web.dialects.credits import charged_micros
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel
from pricing.money import to_usd

_EXAMPLE_ACCOUNT, _EXAMPLE_KEY = "acct_9b0a4f7c", "key_5d1f0c8b"
#: Parameters of jobs that the service adds to those of the request.
HIDDEN_PARAMS = frozenset(
    {BATCH_PARAM, LORA_OBJECTS_PARAM, MINIMUM_PARAM, MODEL_VERSION_PARAM, OPTIONS_PARAM}
)
#: Ends of attempts that are no failures, in words.
_OTHER_ENDS = {"ok": "Succeeded.", "": "Runs."}


class AdminJobRow(ResponseModel):
    """A job in the operators' list, without its parameters."""

    id: str = Field(description="Id of the job.", examples=[EXAMPLE_JOB_ID])
    status: str = Field(
        description="`queued`, `running`, `succeeded`, `failed` or `cancelled`.", examples=["failed"]
    )
    model: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    account: str = Field(description="Id of the account.", examples=[_EXAMPLE_ACCOUNT])
    account_name: str = Field(description="Name of the account.", examples=["Example Ltd."])
    key: str = Field(description="Id of the API key.", examples=[_EXAMPLE_KEY])
    key_name: str = Field(description="Name of the API key.", examples=["backend"])
    created_at: IsoDatetime = Field(description="When it was accepted.")
    started_at: IsoDatetime | None = Field(description="When its first shard started; null before.")
    finished_at: IsoDatetime | None = Field(description="When it finished; null before.")
    error_code: str | None = Field(
        description="Code of its error; null if it has not failed.", examples=["out_of_memory"]
    )
    error_message: str | None = Field(
        description="The error as its caller sees it.", examples=["The GPU has too little memory."]
    )
    shards: int = Field(description="Number of shards.", examples=[4])
    shards_done: int = Field(description="Number of shards that have finished.", examples=[1])
    attempts: int = Field(description="Number of attempts of all shards.", examples=[6])
    instances: list[str] = Field(
        description="Ids of the instances that ran them, first ones first.", examples=[["gpu-0", "gpu-3"]]
    )
    price_usd: float = Field(description="Price of the job.", examples=[0.012])
    charged_usd: float = Field(description="What was charged, before refunds.", examples=[0])
    simulated: bool = Field(description="Whether a simulator ran it.", examples=[False])
    removed: bool = Field(description="Whether its caller has removed it.", examples=[False])


class AdminJobList(ResponseModel):
    """A page of jobs of all accounts."""

    jobs: list[AdminJobRow] = Field(description="The jobs, newest first.")
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class AttemptResponse(ResponseModel):
    """One run of a shard on an instance. Its times are null where they are not known."""

    prompt_id: str = Field(
        description="Id of the prompt on the instance.", examples=["5b1d4a52-6a41-4c3b-9c0e-1f2d3a4b5c6d"]
    )
    number: int = Field(description="Number of the attempt of the shard, from 1.", examples=[1])
    instance: str = Field(description="Id of the instance.", examples=["gpu-0"])
    started_at: IsoDatetime = Field(description="When it was given to the instance.")
    run_started_at: IsoDatetime | None = Field(
        description="When the instance began to run it; null unless it succeeded."
    )
    run_ended_at: IsoDatetime | None = Field(
        description="When the instance had run it; null unless it succeeded."
    )
    ended_at: IsoDatetime | None = Field(description="When it ended; null while it runs.")
    outcome: str | None = Field(
        description="`ok` or the kind of failure; null while it runs.", examples=["out_of_memory"]
    )
    reason: str = Field(
        description="How it ended, in words.",
        examples=["The request needs more GPU memory than is available."],
    )
    detail: str | None = Field(
        description="What the instance said, for operators.", examples=["KSampler: Allocation on device 0"]
    )
    wait_seconds: float = Field(
        description="From the acceptance of the job, or the end of the attempt before, to its start.",
        examples=[1.2],
    )
    prepare_seconds: float | None = Field(
        description="Until the instance ran it: upload of files, and the prompt before it.", examples=[0.3]
    )
    load_seconds: float | None = Field(description="Part of the run that loaded the model.", examples=[0.0])
    run_seconds: float | None = Field(description="The rest of the run.", examples=[1.672])
    store_seconds: float | None = Field(
        description="From the end of the run until its results were stored.", examples=[0.2]
    )


class AdminShard(ResponseModel):
    """A shard of a job."""

    id: str = Field(description="Id of the shard.", examples=[f"{EXAMPLE_JOB_ID}-0"])
    status: str = Field(
        description="`waiting`, `running`, `succeeded`, `failed` or `cancelled`.", examples=["succeeded"]
    )
    seed: int | None = Field(description="Its seed, if the model has one.", examples=[42])
    deaths: int = Field(description="How often an instance died while it ran the shard.", examples=[0])
    attempts: list[AttemptResponse] = Field(description="Its attempts, oldest first.")


class AdminJob(AdminJobRow):
    """A job with everything that happened to it. It holds the prompt of its caller."""

    requested_model: str | None = Field(
        description="Name by which the model was asked for; null for its id.", examples=[None]
    )
    origin: str | None = Field(
        description="Dialect of the request; null for the native API.", examples=["pixazo/flux-dev"]
    )
    parameters: dict[str, Any] = Field(
        description="Parameters of the request.", examples=[{"prompt": "a fox"}]
    )
    warnings: list[str] = Field(description="What of the request had no effect.", examples=[[]])
    webhook_host: str | None = Field(
        description="Host that gets its webhook; null without one.", examples=["example.com"]
    )
    parts: list[AdminShard] = Field(description="Its shards with their attempts.")
    margin: JobMargin = Field(description="Resources, revenue and cost.")
    can_cancel: bool = Field(description="Whether it can be cancelled.", examples=[False])
    can_retry: bool = Field(description="Whether it can be repeated as a new job.", examples=[True])
    can_refund: bool = Field(description="Whether it was charged.", examples=[False])


class FailureResponse(ResponseModel):
    """An attempt that failed."""

    at: IsoDatetime = Field(description="When it failed.")
    job: str = Field(description="Id of the job.", examples=[EXAMPLE_JOB_ID])
    job_status: str = Field(
        description="Status of the job now: most failed attempts are repeated.", examples=["succeeded"]
    )
    shard: str = Field(description="Id of the shard.", examples=[f"{EXAMPLE_JOB_ID}-0"])
    attempt: int = Field(description="Number of the attempt, from 1.", examples=[1])
    instance: str = Field(description="Id of the instance.", examples=["gpu-0"])
    model: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    account: str = Field(description="Id of the account.", examples=[_EXAMPLE_ACCOUNT])
    account_name: str = Field(description="Name of the account.", examples=["Example Ltd."])
    kind: str = Field(description="Kind of failure.", examples=["out_of_memory"])
    reason: str = Field(
        description="The same in words.", examples=["The request needs more GPU memory than is available."]
    )
    detail: str | None = Field(
        description="What the instance said, for operators.", examples=["KSampler: Allocation on device 0"]
    )


class FailureList(ResponseModel):
    """Attempts that failed."""

    failures: list[FailureResponse] = Field(description="The attempts, latest first.")
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


def explain_outcome(outcome: str | None) -> str:
    """Return the end of an attempt in words."""
    outcome = outcome or ""
    if outcome in _OTHER_ENDS:
        return _OTHER_ENDS[outcome]
    try:
        return FAILURE_MESSAGES[FailureKind(outcome)]
    except (ValueError, KeyError):
        return outcome


def _row_fields(record: JobRecord, names: Mapping[str, str], instances: Iterable[str]) -> dict[str, Any]:
    job = record.job
    return {
        "id": job.id,
        "status": job.status.value,
        "model": job.model,
        "account": job.account_id,
        "account_name": names.get(job.account_id, ""),
        "key": job.key_id,
        "key_name": names.get(job.key_id, ""),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "error_code": job.error and job.error.code,
        "error_message": job.error and job.error.message,
        "shards": len(record.shards),
        "shards_done": sum(shard.status is ShardStatus.SUCCEEDED for shard in record.shards),
        "attempts": sum(shard.attempts for shard in record.shards),
        "instances": list(instances),
        "price_usd": to_usd(job.price),
        "charged_usd": to_usd(charged_micros(job)),
        "simulated": record.is_simulated,
        "removed": job.removed_at is not None,
    }


def to_job_row(record: JobRecord, names: Mapping[str, str], instances: Iterable[str]) -> AdminJobRow:
    """Return a job as the list shows it, with the instances that ran it."""
    return AdminJobRow(**_row_fields(record, names, instances))


def to_admin_job(
    record: JobRecord, attempts: Sequence[Attempt], names: Mapping[str, str], margin: JobMargin
) -> AdminJob:
    """Return a job with its attempts."""
    job = record.job
    in_order = sorted(attempts, key=lambda one: (one.started_at, one.instance_id))
    return AdminJob(
        **_row_fields(record, names, dict.fromkeys(one.instance_id for one in in_order)),
        requested_model=job.requested_model,
        origin=job.origin,
        parameters={name: value for name, value in job.params.items() if name not in HIDDEN_PARAMS},
        warnings=list(job.warnings),
        webhook_host=None if job.webhook_url is None else url_receiver(job.webhook_url),
        parts=[
            _to_shard(job, shard, [one for one in attempts if one.shard_id == shard.id])
            for shard in record.shards
        ],
        margin=margin,
        can_cancel=not job.is_finished,
        can_retry=job.status in (JobStatus.FAILED, JobStatus.CANCELLED) and not _is_blocked(job),
        can_refund=charged_micros(job) > 0,
    )


def _is_blocked(job: Job) -> bool:
    return job.error is not None and job.error.code == ContentBlocked.default_code


def _to_shard(job: Job, shard: Shard, attempts: Sequence[Attempt]) -> AdminShard:
    seed = shard.params.get("seed")
    return AdminShard(
        id=shard.id,
        status=shard.status.value,
        seed=seed if isinstance(seed, int) else None,
        deaths=shard.deaths,
        attempts=list(_to_attempts(job, shard, attempts)),
    )


def _to_attempts(job: Job, shard: Shard, attempts: Iterable[Attempt]) -> Iterable[AttemptResponse]:
    waits_since = job.created_at
    for attempt in attempts:
        yield _to_attempt(shard, attempt, waits_since)
        waits_since = attempt.ended_at or attempt.started_at


def _to_attempt(shard: Shard, attempt: Attempt, waits_since: datetime) -> AttemptResponse:
    usage = shard.usage
    ended = usage.run_ended_at if attempt.outcome == "ok" else None
    started = None
    if ended is not None:
        seconds = min(usage.gpu_seconds, (ended - attempt.started_at).total_seconds())
        started = datetime.fromtimestamp(ended.timestamp() - max(seconds, 0.0), ended.tzinfo)
    load = min(usage.load_seconds, usage.gpu_seconds)
    return AttemptResponse(
        prompt_id=attempt.prompt_id,
        number=attempt.number,
        instance=attempt.instance_id,
        started_at=attempt.started_at,
        run_started_at=started,
        run_ended_at=ended,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome,
        reason=explain_outcome(attempt.outcome),
        detail=attempt.detail,
        wait_seconds=_seconds(waits_since, attempt.started_at) or 0.0,
        prepare_seconds=_seconds(attempt.started_at, started),
        load_seconds=None if ended is None else round(load, 3),
        run_seconds=None if ended is None else round(usage.gpu_seconds - load, 3),
        store_seconds=_seconds(ended, attempt.ended_at),
    )


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round(max((end - start).total_seconds(), 0.0), 3)


def to_failure(failed: FailedAttempt, names: Mapping[str, str]) -> FailureResponse:
    """Return an attempt that failed."""
    attempt = failed.attempt
    return FailureResponse(
        at=attempt.ended_at or attempt.started_at,
        job=attempt.job_id,
        job_status=failed.status.value,
        shard=attempt.shard_id,
        attempt=attempt.number,
        instance=attempt.instance_id,
        model=failed.model,
        account=failed.account_id,
        account_name=names.get(failed.account_id, ""),
        kind=attempt.outcome or "",
        reason=explain_outcome(attempt.outcome),
        detail=attempt.detail,
    )
