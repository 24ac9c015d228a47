"""What the scheduler believes of one instance: its slots, when it will be free, what its memory holds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from orchestrator.execution.scheduler.events import Assignment, InstanceUp, Work

#: One prompt runs and one waits, so that the card never waits for us.
SLOTS = 2


@dataclass(slots=True)
class Card:
    """One instance, up or down."""

    id: str
    speed: float = 1.0
    vram: int | None = None
    models: frozenset[str] | None = None
    up: bool = False
    #: Running first, then waiting.
    assigned: list[Assignment] = field(default_factory=list)
    #: The latest work of each model in memory, least recently used first.
    held: OrderedDict[str, Work] = field(default_factory=OrderedDict)

    def comes_up(self, event: InstanceUp) -> None:
        self.speed, self.vram, self.models, self.up = event.speed, event.vram, event.models, True

    def goes_down(self, lost: bool) -> None:
        self.up = False
        if lost:
            self.held.clear()

    def serves(self, work: Work) -> bool:
        return self.up and (self.models is None or work.needs in self.models)

    def fits(self, work: Work) -> bool:
        return self.vram is None or work.vram <= self.vram

    @property
    def free(self) -> bool:
        return len(self.assigned) < SLOTS

    def busy_for(self, now: float, *, through: int | None = None) -> float:
        """Expected seconds until all that is assigned, or the first `through` of it, has run.

        Of a run that is overdue it is expected that it takes as long again as it is late.
        """
        if not self.assigned:
            return 0.0
        first, *rest = self.assigned[:through]
        return abs(first.begun + first.seconds - now) + sum(later.seconds for later in rest)

    def assign(self, assignment: Assignment, now: float) -> None:
        assignment.begun = now
        self.assigned.append(assignment)
        self._touch(assignment.work)

    def release(self, shard_id: str, now: float) -> Assignment | None:
        """Frees the slot of a shard; the one behind it begins. None if it is not here."""
        for index, assignment in enumerate(self.assigned):
            if assignment.work.shard_id == shard_id:
                del self.assigned[index]
                if index == 0 and self.assigned:
                    self.assigned[0].begun = now
                return assignment
        return None

    def displaced(self, work: Work) -> list[Work]:
        """Work of the models that would have to leave for this one: those used longest ago."""
        room = float("inf") if self.vram is None else self.vram
        room -= work.vram + sum(held.vram for name, held in self.held.items() if name != work.model)
        gone = []
        for name, held in self.held.items():
            if room >= 0:
                break
            if name != work.model:
                gone.append(held)
                room += held.vram
        return gone

    def _touch(self, work: Work) -> None:
        for gone in self.displaced(work):
            del self.held[gone.model]
        self.held[work.model] = work
        self.held.move_to_end(work.model)
