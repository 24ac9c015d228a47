"""Job, shard, attempt and output: frozen values without I/O.

A job is one request; a shard is one prompt for one instance; an attempt is one run of a shard.
Nothing here reads a clock, draws a random number or touches a disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.jobs.status import (
    JOB_TRANSITIONS,
    SHARD_TRANSITIONS,
    IllegalTransition,
    JobStatus,
    ShardStatus,
)

#: Name of the parameter of a job that holds the version of its model, if that version's files are kept. No
#: parameter of a model has a name like it.
MODEL_VERSION_PARAM = "@model_version"


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One stored result of a shard."""

    #: Key of the object in the bucket (content-addressed).
    key: str
    #: Media type detected from the bytes; the type that the instance reports is ignored.
    content_type: str
    #: Size of the object in bytes.
    size: int
    #: SHA-256 of the bytes, hexadecimal.
    sha256: str
    #: Size in pixels; None for audio and text.
    width: int | None = None
    height: int | None = None
    #: Number of frames and frames per second, for videos only.
    frames: int | None = None
    fps: float | None = None
    #: Results of a caller's graph: the node that made it, and its BLAKE3, hexadecimal.
    node: str | None = None
    blake3: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """GPU time and memory used by a successful attempt."""

    #: Seconds between the instance's first and last message about the prompt.
    gpu_seconds: float = 0.0
    #: Whether the instance was a simulator.
    simulated: bool = False
    #: Part of `gpu_seconds` that was spent loading weights.
    load_seconds: float = 0.0
    #: Peak GPU memory in use, in bytes; None if the instance does not report it.
    peak_vram: int | None = None
    #: Name of the GPU as reported by its driver, `cpu` or `simulated`.
    device: str = ""
    #: SHA-256 of the template that ran.
    model_digest: str = ""
    #: When the instance had run the prompt; None for runs of earlier versions.
    run_ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One run of a shard on one instance. Its `prompt_id` is chosen before the prompt is sent."""

    #: UUID sent to the instance; it identifies the run after a crash of either side.
    prompt_id: str
    shard_id: str
    #: Counted from 1 within the shard.
    number: int
    instance_id: str
    started_at: datetime
    ended_at: datetime | None = None
    #: `ok`, or a FailureKind. None while the attempt runs.
    outcome: str | None = None
    #: Message for operators; may name nodes and exceptions.
    detail: str | None = None

    @property
    def job_id(self) -> str:
        """The job of its shard."""
        return job_of_shard(self.shard_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One prompt of a job: the same parameters with its own seed."""

    #: `<job id>-<index>`.
    id: str
    job_id: str
    index: int
    #: Values of the model's parameters, including the seed; input files as object keys.
    params: Mapping[str, Any]
    status: ShardStatus = ShardStatus.WAITING
    outputs: Sequence[Output] = ()
    usage: Usage = field(default_factory=Usage)
    #: Number of attempts started.
    attempts: int = 0
    #: Failed attempts that count against the maximum: not those that were lost with their instance.
    tries: int = 0
    #: How often an instance died while it ran the shard; see `execution.scheduler.suspects`.
    deaths: int = 0

    def transition_to(self, status: ShardStatus, **changes: Any) -> Shard:
        """Return the shard with a new status and other `changes`. Raises IllegalTransition."""
        if status not in SHARD_TRANSITIONS[self.status]:
            raise IllegalTransition(f"shard {self.id}: {self.status} -> {status}")
        return replace(self, status=status, **changes)


class PendingResponse(StrEnum):
    """What the connection of a request still has to bring its caller."""

    RESULT = "result"  #: the result; the caller knows no id to ask for it
    ID = "id"  #: the id of the job
    LOST = "lost"  #: the result; the caller disconnected after the job had succeeded


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """Why a job failed, as shown to its caller."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One accepted request."""

    id: str
    #: Account that pays for the job.
    account_id: str
    #: API key of the request.
    key_id: str
    model: str
    #: Validated parameters shared by all shards (`n`, prompt, size, ... and the seed of the first shard).
    params: Mapping[str, Any]
    #: Micro-dollars; held when the job is accepted and captured when it succeeds.
    price: int
    created_at: datetime
    status: JobStatus = JobStatus.QUEUED
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: JobError | None = None
    #: The caller's `Idempotency-Key`, and the digest of the request that it belongs to.
    idempotency_key: str | None = None
    request_digest: str | None = None
    #: URL that is sent a webhook when the job finishes.
    webhook_url: str | None = None
    #: Final statuses that trigger the webhook; None for all.
    webhook_statuses: frozenset[JobStatus] | None = None
    #: The name by which the request asked for the model; None for its id.
    requested_model: str | None = None
    #: Sentences about fields of the request that had no effect.
    warnings: Sequence[str] = ()
    #: Dialect-qualified name of the request's dialect, such as `pixazo/flux-dev`; None for the native API.
    origin: str | None = None
    #: Content type and quality (1 to 100) of stored images; None keeps the model's output unchanged.
    output_type: str | None = None
    output_quality: int | None = None
    #: When the caller removed the job; it is hidden from then on.
    removed_at: datetime | None = None
    #: What the response to the request still has to bring. None once it was sent, and for a request with an
    #: idempotency key, which can be repeated.
    pending_response: PendingResponse | None = None

    @property
    def shown_model(self) -> str:
        """The model under the name that its caller used."""
        return self.requested_model or self.model

    @property
    def model_version(self) -> str | None:
        """Digest of the version of the model for which it was accepted; None if no files of it are kept."""
        version = self.params.get(MODEL_VERSION_PARAM)
        return version if isinstance(version, str) else None

    @property
    def is_finished(self) -> bool:
        return not JOB_TRANSITIONS[self.status]

    @property
    def notify_url(self) -> str | None:
        """Webhook URL, or None if `webhook_statuses` excludes the final status."""
        return None if self.is_webhook_excluded else self.webhook_url

    @property
    def is_webhook_excluded(self) -> bool:
        """Whether the webhook is not sent, because `webhook_statuses` excludes the final status."""
        return (
            self.webhook_url is not None
            and self.is_finished
            and self.webhook_statuses is not None
            and self.status not in self.webhook_statuses
        )

    def transition_to(self, status: JobStatus, **changes: Any) -> Job:
        """Return the job with a new status and other `changes`. Raises IllegalTransition."""
        if status not in JOB_TRANSITIONS[self.status]:
            raise IllegalTransition(f"job {self.id}: {self.status} -> {status}")
        return replace(self, status=status, **changes)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRecord:
    """A job with its shards, in index order."""

    job: Job
    shards: Sequence[Shard]

    @property
    def outputs(self) -> list[Output]:
        return [output for shard in self.shards for output in shard.outputs]

    @property
    def is_simulated(self) -> bool:
        return any(shard.usage.simulated for shard in self.shards)


def job_of_shard(shard_id: str) -> str:
    """Return the id of a shard's job, with which the shard's id begins."""
    return shard_id.rpartition("-")[0]


def create_shards(job: Job, n: int) -> list[Shard]:
    """Return `n` shards with the seeds `seed, seed+1, ...`, which are within the model's range.

    The results of a request therefore do not depend on which instances run its shards."""
    seed = job.params.get("seed")
    shards = []
    for index in range(n):
        params = dict(job.params)
        if seed is not None:
            params["seed"] = seed + index
        shards.append(Shard(id=f"{job.id}-{index}", job_id=job.id, index=index, params=params))
    return shards
