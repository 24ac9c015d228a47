"""What the scheduler is told, and what it answers. Frozen values, durations in seconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSpec:
    """What the scheduler knows of one shard."""

    shard_id: str
    job_id: str
    #: Callers share the fleet by account.
    account_id: str
    model: str
    #: Expected seconds of a warm run on the reference card, from the manifest.
    run_seconds: float
    #: Expected seconds to bring the model into memory.
    load_seconds: float = 0.0
    #: Bytes of GPU memory that the model occupies once it is loaded.
    vram: int = 0
    #: Share of the fleet relative to other accounts, from the caller's plan.
    fair_share_weight: float = 1.0
    #: Most shards of this account that may run at once; None for no limit.
    max_concurrency: int | None = None
    #: Runs begun before (counted again after a restart).
    attempts: int = 0
    #: Time by which it must have begun, in the clock of the events; None for ever.
    deadline: float | None = None
    #: The version of the model that it needs; none where the model has only ever been one.
    version: str | None = None

    @property
    def required_model(self) -> str:
        """What an instance must have to run it: an old version may be served where the new one is not."""
        return self.version or self.model


@dataclass(frozen=True, kw_only=True, slots=True)
class JobAdded:
    """A job was accepted, or found unfinished at start."""

    specs: Sequence[ShardSpec]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded:
    """An instance has done with a shard, whatever came of it: its slot is free."""

    shard_id: str
    instance_id: str
    #: Measured seconds; None where the run did not come to its end.
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardDone:
    """The outputs of a shard are stored."""

    shard_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFailed:
    """An attempt failed. `kind` is an instance error's kind."""

    shard_id: str
    instance_id: str
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCancelled:
    """A job needs nothing more, because it was cancelled or has failed."""

    job_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceUp:
    """An instance takes work; said again, its particulars replace the old ones."""

    instance_id: str
    #: Speed relative to the reference card.
    speed: float = 1.0
    #: Bytes of GPU memory; None where it is not known, then everything is held to fit.
    vram: int | None = None
    #: Models it can serve; None for all.
    models: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceDown:
    """An instance takes no further work. What it runs is reported by its own events."""

    instance_id: str
    #: True where its memory is gone too (it ended), False where it only drains.
    memory_lost: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """Time went by."""


Event = JobAdded | RunEnded | ShardDone | ShardFailed | JobCancelled | InstanceUp | InstanceDown | Tick


@dataclass(frozen=True, kw_only=True, slots=True)
class RunShard:
    """Begin an attempt."""

    shard_id: str
    instance_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelShard:
    """Take a running attempt off its instance."""

    shard_id: str
    instance_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FreeMemory:
    """Have an instance let go of its models."""

    instance_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FailJob:
    """Give a job up: no attempt of this shard can succeed."""

    job_id: str
    shard_id: str
    kind: str


Instruction = RunShard | CancelShard | FreeMemory | FailJob


@dataclass(kw_only=True, slots=True)
class Assignment:
    """A shard on an instance; the one mutable record of a run."""

    spec: ShardSpec
    instance_id: str
    #: Expected seconds, the load included.
    expected_seconds: float
    #: Expected seconds of loading within that.
    load_seconds: float
    started_at: float = field(default=0.0)
