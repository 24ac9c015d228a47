"""The scheduler: a state that events change, each answered by instructions.

Of the heads of all models the one with the lowest score goes to the card that serves it best:

    score = fair tag + patience - seconds it was passed over

A warm model's patience is 0. A cold one's is several times what loading it, and loading again what it
displaces, would cost, so models are run in batches; and since being passed over is counted against it,
nothing is passed over for longer than that. A shard does not take a free slot where other cards would
finish it sooner all the same, and a run that would end last if it began last goes first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.execution.scheduler.estimates import Estimates
from orchestrator.execution.scheduler.events import (
    Assignment,
    CancelShard,
    Event,
    FailJob,
    FreeMemory,
    InstanceDown,
    InstanceUp,
    Instruction,
    JobAdded,
    JobCancelled,
    RunEnded,
    RunShard,
    ShardDone,
    ShardFailed,
    Tick,
    Work,
)
from orchestrator.execution.scheduler.instances import Card
from orchestrator.execution.scheduler.queue import Entry, FairQueue
from orchestrator.execution.scheduler.wait_estimator import Outlook, Prospect

#: Failures that every instance would repeat.
PERMANENT = frozenset({"bad_graph", "refused"})
OUT_OF_MEMORY = "out_of_memory"
#: How long a cold model waits in favour of warm ones, in units of its own load time.
PATIENCE = 6.0


@dataclass(frozen=True, slots=True)
class Placement:
    """A shard on the card that would finish it first."""

    entry: Entry
    card: Card
    #: Expected seconds of loading and of running there.
    load: float
    run: float
    #: Expected seconds from now until it is done.
    finish: float
    #: Seconds of other work that may go first rather than load and displace models now.
    patience: float
    #: `finish`, and the seconds of loading again what has to leave the card's memory.
    cost: float

    @property
    def score(self) -> tuple[float, int]:
        return (self.entry.tag + self.patience - self.entry.passed, self.entry.order)


class Scheduler:
    """Pure: `handle` is the only way in."""

    def __init__(self, *, max_attempts: int) -> None:
        self.queue = FairQueue()
        self.cards: dict[str, Card] = {}
        self.estimates = Estimates()
        self._max_attempts = max_attempts
        self._works: dict[str, Work] = {}
        self._jobs: dict[str, set[str]] = {}
        self._attempts: dict[str, int] = {}
        self._avoid: dict[str, set[str]] = {}
        #: (deadline, shard id), the earliest first.
        self._deadlines: list[tuple[float, str]] = []

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """What has to be done after `event`, in order. `now` is monotonic seconds."""
        match event:
            case JobAdded(works=works):
                self._add(works, now)
                return self._fill(now)
            case RunEnded():
                self._release(event, now)
                return self._fill(now)
            case ShardDone(shard_id=shard_id):
                self._forget(shard_id)
                return []
            case ShardFailed():
                return [*self._failed(event, now), *self._fill(now)]
            case JobCancelled(job_id=job_id):
                return [*self._drop_job(job_id), *self._fill(now)]
            case InstanceUp(instance_id=instance_id):
                self.cards.setdefault(instance_id, Card(instance_id)).comes_up(event)
                return self._fill(now)
            case InstanceDown(instance_id=instance_id, lost=lost):
                if instance_id in self.cards:
                    self.cards[instance_id].goes_down(lost)
                return []
            case Tick():
                return [*self._expire(now), *self._fill(now)]

    def knows(self, shard_id: str) -> bool:
        """Whether the shard still needs something."""
        return shard_id in self._works

    def can_serve(self, model: str) -> bool:
        """Whether an instance that is up could run the model."""
        return any(card.up and (card.models is None or model in card.models) for card in self.cards.values())

    def outlook(self, job_id: str, now: float) -> Outlook | None:
        """What an unfinished job may expect; None for others."""
        shards = frozenset(self._jobs.get(job_id, ()))
        return Prospect(self.queue, self.cards.values(), self.estimates).of(shards, now)

    def expected_wait(self, account_id: str, now: float) -> float:
        """Seconds until a shard of the account that comes now would begin; infinite without instances.

        Fair shares: before it run the account's own waiting shards, and of each other account at most
        as much as that.
        """
        up = [card for card in self.cards.values() if card.up]
        if not up:
            return float("inf")
        if any(not card.assigned for card in up) and not self.queue:
            return 0.0
        busy = sum(card.busy_for(now) for card in up)
        return (busy + self.queue.ahead_of(account_id)) / sum(card.speed for card in up)

    def _add(self, works: Iterable[Work], now: float) -> None:
        for work in works:
            if work.shard_id in self._works:
                continue
            self._works[work.shard_id] = work
            self._jobs.setdefault(work.job_id, set()).add(work.shard_id)
            self._attempts[work.shard_id] = work.attempts
            self.queue.add(work, now)
            if work.deadline is not None:
                heapq.heappush(self._deadlines, (work.deadline, work.shard_id))

    def _release(self, event: RunEnded, now: float) -> None:
        card = self.cards.get(event.instance_id)
        assignment = card.release(event.shard_id, now) if card else None
        if card is None or assignment is None:
            return
        self.queue.ended(assignment.work.account_id)
        if event.seconds is not None:
            expected = assignment.work.run_seconds / card.speed
            cold = assignment.work.load_seconds if assignment.load_seconds else 0.0
            self.estimates.observe(
                assignment.work.model, card.speed, run=(event.seconds, expected), load=cold
            )

    def _failed(self, event: ShardFailed, now: float) -> list[Instruction]:
        work = self._works.get(event.shard_id)
        if work is None or event.shard_id in self.queue:
            return []
        if event.kind in PERMANENT or self._attempts[work.shard_id] >= self._max_attempts:
            failed = FailJob(job_id=work.job_id, shard_id=work.shard_id, kind=event.kind)
            return [failed, *self._drop_job(work.job_id)]
        self._avoid.setdefault(work.shard_id, set()).add(event.instance_id)
        self.queue.put_back(work, now)
        return [FreeMemory(instance_id=event.instance_id)] if event.kind == OUT_OF_MEMORY else []

    def _expire(self, now: float) -> list[Instruction]:
        """Gives up the jobs of shards that still wait after their deadline."""
        given_up: list[Instruction] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, shard_id = heapq.heappop(self._deadlines)
            if shard_id in self.queue:
                job_id = self._works[shard_id].job_id
                given_up += [
                    FailJob(job_id=job_id, shard_id=shard_id, kind="expired"),
                    *self._drop_job(job_id),
                ]
        return given_up

    def _drop_job(self, job_id: str) -> list[Instruction]:
        """Takes waiting shards back and has the running ones cancelled."""
        shards = self._jobs.get(job_id, set()).copy()
        for shard_id in shards:
            self.queue.remove(shard_id)
            self._forget(shard_id)
        return [
            CancelShard(shard_id=assignment.work.shard_id, instance_id=card.id)
            for card in self.cards.values()
            for assignment in card.assigned
            if assignment.work.shard_id in shards
        ]

    def _forget(self, shard_id: str) -> None:
        work = self._works.pop(shard_id, None)
        if work is None:
            return
        self._attempts.pop(shard_id, None)
        self._avoid.pop(shard_id, None)
        self._jobs[work.job_id].discard(shard_id)
        if not self._jobs[work.job_id]:
            del self._jobs[work.job_id]

    def _fill(self, now: float) -> list[Instruction]:
        """Assigns until no shard may go or no card may take one."""
        begun: list[Instruction] = []
        while any(card.up and card.free for card in self.cards.values()):
            best = self._best(now)
            if best is None:
                break
            begun.append(self._assign(best, now))
        return begun

    def _assign(self, best: Placement, now: float) -> RunShard:
        entry, card = best.entry, best.card
        for head in self.queue.heads():
            if (head.tag, head.order) < (entry.tag, entry.order):
                head.passed += best.run + best.load
        work = self.queue.take(entry)
        self._attempts[work.shard_id] += 1
        seconds = best.load + best.run
        assignment = Assignment(work=work, instance_id=card.id, seconds=seconds, load_seconds=best.load)
        card.assign(assignment, now)
        return RunShard(shard_id=work.shard_id, instance_id=card.id)

    def _best(self, now: float) -> Placement | None:
        found = [place for entry in self.queue.heads() if (place := self._place(entry, now))]
        if not found:
            return None
        longest = max(found, key=lambda place: place.load + place.run)
        return longest if self._is_critical(longest) else min(found, key=lambda place: place.score)

    def _is_critical(self, place: Placement) -> bool:
        """Whether all would end later if this began any later: it takes longer than all else that waits,
        spread over the fleet. Such runs go first, but never on more than half of the cards, so that
        short work is not held up for their sake."""
        up = [card for card in self.cards.values() if card.up]
        seconds = place.load + place.run
        rest = (self.queue.total_backlog - place.entry.work.run_seconds) / len(up)
        occupied = sum(any(run.seconds >= seconds / 2 for run in card.assigned) for card in up)
        return seconds > rest and occupied < len(up) // 2

    def _place(self, entry: Entry, now: float) -> Placement | None:
        """The card with a free slot that serves the shard best, or None where it had better wait.

        It waits where cards without a free slot would still finish it sooner, all that waits for the
        same model included; but not for longer than its patience.
        """
        candidates = [self._on(entry, card, now) for card in self._cards_for(entry.work)]
        free = [found for found in candidates if found.card.free]
        if not free:
            return None
        best = min(free, key=lambda found: (found.cost, found.card.id))
        better = [found for found in candidates if found.cost < best.cost]
        if not better or entry.passed >= best.patience > 0:
            return best
        behind = self.queue.backlog(entry.work.model) - entry.work.run_seconds
        worth_waiting = min(found.cost for found in better) + behind / len(better) < best.cost
        return None if worth_waiting else best

    def _on(self, entry: Entry, card: Card, now: float) -> Placement:
        work = entry.work
        run = self.estimates.run_seconds(work.model, work.run_seconds, card.speed)
        warm = work.model in card.held
        load = 0.0 if warm else self.estimates.load_seconds(work.model, work.load_seconds, card.speed)
        finish = card.busy_for(now) + load + run
        again = 0.0 if warm else self._reloads(card, work)
        patience = PATIENCE * (load + again) * len(self.cards)
        return Placement(entry, card, load, run, finish, patience, finish + again)

    def _reloads(self, card: Card, work: Work) -> float:
        """Seconds that loading a model here costs others: of those it displaces, what is still asked for
        and held nowhere else has to be loaded again."""
        return sum(
            gone.load_seconds
            for gone in card.displaced(work)
            if self.queue.backlog(gone.model)
            and not any(
                other.up and gone.model in other.held for other in self.cards.values() if other is not card
            )
        )

    def _cards_for(self, work: Work) -> list[Card]:
        """Cards that can serve the model; those it fits before others, those it failed on last."""
        able = [card for card in self.cards.values() if card.serves(work)]
        fitting = [card for card in able if card.fits(work)] or able
        avoid = self._avoid.get(work.shard_id, set())
        return [card for card in fitting if card.id not in avoid] or fitting
