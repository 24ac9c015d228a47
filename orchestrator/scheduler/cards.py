"""What the scheduler believes of one instance: its slots, when it will be free, what its memory holds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from orchestrator.scheduler.events import Assignment, InstanceUp, Work

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
    #: Bytes by model, least recently used first.
    held: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def comes_up(self, event: InstanceUp) -> None:
        self.speed, self.vram, self.models, self.up = event.speed, event.vram, event.models, True

    def goes_down(self, lost: bool) -> None:
        self.up = False
        if lost:
            self.held.clear()

    def serves(self, work: Work) -> bool:
        return self.up and (self.models is None or work.model in self.models)

    def fits(self, work: Work) -> bool:
        return self.vram is None or work.vram <= self.vram

    @property
    def free(self) -> bool:
        return len(self.assigned) < SLOTS

    def busy_for(self, now: float) -> float:
        """Expected seconds until all that is assigned has run."""
        if not self.assigned:
            return 0.0
        first, *rest = self.assigned
        return max(first.begun + first.seconds - now, 0.0) + sum(later.seconds for later in rest)

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

    def _touch(self, work: Work) -> None:
        """The model is used now; what no longer fits beside it was used longest ago and goes."""
        self.held[work.model] = work.vram
        self.held.move_to_end(work.model)
        while self.vram is not None and len(self.held) > 1 and sum(self.held.values()) > self.vram:
            self.held.popitem(last=False)
