"""What the scheduler believes of one instance: its slots, when it will be free, what its memory holds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from orchestrator.execution.scheduler.events import Assignment, InstanceUp, ShardSpec

#: One prompt runs and one waits, so that the card never waits for us.
SLOTS_PER_INSTANCE = 2


@dataclass(slots=True)
class Instance:
    """One instance, up or down."""

    id: str
    speed: float = 1.0
    vram: int | None = None
    served_models: frozenset[str] | None = None
    is_up: bool = False
    #: Running first, then waiting.
    assignments: list[Assignment] = field(default_factory=list)
    #: The latest work of each model in memory, least recently used first.
    loaded_models: OrderedDict[str, ShardSpec] = field(default_factory=OrderedDict)

    def mark_up(self, event: InstanceUp) -> None:
        self.speed, self.vram, self.served_models, self.is_up = event.speed, event.vram, event.models, True

    def mark_down(self, memory_lost: bool) -> None:
        self.is_up = False
        if memory_lost:
            self.loaded_models.clear()

    def can_serve(self, spec: ShardSpec) -> bool:
        return self.is_up and (self.served_models is None or spec.required_model in self.served_models)

    def has_memory_for(self, spec: ShardSpec) -> bool:
        return self.vram is None or spec.vram <= self.vram

    @property
    def has_free_slot(self) -> bool:
        return len(self.assignments) < SLOTS_PER_INSTANCE

    def busy_seconds(self, now: float, *, count: int | None = None) -> float:
        """Expected seconds until all that is assigned, or the first `count` of it, has run.

        Of a run that is overdue it is expected that it takes as long again as it is late.
        """
        if not self.assignments:
            return 0.0
        first, *rest = self.assignments[:count]
        return abs(first.started_at + first.expected_seconds - now) + sum(
            later.expected_seconds for later in rest
        )

    def assign(self, assignment: Assignment, now: float) -> None:
        assignment.started_at = now
        self.assignments.append(assignment)
        self._load_model(assignment.spec)

    def release_slot(self, shard_id: str, now: float) -> Assignment | None:
        """Frees the slot of a shard; the one behind it begins. None if it is not here."""
        for index, assignment in enumerate(self.assignments):
            if assignment.spec.shard_id == shard_id:
                del self.assignments[index]
                if index == 0 and self.assignments:
                    self.assignments[0].started_at = now
                return assignment
        return None

    def models_to_evict(self, spec: ShardSpec) -> list[ShardSpec]:
        """Work of the models that would have to leave for this one: those used longest ago."""
        room = float("inf") if self.vram is None else self.vram
        room -= spec.vram + sum(held.vram for name, held in self.loaded_models.items() if name != spec.model)
        gone = []
        for name, held in self.loaded_models.items():
            if room >= 0:
                break
            if name != spec.model:
                gone.append(held)
                room += held.vram
        return gone

    def _load_model(self, spec: ShardSpec) -> None:
        for gone in self.models_to_evict(spec):
            del self.loaded_models[gone.model]
        self.loaded_models[spec.model] = spec
        self.loaded_models.move_to_end(spec.model)
