"""Job, shard, attempt, output: frozen values, and the two tables that say how they may change.

    job     queued -> running -> succeeded | failed | cancelled
    shard   waiting -> running -> succeeded | failed | cancelled
                 ^--------+          (a failed attempt sends its shard back to waiting)

A job is one request; a shard is one prompt for one instance; an attempt is one run of a shard.
Nothing here reads a clock, draws a random number or touches a disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    QUEUED = "queued"  #: on disk and paid for by a hold; no shard has begun
    RUNNING = "running"  #: at least one shard has begun
    SUCCEEDED = "succeeded"  #: every shard has stored outputs; the hold is captured
    FAILED = "failed"  #: a shard can not be done; the hold is released
    CANCELLED = "cancelled"  #: the caller or an operator gave it up; the hold is released


class ShardStatus(StrEnum):
    WAITING = "waiting"  #: for an instance
    RUNNING = "running"  #: an attempt is under way
    SUCCEEDED = "succeeded"  #: its outputs are stored
    FAILED = "failed"  #: no further attempt will be made
    CANCELLED = "cancelled"  #: not needed any more


JOB_TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}

SHARD_TRANSITIONS: Mapping[ShardStatus, frozenset[ShardStatus]] = {
    ShardStatus.WAITING: frozenset({ShardStatus.RUNNING, ShardStatus.FAILED, ShardStatus.CANCELLED}),
    ShardStatus.RUNNING: frozenset(
        {ShardStatus.WAITING, ShardStatus.SUCCEEDED, ShardStatus.FAILED, ShardStatus.CANCELLED}
    ),
    ShardStatus.SUCCEEDED: frozenset(),
    ShardStatus.FAILED: frozenset(),
    ShardStatus.CANCELLED: frozenset(),
}


class IllegalTransition(Exception):
    """A job or shard was asked to change in a way that its table does not hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One stored result of a shard."""

    #: Key of the object in the bucket (content-addressed).
    key: str
    #: Media type found by looking at the bytes, never the instance's word for it.
    content_type: str
    #: Size of the object in bytes.
    size: int
    #: SHA-256 of the bytes, hexadecimal.
    sha256: str
    #: Pixels; None for audio and text.
    width: int | None = None
    height: int | None = None
    #: Video only.
    frames: int | None = None
    fps: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a successful attempt used."""

    #: Seconds between the instance's first and last word about the prompt.
    gpu_seconds: float = 0.0
    #: True where the instance was a simulator.
    simulated: bool = False
    #: Of the GPU seconds, those spent loading weights.
    load_seconds: float = 0.0
    #: Most bytes of GPU memory in use at once; None where the instance does not tell.
    peak_vram: int | None = None
    #: Name of the GPU as its driver gives it, or `cpu`, or `is_simulated`.
    device: str = ""
    #: SHA-256 of the template that ran.
    model_digest: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One run of a shard on one instance. Its `prompt_id` is ours, chosen before anything is sent."""

    #: UUID sent to the instance, by which the run is found again after a crash of either side.
    prompt_id: str
    shard_id: str
    #: Counted from 1 within the shard.
    number: int
    instance_id: str
    started_at: datetime
    ended_at: datetime | None = None
    #: `ok`, or the kind of failure: bad_graph, out_of_memory, instance_gone, node_failed, refused,
    #: no_output, cancelled, abandoned. None while it runs.
    outcome: str | None = None
    #: For operators; may name nodes and exceptions.
    detail: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One prompt of a job: the same parameters with its own seed."""

    #: `<job id>-<index>`.
    id: str
    job_id: str
    index: int
    #: Values of the model's parameters, seed included; inputs as object keys.
    params: Mapping[str, Any]
    status: ShardStatus = ShardStatus.WAITING
    outputs: Sequence[Output] = ()
    usage: Usage = field(default_factory=Usage)
    #: Number of attempts begun.
    attempts: int = 0

    def transition_to(self, status: ShardStatus, **changes: Any) -> Shard:
        """The shard in its next state. Raises IllegalTransition."""
        if status not in SHARD_TRANSITIONS[self.status]:
            raise IllegalTransition(f"shard {self.id}: {self.status} -> {status}")
        return replace(self, status=status, **changes)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobError:
    """Why a job failed, in words fit for its caller."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One accepted request."""

    id: str
    #: Whose wallet pays.
    account_id: str
    #: The key it came with.
    key_id: str
    model: str
    #: Validated parameters that all shards share (`n`, prompt, size, ... and the first seed).
    params: Mapping[str, Any]
    #: Micro-dollars held, and captured when the job succeeds.
    price: int
    created_at: datetime
    status: JobStatus = JobStatus.QUEUED
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: JobError | None = None
    #: The caller's `Idempotency-Key` and a digest of the request it came with.
    idempotency_key: str | None = None
    request_digest: str | None = None
    #: Who is told when the job is finished.
    webhook_url: str | None = None
    #: Of which ends; None: of all.
    webhook_statuses: frozenset[JobStatus] | None = None
    #: In whose words it was asked for, and under which name of theirs: `pixazo/flux-dev`. None: in our own.
    origin: str | None = None
    #: Content type that pictures are stored as, and quality (1 to 100); None: as the model makes them.
    output_type: str | None = None
    output_quality: int | None = None
    #: From when on its caller does not see it any more.
    removed_at: datetime | None = None

    @property
    def is_finished(self) -> bool:
        return not JOB_TRANSITIONS[self.status]

    @property
    def notify_url(self) -> str | None:
        """Who is told of its end; None once it has come to an end that they do not want to hear of."""
        unwanted = (
            self.is_finished
            and self.webhook_statuses is not None
            and self.status not in self.webhook_statuses
        )
        return None if unwanted else self.webhook_url

    def transition_to(self, status: JobStatus, **changes: Any) -> Job:
        """The job in its next state. Raises IllegalTransition."""
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


MAX_SEED = 2**64 - 1


def create_shards(job: Job, n: int) -> list[Shard]:
    """`n` shards with seeds `seed, seed+1, ...` (modulo 2**64), so that a request gives the same
    pictures however it was spread over instances."""
    seed = job.params.get("seed")
    shards = []
    for index in range(n):
        params = dict(job.params)
        if seed is not None:
            params["seed"] = (seed + index) % (MAX_SEED + 1)
        shards.append(Shard(id=f"{job.id}-{index}", job_id=job.id, index=index, params=params))
    return shards
