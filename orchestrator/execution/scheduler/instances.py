"""Scheduler state of one instance: its slots, expected end of its runs, and models in its memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orchestrator.execution.scheduler.events import (
    Assignment,
    InstanceDown,
    InstanceUp,
    ModelWarming,
    ShardSpec,
)

#: One prompt runs and one waits on the instance, so that the GPU is never idle between prompts.
SLOTS_PER_INSTANCE = 2
#: How long new requests may wait for an instance that is down and returns by itself, in seconds.
RETURN_GRACE_SECONDS = 60.0


def reload_seconds(
    instance: Instance,
    spec: ShardSpec,
    instances: Iterable[Instance],
    backlog_seconds: Callable[[str], float],
) -> float:
    """Return the seconds to reload the models that a shard's model evicts on an instance.

    Only models with waiting shards that no other instance has loaded are counted.
    """
    wanted = [evicted for evicted in instance.models_to_evict(spec) if backlog_seconds(evicted.model)]
    if not wanted:
        return 0.0
    others = [other for other in instances if other.is_up and other is not instance]
    return sum(
        evicted.load_seconds
        for evicted in wanted
        if not any(evicted.model in other.loaded_models for other in others)
    )


@dataclass(slots=True)
class Death:
    """The end of an instance's process, and the shards that may be the cause."""

    #: Empty for one in an earlier process of the service.
    instance_id: str = ""
    #: The shard that ran, and those whose results the instance had. Shards that succeed elsewhere leave it.
    candidates: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Instance:
    """One instance, available or not."""

    id: str
    speed: float = 1.0
    vram: int | None = None
    served_models: frozenset[str] | None = None
    loras: frozenset[str] | None = None
    is_up: bool = False
    #: When it went down, if it is expected to return by itself.
    down_since: float | None = None
    #: Assigned shards: the running one first, then the waiting one.
    assignments: list[Assignment] = field(default_factory=list)
    #: Shards that it has run and whose results it still has.
    delivering: set[str] = field(default_factory=set)
    #: Its last end.
    death: Death = field(default_factory=Death)
    #: Latest shard of each model in memory, by model id, least recently used first.
    loaded_models: OrderedDict[str, ShardSpec] = field(default_factory=OrderedDict)
    #: Model that it loads ahead of requests; empty for none.
    warming: str = ""

    def mark_up(self, event: InstanceUp) -> None:
        """Make the instance available with the values of the event."""
        self.speed, self.vram, self.served_models, self.is_up = event.speed, event.vram, event.models, True
        self.loras, self.down_since = event.loras, None

    def mark_down(self, event: InstanceDown, now: float) -> None:
        """Make the instance unavailable for further shards."""
        was_expected = self.is_up or self.down_since is not None
        since = now if self.down_since is None else self.down_since
        self.down_since = since if event.returns and was_expected else None
        if event.memory_lost and self.is_up:
            running = {assignment.spec.shard_id for assignment in self.assignments[:1]}
            self.death = Death(self.id, running | self.delivering)
        self.is_up = False
        if event.memory_lost:
            self.loaded_models.clear()

    def is_expected(self, now: float) -> bool:
        """Whether the instance is available, or went down a short time ago and returns by itself."""
        if self.down_since is None:
            return self.is_up
        return now - self.down_since < RETURN_GRACE_SECONDS

    def serves(self, model: str) -> bool:
        """Whether the instance has what a model needs, given by its id or the digest of a version."""
        return self.served_models is None or model in self.served_models

    def can_serve(self, spec: ShardSpec) -> bool:
        """Whether the instance is available and has what the shard and its model need."""
        has_loras = self.loras is None or spec.loras <= self.loras
        return self.is_up and has_loras and self.serves(spec.required_model)

    def has_memory_for(self, spec: ShardSpec) -> bool:
        """Whether the shard's model fits into the GPU memory, at the expense of other models."""
        return self.vram is None or spec.vram <= self.vram

    @property
    def has_free_slot(self) -> bool:
        """Whether the instance can take another shard."""
        return len(self.assignments) < SLOTS_PER_INSTANCE

    @property
    def is_idle(self) -> bool:
        """Whether it neither runs a shard nor has results of one."""
        return not self.assignments and not self.delivering

    def holds(self, shard_id: str) -> bool:
        """Whether it runs the shard or has its results."""
        return shard_id in self.delivering or any(one.spec.shard_id == shard_id for one in self.assignments)

    def busy_seconds(self, now: float, *, count: int | None = None) -> float:
        """Return the expected seconds until all assigned shards, or the first `count` of them, have run.

        An overdue run is expected to take as much longer as it is late already.
        """
        if not self.assignments:
            return 0.0
        first, *rest = self.assignments[:count]
        return abs(first.started_at + first.expected_seconds - now) + sum(
            later.expected_seconds for later in rest
        )

    def assign(self, assignment: Assignment, now: float) -> None:
        """Add a shard, and evict models from memory to make room for its model."""
        assignment.started_at = now
        assignment.loaded_before = OrderedDict(self.loaded_models)
        self.assignments.append(assignment)
        self._load_model(assignment.spec)

    def record_warming(self, event: ModelWarming) -> None:
        """Note that a model is loaded ahead of requests, or was."""
        self.warming = event.spec.model if event.phase == "started" else ""
        if event.phase == "loaded" and self.is_up:
            self._load_model(event.spec)

    def release_slot(self, shard_id: str, now: float) -> Assignment | None:
        """Free the slot of a shard and start the one behind it. Returns None if it is not assigned here."""
        for index, assignment in enumerate(self.assignments):
            if assignment.spec.shard_id == shard_id:
                del self.assignments[index]
                if index == 0 and self.assignments:
                    self.assignments[0].started_at = now
                return assignment
        return None

    def withdraw(self, shard_id: str, now: float) -> Assignment | None:
        """Take back a shard that was never sent. Returns None if it is not assigned here."""
        assignment = self.release_slot(shard_id, now)
        if assignment and all(later.started_at < assignment.started_at for later in self.assignments):
            self.loaded_models = assignment.loaded_before
        return assignment

    def models_to_evict(self, spec: ShardSpec) -> list[ShardSpec]:
        """Return the latest shard of each model to evict for this shard, least recently used first."""
        others = [loaded for name, loaded in self.loaded_models.items() if name != spec.model]
        free = float("inf") if self.vram is None else self.vram
        free -= spec.vram + sum(loaded.vram for loaded in others)
        evicted = []
        for loaded in others:
            if free >= 0:
                break
            evicted.append(loaded)
            free += loaded.vram
        return evicted

    def _load_model(self, spec: ShardSpec) -> None:
        for evicted in self.models_to_evict(spec):
            del self.loaded_models[evicted.model]
        self.loaded_models[spec.model] = spec
        self.loaded_models.move_to_end(spec.model)
