"""When a job will be done, as far as the scheduler can tell: for those who wait, never for decisions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.execution.scheduler.estimates import Estimates
from orchestrator.execution.scheduler.events import Work
from orchestrator.execution.scheduler.instances import Card
from orchestrator.execution.scheduler.queue import FairQueue


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What a job may expect."""

    #: Number of shards that go before the first of the job's that waits; None: none of them waits.
    position: int | None
    #: Seconds from now until all of the job's shards have run; None while no instance could run them.
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Prospect:
    """The parts of a scheduler that say what is to come."""

    queue: FairQueue
    cards: Iterable[Card]
    estimates: Estimates

    def of(self, shards: frozenset[str], now: float) -> Outlook | None:
        """The outlook of a job with these unfinished shards; None where there are none."""
        if not shards:
            return None
        place = self.queue.place_of(shards)
        ends = [end for card in self.cards for end in self._ends(card, shards, now)]
        if place is None:
            return Outlook(position=None, seconds=max(ends, default=0.0))
        position, until_last = place
        seconds = self._through(until_last, now)
        known = None if seconds is None else max([*ends, seconds])
        return Outlook(position=position, seconds=known)

    def _ends(self, card: Card, shards: frozenset[str], now: float) -> list[float]:
        """Seconds until each of the shards that this card has been given has run."""
        return [
            card.busy_for(now, through=place)
            for place, run in enumerate(card.assigned, 1)
            if run.work.shard_id in shards
        ]

    def _through(self, works: list[Work], now: float) -> float | None:
        """Seconds until the last of `works` has run, all cards at work on what they have, then on these."""
        *others, last = works
        able = [card for card in self.cards if card.serves(last)]
        if not able:
            return None
        up = [card for card in self.cards if card.up]
        typical = sum(card.speed for card in up) / len(up)
        busy = sum(card.busy_for(now) for card in up) + sum(self._run(work, typical) for work in others)
        return busy / len(up) + min(self._cold(last, card) + self._run(last, card.speed) for card in able)

    def _run(self, work: Work, speed: float) -> float:
        return self.estimates.run_seconds(work.model, work.run_seconds, speed)

    def _cold(self, work: Work, card: Card) -> float:
        """Seconds of loading, where the card does not hold the model."""
        if work.model in card.held:
            return 0.0
        return self.estimates.load_seconds(work.model, work.load_seconds, card.speed)
