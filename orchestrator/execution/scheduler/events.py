"""Events that the scheduler handles and instructions that it returns.

All are frozen values; durations are in seconds, sizes in bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.jobs.failures import FailureKind


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardSpec:
    """What the scheduler knows about one shard."""

    shard_id: str
    job_id: str
    #: The fleet is shared fairly between accounts.
    account_id: str
    model: str
    #: Expected seconds of a warm run on the reference GPU, from the manifest.
    run_seconds: float
    #: Expected seconds to load the model into memory.
    load_seconds: float = 0.0
    #: GPU memory that the loaded model occupies, in bytes.
    vram: int = 0
    #: Share of the fleet relative to other accounts, from the caller's plan.
    fair_share_weight: float = 1.0
    #: Maximum number of shards of this account that run at the same time; None for no limit.
    max_concurrency: int | None = None
    #: Failed attempts in earlier processes that count against the maximum.
    tries: int = 0
    #: How often an instance died while it ran the shard, in earlier processes.
    deaths: int = 0
    #: Time by which it must have started, in the clock of the events; None for no limit.
    deadline: float | None = None
    #: Digest of the model version that it needs; None if the version does not matter.
    version: str | None = None
    #: Files that an instance must have besides those of the model: LoRAs that its operator has put there.
    loras: frozenset[str] = frozenset()

    @property
    def required_model(self) -> str:
        """Version or model that an instance must serve; it may serve an old version but not the new one."""
        return self.version or self.model

    @property
    def requirements(self) -> tuple[str, ...]:
        """What an instance must have. A shard that lacks an instance delays none with other requirements."""
        return self.required_model, *sorted(self.loras)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobAdded:
    """A job was accepted, or was found unfinished at the start of the process."""

    specs: Sequence[ShardSpec]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnded:
    """An instance finished with a shard, successfully or not; its slot is free."""

    shard_id: str
    instance_id: str
    #: Measured seconds; None if the run did not complete.
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardDone:
    """The outputs of a shard are stored."""

    shard_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFailed:
    """An attempt failed."""

    shard_id: str
    instance_id: str
    kind: FailureKind
    #: False if the prompt cannot be the cause: the instance was lost before it started the prompt, or was
    #: stopped on request.
    has_run: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class JobCancelled:
    """A job was cancelled or has failed; its shards are no longer needed."""

    job_id: str
    #: The only shard that is no longer needed; None for all.
    shard_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class JobWithdrawn:
    """A job was not stored; none of its shards was sent to an instance."""

    job_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceUp:
    """An instance accepts prompts. A repeated event replaces the earlier values."""

    instance_id: str
    #: Speed relative to the reference GPU.
    speed: float = 1.0
    #: GPU memory in bytes; None if unknown, then every model counts as fitting.
    vram: int | None = None
    #: Ids and digests of the models it can serve; None for all.
    models: frozenset[str] | None = None
    #: Names of the LoRAs that its operator has put there; None for all.
    loras: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceDown:
    """An instance accepts no further prompts. Events for its running shards still follow."""

    instance_id: str
    #: Whether its loaded models are lost too: True if its process ended, False if it drains.
    memory_lost: bool = True
    #: Whether it is expected to come back by itself: new requests may wait for it for a short time.
    returns: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """Time has passed; sent at regular intervals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelWarming:
    """An instance loads a model ahead of requests, has loaded it, or has ended without."""

    instance_id: str
    spec: ShardSpec
    phase: Literal["started", "loaded", "ended"]


Event = (
    JobAdded
    | RunEnded
    | ShardDone
    | ShardFailed
    | JobCancelled
    | JobWithdrawn
    | InstanceUp
    | InstanceDown
    | ModelWarming
    | Tick
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunShard:
    """Start an attempt of a shard on an instance."""

    shard_id: str
    instance_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelShard:
    """Cancel an assigned shard on its instance."""

    shard_id: str
    instance_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FreeMemory:
    """Have an instance unload its models."""

    instance_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FailJob:
    """Fail a job, because one of its shards cannot be completed."""

    job_id: str
    shard_id: str
    kind: FailureKind


@dataclass(frozen=True, kw_only=True, slots=True)
class BlameInstance:
    """Count the end of an instance as its own failure: the shard that it ran has succeeded since."""

    instance_id: str


Instruction = RunShard | CancelShard | FreeMemory | FailJob | BlameInstance


@dataclass(kw_only=True, slots=True)
class Assignment:
    """A shard assigned to an instance. The only mutable value in this module."""

    spec: ShardSpec
    instance_id: str
    #: Expected seconds, including loading the model.
    expected_seconds: float
    #: Part of `expected_seconds` that is spent loading the model.
    load_seconds: float
    started_at: float = field(default=0.0)
    #: The models in the instance's memory before; see `Instance.loaded_models`.
    loaded_before: OrderedDict[str, ShardSpec] = field(default_factory=OrderedDict)
