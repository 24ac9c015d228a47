"""The scheduler: events change its state and are answered by instructions.

Among the first shards of all models, the one with the lowest score is placed on the best instance for it:

    score = start tag + longest skipped time - skipped time so far

For a loaded model the longest skipped time is 0. For a model that is not loaded it is a multiple of the time
to load it and to reload the models that it evicts, so that shards of one model run in batches. Because the
skipped time so far is subtracted, no shard is skipped for longer than that. A shard does not take a free slot
if busy instances would still finish it sooner. A run that takes longer than everything else that waits is
started first. Shards that may have ended their instance run alone (see `suspects`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from orchestrator.execution.scheduler.chooser import PlacementChooser
from orchestrator.execution.scheduler.estimates import DurationEstimates
from orchestrator.execution.scheduler.events import (
    Assignment,
    BlameInstance,
    CancelShard,
    Event,
    FailJob,
    FreeMemory,
    InstanceDown,
    InstanceUp,
    Instruction,
    JobAdded,
    JobCancelled,
    JobWithdrawn,
    ModelWarming,
    RunEnded,
    RunShard,
    ShardDone,
    ShardFailed,
    ShardSpec,
    Tick,
)
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.placement import Placement, is_critical
from orchestrator.execution.scheduler.queue import FairQueue
from orchestrator.execution.scheduler.suspects import SuspectLane
from orchestrator.execution.scheduler.wait_estimator import WaitEstimate, WaitEstimator
from orchestrator.jobs.failures import FailureKind

#: Failures that would occur on every instance.
PERMANENT_FAILURES = frozenset(
    {
        FailureKind.BAD_GRAPH,
        FailureKind.OUTPUT_REFUSED,
        FailureKind.UNSUPPORTED_FORMAT,
        FailureKind.GRAPH_FAILED,
        FailureKind.GRAPH_TOO_LONG,
    }
)


class Scheduler:
    """Assigns waiting shards to instances. Only `handle` changes its state."""

    def __init__(self, *, max_attempts: int) -> None:
        self.queue = FairQueue()
        self.instances: dict[str, Instance] = {}
        self.estimates = DurationEstimates()
        #: Models for which an autoscaler can add instances.
        self.future_models: frozenset[str] = frozenset()
        self._max_attempts = max_attempts
        self._specs: dict[str, ShardSpec] = {}
        self._shards_by_job: dict[str, set[str]] = {}
        #: Failed attempts that count against the maximum.
        self._tries: dict[str, int] = {}
        self._suspects = SuspectLane()
        self._failed_instances: dict[str, set[str]] = {}
        self._chooser = PlacementChooser(self.instances, self.queue, self.estimates, self._failed_instances)
        self._waits = WaitEstimator(self.queue, self.instances, self.estimates)
        #: Heap of (deadline, shard id).
        self._deadlines: list[tuple[float, str]] = []

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Apply an event and return the resulting instructions in order. `now` is monotonic, in seconds."""
        match event:
            case JobAdded(specs=specs):
                return [*self._add_shards(specs, now), *self._fill_slots(now)]
            case RunEnded():
                self._release_slot(event, now)
                return self._fill_slots(now)
            case ShardDone(shard_id=shard_id):
                self._end_delivery(shard_id)
                return [*self._acquit(shard_id), *self._fill_slots(now)]
            case ShardFailed():
                self._end_delivery(event.shard_id)
                return [*self._retry_or_fail(event, now), *self._fill_slots(now)]
            case JobCancelled(job_id=job_id, shard_id=shard_id):
                return [*self._cancel_job(job_id, shard_id), *self._fill_slots(now)]
            case JobWithdrawn(job_id=job_id):
                self._withdraw_job(job_id, now)
                return self._fill_slots(now)
            case InstanceUp(instance_id=instance_id):
                self.instances.setdefault(instance_id, Instance(instance_id)).mark_up(event)
                return self._fill_slots(now)
            case InstanceDown(instance_id=instance_id):
                if instance_id in self.instances:
                    self.instances[instance_id].mark_down(event, now)
                return self._fill_slots(now)
            case ModelWarming(instance_id=instance_id):
                if instance_id in self.instances:
                    self.instances[instance_id].record_warming(event)
                return []
            case Tick():
                return [*self._fail_expired(now), *self._fill_slots(now)]

    def has_shard(self, shard_id: str) -> bool:
        """Whether the shard is waiting or running."""
        return shard_id in self._specs

    @property
    def suspect_count(self) -> int:
        """Number of unfinished shards that run alone, because they may end or block their instance."""
        return len(self._suspects.deaths)

    def can_serve(self, model: str) -> bool:
        """Whether an available instance can run the model, given by its id or the digest of a version."""
        return any(instance.is_up and instance.serves(model) for instance in self.instances.values())

    def expects_instance(self, now: float) -> bool:
        """Whether an instance is available, returns shortly by itself, or will be added for work."""
        return bool(self.future_models) or any(one.is_expected(now) for one in self.instances.values())

    def expects_to_serve(self, model: str, now: float) -> bool:
        """Whether an instance that is available, returns shortly, or will be added can run the model."""
        return model in self.future_models or any(
            instance.is_expected(now) and instance.serves(model) for instance in self.instances.values()
        )

    def estimate_job_wait(self, job_id: str, now: float) -> WaitEstimate | None:
        """Return the queue position and remaining time of an unfinished job; None for other jobs."""
        shards = frozenset(self._shards_by_job.get(job_id, ()))
        return self._waits.estimate(shards, now)

    def expected_wait_seconds(self, account_id: str, now: float) -> float:
        """Return the seconds until a new shard of the account would start; infinite without instances.
        Instances that went down a short time ago and return by themselves count. With fair shares, the
        account's own waiting shards run first, and at most the same amount of work of each other account.
        """
        expected = [instance for instance in self.instances.values() if instance.is_expected(now)]
        if not expected:
            return 0.0 if self.future_models else float("inf")
        if any(not instance.assignments for instance in expected) and not self.queue:
            return 0.0
        busy = sum(instance.busy_seconds(now) for instance in expected)
        speed = sum(instance.speed for instance in expected)
        return (busy + self.queue.seconds_ahead_of(account_id)) / speed

    def _add_shards(self, specs: Iterable[ShardSpec], now: float) -> list[Instruction]:
        """Queue new shards. Fails the jobs of those that an earlier process was about to quarantine."""
        guilty: list[ShardSpec] = []
        for spec in specs:
            if spec.shard_id in self._specs:
                continue
            self._specs[spec.shard_id] = spec
            self._shards_by_job.setdefault(spec.job_id, set()).add(spec.shard_id)
            self._tries[spec.shard_id] = spec.tries
            for _ in range(spec.deaths):
                self._suspects.record_loss(spec.shard_id, None, has_run=True)
            if spec.deaths:
                self._queue_suspect(spec, now)
            else:
                self.queue.enqueue(spec, now)
            if spec.deadline is not None:
                heapq.heappush(self._deadlines, (spec.deadline, spec.shard_id))
            if self._suspects.is_guilty(spec.shard_id):
                guilty.append(spec)
        return [
            instruction
            for spec in guilty
            if self.has_shard(spec.shard_id)
            for instruction in self._fail_job(spec, FailureKind.QUARANTINED)
        ]

    def _queue_suspect(self, spec: ShardSpec, now: float) -> None:
        self.queue.hold_job(spec.job_id)
        self.queue.enqueue_suspect(spec, now)

    def _acquit(self, shard_id: str) -> list[Instruction]:
        """Forget a shard that has succeeded. Deaths without another cause are failures of those instances."""
        died = self._suspects.acquit(shard_id)
        self._forget_shard(shard_id)
        return [BlameInstance(instance_id=instance_id) for instance_id in died]

    def _release_slot(self, event: RunEnded, now: float) -> None:
        instance = self.instances.get(event.instance_id)
        assignment = instance.release_slot(event.shard_id, now) if instance else None
        if instance is None or assignment is None:
            return
        self.queue.release_concurrency(assignment.spec.account_id)
        if event.seconds is not None:
            instance.delivering.add(event.shard_id)
            expected = assignment.spec.run_seconds / instance.speed
            cold = assignment.spec.load_seconds if assignment.load_seconds else 0.0
            self.estimates.record_run(
                assignment.spec.model, instance.speed, run=(event.seconds, expected), load=cold
            )

    def _end_delivery(self, shard_id: str) -> None:
        for instance in self.instances.values():
            instance.delivering.discard(shard_id)

    def _retry_or_fail(self, event: ShardFailed, now: float) -> list[Instruction]:
        """Queue a failed shard for another attempt, or fail its job if it has none left.

        An attempt that was lost with its instance is not counted. If the prompt cannot be the cause, it is
        repeated until the deadline of the shard; otherwise the shard becomes a suspect, and is quarantined
        after the second death.
        """
        spec = self._specs.get(event.shard_id)
        if spec is None or event.shard_id in self.queue:
            return []
        is_overdue = spec.deadline is not None and now >= spec.deadline
        was_lost = event.kind is FailureKind.INSTANCE_GONE
        if was_lost:
            instance = self.instances.get(event.instance_id)
            self._suspects.record_loss(spec.shard_id, instance, has_run=event.has_run)
            if self._suspects.is_guilty(spec.shard_id):
                return self._fail_job(spec, FailureKind.QUARANTINED)
        if event.kind is FailureKind.STALLED:
            self._suspects.suspect(spec.shard_id)
        if was_lost and is_overdue:
            return self._fail_job(spec, FailureKind.EXPIRED)
        self._tries[spec.shard_id] += not was_lost
        is_exhausted = self._tries[spec.shard_id] >= self._max_attempts
        if event.kind in PERMANENT_FAILURES or (not was_lost and is_exhausted):
            return self._fail_job(spec, event.kind)
        self._failed_instances.setdefault(spec.shard_id, set()).add(event.instance_id)
        if self._suspects.is_suspect(spec.shard_id):
            self._queue_suspect(spec, now)
        else:
            self.queue.requeue(spec, now)
        if spec.deadline is not None and is_overdue:
            # The deadline passed while the shard ran, and was removed from the heap then.
            heapq.heappush(self._deadlines, (spec.deadline, spec.shard_id))
        is_out_of_memory = event.kind is FailureKind.OUT_OF_MEMORY
        return [FreeMemory(instance_id=event.instance_id)] if is_out_of_memory else []

    def _fail_job(self, spec: ShardSpec, kind: FailureKind) -> list[Instruction]:
        failed = FailJob(job_id=spec.job_id, shard_id=spec.shard_id, kind=kind)
        return [failed, *self._cancel_job(spec.job_id)]

    def _fail_expired(self, now: float) -> list[Instruction]:
        """Fail the jobs of shards that still wait after their deadline."""
        instructions: list[Instruction] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, shard_id = heapq.heappop(self._deadlines)
            if shard_id in self.queue:
                instructions += self._fail_job(self._specs[shard_id], FailureKind.EXPIRED)
        return instructions

    def _cancel_job(self, job_id: str, shard_id: str | None = None) -> list[Instruction]:
        """Remove the waiting shards of a job and return instructions to cancel the assigned ones."""
        shards = {one for one in self._shards_by_job.get(job_id, ()) if shard_id in (None, one)}
        for shard_id in shards:
            self.queue.remove(shard_id)
            self._forget_shard(shard_id)
        return [
            CancelShard(shard_id=assignment.spec.shard_id, instance_id=instance.id)
            for instance in self.instances.values()
            for assignment in instance.assignments
            if assignment.spec.shard_id in shards
        ]

    def _withdraw_job(self, job_id: str, now: float) -> None:
        """Forget the shards of a job that were never sent, and give back their slots."""
        for shard_id in tuple(self._shards_by_job.get(job_id, ())):
            for instance in self.instances.values():
                if assignment := instance.withdraw(shard_id, now):
                    self.queue.release_concurrency(assignment.spec.account_id)
            self.queue.remove(shard_id)
            self._forget_shard(shard_id)

    def _forget_shard(self, shard_id: str) -> None:
        spec = self._specs.pop(shard_id, None)
        if spec is None:
            return
        self._tries.pop(shard_id, None)
        self._failed_instances.pop(shard_id, None)
        self._suspects.forget(shard_id)
        self._shards_by_job[spec.job_id].discard(shard_id)
        if not any(self._suspects.is_suspect(other) for other in self._shards_by_job[spec.job_id]):
            self.queue.release_job(spec.job_id)
        if not self._shards_by_job[spec.job_id]:
            del self._shards_by_job[spec.job_id]

    def _fill_slots(self, now: float) -> list[Instruction]:
        """Assign shards until none is eligible or no instance has a free slot."""
        instructions = self._run_suspect(now)
        while self.queue and any(map(self._suspects.is_open, self.instances.values())):
            placement = self._choose_next(now)
            if placement is None:
                break
            instructions.append(self._assign(placement, now))
            self._suspects.ordinary_turns -= 1
        return instructions

    def _run_suspect(self, now: float) -> list[Instruction]:
        """Start a suspect if none runs and its instance is idle; otherwise keep an instance free for it."""
        lane = self._suspects
        if lane.is_occupied(self.instances):
            return []
        entry = lane.choose_suspect(self.queue)
        candidates = self._chooser.list_eligible(entry.spec) if entry else []
        if entry is None or not candidates or self._is_ordinary_turn(now):
            lane.instance_id = None
            return []
        instance = lane.reserve(candidates, now)
        if not instance.is_idle:
            return []
        lane.start(entry.spec)
        return [self._assign(self._chooser.estimate(entry, instance, now), now)]

    def _is_ordinary_turn(self, now: float) -> bool:
        """Whether an ordinary shard starts first, because the suspects would close the only instance."""
        up = sum(instance.is_up for instance in self.instances.values())
        if up > 1 or self._suspects.ordinary_turns <= 0:
            return False
        self._suspects.instance_id = None
        return self._choose_next(now) is not None

    def _assign(self, placement: Placement, now: float) -> RunShard:
        entry, instance = placement.queued, placement.instance
        for head in self.queue.heads():
            if (head.start_tag, head.sequence) < (entry.start_tag, entry.sequence):
                head.skipped_seconds += placement.run_seconds + placement.load_seconds
        spec = self.queue.dequeue(entry)
        seconds = placement.load_seconds + placement.run_seconds
        assignment = Assignment(
            spec=spec, instance_id=instance.id, expected_seconds=seconds, load_seconds=placement.load_seconds
        )
        instance.assign(assignment, now)
        return RunShard(shard_id=spec.shard_id, instance_id=instance.id)

    def _choose_next(self, now: float) -> Placement | None:
        placements = self._chooser.choose(now, self._suspects.instance_id)
        if not placements:
            return None
        longest = max(placements, key=lambda placement: placement.load_seconds + placement.run_seconds)
        if is_critical(longest, self.instances.values(), self.queue.total_backlog_seconds):
            return longest
        return min(placements, key=lambda placement: placement.score)
