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

from orchestrator.execution.scheduler.estimates import DurationEstimates
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
    ShardSpec,
    Tick,
)
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.queue import FairQueue, QueuedShard
from orchestrator.execution.scheduler.wait_estimator import WaitEstimate, WaitEstimator

#: Failures that every instance would repeat.
PERMANENT_FAILURES = frozenset({"bad_graph", "refused"})
OUT_OF_MEMORY = "out_of_memory"
#: How long a cold model waits in favour of warm ones, in units of its own load time.
MAX_SKIPPED_LOADS = 6.0


@dataclass(frozen=True, slots=True)
class Placement:
    """A shard on the card that would finish it first."""

    queued: QueuedShard
    instance: Instance
    #: Expected seconds of loading and of running there.
    load_seconds: float
    run_seconds: float
    #: Expected seconds from now until it is done.
    finish_seconds: float
    #: Seconds of other work that may go first rather than load and displace models now.
    max_skipped_seconds: float
    #: `finish`, and the seconds of loading again what has to leave the card's memory.
    cost_seconds: float

    @property
    def score(self) -> tuple[float, int]:
        return (
            self.queued.start_tag + self.max_skipped_seconds - self.queued.skipped_seconds,
            self.queued.sequence,
        )


class Scheduler:
    """Pure: `handle` is the only way in."""

    def __init__(self, *, max_attempts: int) -> None:
        self.queue = FairQueue()
        self.instances: dict[str, Instance] = {}
        self.estimates = DurationEstimates()
        self._max_attempts = max_attempts
        self._specs: dict[str, ShardSpec] = {}
        self._shards_by_job: dict[str, set[str]] = {}
        self._attempts: dict[str, int] = {}
        self._failed_instances: dict[str, set[str]] = {}
        #: (deadline, shard id), the earliest first.
        self._deadlines: list[tuple[float, str]] = []

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """What has to be done after `event`, in order. `now` is monotonic seconds."""
        match event:
            case JobAdded(specs=works):
                self._add_shards(works, now)
                return self._fill_slots(now)
            case RunEnded():
                self._release_slot(event, now)
                return self._fill_slots(now)
            case ShardDone(shard_id=shard_id):
                self._forget_shard(shard_id)
                return []
            case ShardFailed():
                return [*self._retry_or_fail(event, now), *self._fill_slots(now)]
            case JobCancelled(job_id=job_id):
                return [*self._cancel_job(job_id), *self._fill_slots(now)]
            case InstanceUp(instance_id=instance_id):
                self.instances.setdefault(instance_id, Instance(instance_id)).mark_up(event)
                return self._fill_slots(now)
            case InstanceDown(instance_id=instance_id, memory_lost=lost):
                if instance_id in self.instances:
                    self.instances[instance_id].mark_down(lost)
                return []
            case Tick():
                return [*self._fail_expired(now), *self._fill_slots(now)]

    def has_shard(self, shard_id: str) -> bool:
        """Whether the shard still needs something."""
        return shard_id in self._specs

    def can_serve(self, model: str) -> bool:
        """Whether an instance that is up could run the model."""
        return any(
            card.is_up and (card.served_models is None or model in card.served_models)
            for card in self.instances.values()
        )

    def estimate_job_wait(self, job_id: str, now: float) -> WaitEstimate | None:
        """What an unfinished job may expect; None for others."""
        shards = frozenset(self._shards_by_job.get(job_id, ()))
        return WaitEstimator(self.queue, self.instances.values(), self.estimates).estimate(shards, now)

    def expected_wait_seconds(self, account_id: str, now: float) -> float:
        """Seconds until a shard of the account that comes now would begin; infinite without instances.

        Fair shares: before it run the account's own waiting shards, and of each other account at most
        as much as that.
        """
        up = [card for card in self.instances.values() if card.is_up]
        if not up:
            return float("inf")
        if any(not card.assignments for card in up) and not self.queue:
            return 0.0
        busy = sum(card.busy_seconds(now) for card in up)
        return (busy + self.queue.seconds_ahead_of(account_id)) / sum(card.speed for card in up)

    def _add_shards(self, specs: Iterable[ShardSpec], now: float) -> None:
        for work in specs:
            if work.shard_id in self._specs:
                continue
            self._specs[work.shard_id] = work
            self._shards_by_job.setdefault(work.job_id, set()).add(work.shard_id)
            self._attempts[work.shard_id] = work.attempts
            self.queue.enqueue(work, now)
            if work.deadline is not None:
                heapq.heappush(self._deadlines, (work.deadline, work.shard_id))

    def _release_slot(self, event: RunEnded, now: float) -> None:
        card = self.instances.get(event.instance_id)
        assignment = card.release_slot(event.shard_id, now) if card else None
        if card is None or assignment is None:
            return
        self.queue.release_concurrency(assignment.spec.account_id)
        if event.seconds is not None:
            expected = assignment.spec.run_seconds / card.speed
            cold = assignment.spec.load_seconds if assignment.load_seconds else 0.0
            self.estimates.record_run(
                assignment.spec.model, card.speed, run=(event.seconds, expected), load=cold
            )

    def _retry_or_fail(self, event: ShardFailed, now: float) -> list[Instruction]:
        work = self._specs.get(event.shard_id)
        if work is None or event.shard_id in self.queue:
            return []
        if event.kind in PERMANENT_FAILURES or self._attempts[work.shard_id] >= self._max_attempts:
            failed = FailJob(job_id=work.job_id, shard_id=work.shard_id, kind=event.kind)
            return [failed, *self._cancel_job(work.job_id)]
        self._failed_instances.setdefault(work.shard_id, set()).add(event.instance_id)
        self.queue.requeue(work, now)
        return [FreeMemory(instance_id=event.instance_id)] if event.kind == OUT_OF_MEMORY else []

    def _fail_expired(self, now: float) -> list[Instruction]:
        """Gives up the jobs of shards that still wait after their deadline."""
        given_up: list[Instruction] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, shard_id = heapq.heappop(self._deadlines)
            if shard_id in self.queue:
                job_id = self._specs[shard_id].job_id
                given_up += [
                    FailJob(job_id=job_id, shard_id=shard_id, kind="expired"),
                    *self._cancel_job(job_id),
                ]
        return given_up

    def _cancel_job(self, job_id: str) -> list[Instruction]:
        """Takes waiting shards back and has the running ones cancelled."""
        shards = self._shards_by_job.get(job_id, set()).copy()
        for shard_id in shards:
            self.queue.remove(shard_id)
            self._forget_shard(shard_id)
        return [
            CancelShard(shard_id=assignment.spec.shard_id, instance_id=card.id)
            for card in self.instances.values()
            for assignment in card.assignments
            if assignment.spec.shard_id in shards
        ]

    def _forget_shard(self, shard_id: str) -> None:
        work = self._specs.pop(shard_id, None)
        if work is None:
            return
        self._attempts.pop(shard_id, None)
        self._failed_instances.pop(shard_id, None)
        self._shards_by_job[work.job_id].discard(shard_id)
        if not self._shards_by_job[work.job_id]:
            del self._shards_by_job[work.job_id]

    def _fill_slots(self, now: float) -> list[Instruction]:
        """Assigns until no shard may go or no card may take one."""
        begun: list[Instruction] = []
        while any(card.is_up and card.has_free_slot for card in self.instances.values()):
            best = self._choose_next(now)
            if best is None:
                break
            begun.append(self._assign(best, now))
        return begun

    def _assign(self, placement: Placement, now: float) -> RunShard:
        entry, card = placement.queued, placement.instance
        for head in self.queue.heads():
            if (head.start_tag, head.sequence) < (entry.start_tag, entry.sequence):
                head.skipped_seconds += placement.run_seconds + placement.load_seconds
        work = self.queue.dequeue(entry)
        self._attempts[work.shard_id] += 1
        seconds = placement.load_seconds + placement.run_seconds
        assignment = Assignment(
            spec=work, instance_id=card.id, expected_seconds=seconds, load_seconds=placement.load_seconds
        )
        card.assign(assignment, now)
        return RunShard(shard_id=work.shard_id, instance_id=card.id)

    def _choose_next(self, now: float) -> Placement | None:
        found = [place for entry in self.queue.heads() if (place := self._choose_instance(entry, now))]
        if not found:
            return None
        longest = max(found, key=lambda place: place.load_seconds + place.run_seconds)
        return longest if self._is_critical(longest) else min(found, key=lambda place: place.score)

    def _is_critical(self, placement: Placement) -> bool:
        """Whether all would end later if this began any later: it takes longer than all else that waits,
        spread over the fleet. Such runs go first, but never on more than half of the cards, so that
        short work is not held up for their sake."""
        up = [card for card in self.instances.values() if card.is_up]
        seconds = placement.load_seconds + placement.run_seconds
        rest = (self.queue.total_backlog_seconds - placement.queued.spec.run_seconds) / len(up)
        occupied = sum(any(run.expected_seconds >= seconds / 2 for run in card.assignments) for card in up)
        return seconds > rest and occupied < len(up) // 2

    def _choose_instance(self, queued: QueuedShard, now: float) -> Placement | None:
        """The card with a free slot that serves the shard best, or None where it had better wait.

        It waits where cards without a free slot would still finish it sooner, all that waits for the
        same model included; but not for longer than its patience.
        """
        candidates = [
            self._estimate_placement(queued, card, now) for card in self._eligible_instances(queued.spec)
        ]
        free = [found for found in candidates if found.instance.has_free_slot]
        if not free:
            return None
        best = min(free, key=lambda found: (found.cost_seconds, found.instance.id))
        better = [found for found in candidates if found.cost_seconds < best.cost_seconds]
        if not better or queued.skipped_seconds >= best.max_skipped_seconds > 0:
            return best
        behind = self.queue.backlog_seconds(queued.spec.model) - queued.spec.run_seconds
        worth_waiting = min(found.cost_seconds for found in better) + behind / len(better) < best.cost_seconds
        return None if worth_waiting else best

    def _estimate_placement(self, queued: QueuedShard, instance: Instance, now: float) -> Placement:
        work = queued.spec
        run = self.estimates.run_seconds(work.model, work.run_seconds, instance.speed)
        warm = work.model in instance.loaded_models
        load = 0.0 if warm else self.estimates.load_seconds(work.model, work.load_seconds, instance.speed)
        finish = instance.busy_seconds(now) + load + run
        again = 0.0 if warm else self._reload_seconds(instance, work)
        patience = MAX_SKIPPED_LOADS * (load + again) * len(self.instances)
        return Placement(queued, instance, load, run, finish, patience, finish + again)

    def _reload_seconds(self, instance: Instance, spec: ShardSpec) -> float:
        """Seconds that loading a model here costs others: of those it displaces, what is still asked for
        and held nowhere else has to be loaded again."""
        return sum(
            gone.load_seconds
            for gone in instance.models_to_evict(spec)
            if self.queue.backlog_seconds(gone.model)
            and not any(
                other.is_up and gone.model in other.loaded_models
                for other in self.instances.values()
                if other is not instance
            )
        )

    def _eligible_instances(self, spec: ShardSpec) -> list[Instance]:
        """Cards that can serve the model; those it fits before others, those it failed on last."""
        able = [card for card in self.instances.values() if card.can_serve(spec)]
        fitting = [card for card in able if card.has_memory_for(spec)] or able
        avoid = self._failed_instances.get(spec.shard_id, set())
        return [card for card in fitting if card.id not in avoid] or fitting
