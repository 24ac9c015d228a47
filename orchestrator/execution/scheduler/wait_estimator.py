"""When a job will be done, as far as the scheduler can tell: for those who wait, never for decisions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.execution.scheduler.estimates import DurationEstimates
from orchestrator.execution.scheduler.events import ShardSpec
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.queue import FairQueue


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitEstimate:
    """What a job may expect."""

    #: Number of shards that go before the first of the job's that waits; None: none of them waits.
    shards_ahead: int | None
    #: Seconds from now until all of the job's shards have run; None while no instance could run them.
    seconds: float | None


@dataclass(frozen=True, slots=True)
class WaitEstimator:
    """The parts of a scheduler that say what is to come."""

    queue: FairQueue
    instances: Iterable[Instance]
    estimates: DurationEstimates

    def estimate(self, shards: frozenset[str], now: float) -> WaitEstimate | None:
        """The outlook of a job with these unfinished shards; None where there are none."""
        if not shards:
            return None
        place = self.queue.find_position(shards)
        ends = [end for card in self.instances for end in self._seconds_until_done(card, shards, now)]
        if place is None:
            return WaitEstimate(shards_ahead=None, seconds=max(ends, default=0.0))
        position, until_last = place
        seconds = self._seconds_through(until_last, now)
        known = None if seconds is None else max([*ends, seconds])
        return WaitEstimate(shards_ahead=position, seconds=known)

    def _seconds_until_done(self, instance: Instance, shards: frozenset[str], now: float) -> list[float]:
        """Seconds until each of the shards that this card has been given has run."""
        return [
            instance.busy_seconds(now, count=place)
            for place, run in enumerate(instance.assignments, 1)
            if run.spec.shard_id in shards
        ]

    def _seconds_through(self, specs: list[ShardSpec], now: float) -> float | None:
        """Seconds until the last of `specs` has run, all cards at work on what they have, then on these."""
        *others, last = specs
        able = [card for card in self.instances if card.can_serve(last)]
        if not able:
            return None
        up = [card for card in self.instances if card.is_up]
        typical = sum(card.speed for card in up) / len(up)
        busy = sum(card.busy_seconds(now) for card in up) + sum(
            self._run_seconds(work, typical) for work in others
        )
        return busy / len(up) + min(
            self._load_seconds(last, card) + self._run_seconds(last, card.speed) for card in able
        )

    def _run_seconds(self, spec: ShardSpec, speed: float) -> float:
        return self.estimates.run_seconds(spec.model, spec.run_seconds, speed)

    def _load_seconds(self, spec: ShardSpec, instance: Instance) -> float:
        """Seconds of loading, where the card does not hold the model."""
        if spec.model in instance.loaded_models:
            return 0.0
        return self.estimates.load_seconds(spec.model, spec.load_seconds, instance.speed)
