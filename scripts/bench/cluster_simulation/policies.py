"""Two ways to place shards: the scheduler of the service, and its rules on a sample of the instances.

The scheduler looks at every instance for every waiting model, which no simulation of 10 000 GPUs can afford.
`SampledPolicy` keeps its queue, its instances and its rules, but compares a few instances of each sort: idle
and half busy ones, with and without the model. `scenarios.calibrate` compares both.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.execution.scheduler import (
    InstanceUp,
    Instruction,
    JobAdded,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardSpec,
)
from orchestrator.execution.scheduler.chooser import MAX_SKIPPED_LOADS
from orchestrator.execution.scheduler.events import Assignment
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.queue import FairQueue, QueuedShard
from scripts.bench.cluster_simulation.workload import GPU_MEMORY_BYTES

#: Instances of each sort that a sampled decision compares.
SAMPLE = 3
#: Instances that are looked at for the share of long runs.
LONG_RUN_SAMPLE = 24


@dataclass(frozen=True, slots=True)
class Start:
    """A shard to send to a GPU."""

    shard_id: str
    gpu: int


@dataclass(frozen=True, slots=True)
class WaitingModels:
    """What a decision has to look at."""

    #: Number of models with waiting shards.
    count: int
    has_free_slot: bool


class Policy(Protocol):
    """Decides which GPU runs which shard. Times are seconds of the simulation."""

    def preload(self, gpu: int, specs: Iterable[ShardSpec]) -> None:
        """Start with these models in the memory of a GPU."""
        ...

    def add_job(self, specs: Sequence[ShardSpec], now: float) -> list[Start]: ...

    def end_run(self, shard_id: str, gpu: int, seconds: float, now: float) -> list[Start]: ...

    def waiting_models(self) -> WaitingModels: ...


class SchedulerPolicy:
    """The scheduler of the service."""

    def __init__(self, gpus: int, rng: random.Random) -> None:
        self._scheduler = Scheduler(max_attempts=1)
        for gpu in range(gpus):
            self._scheduler.handle(InstanceUp(instance_id=str(gpu), vram=GPU_MEMORY_BYTES), 0.0)

    def preload(self, gpu: int, specs: Iterable[ShardSpec]) -> None:
        self._scheduler.instances[str(gpu)].loaded_models.update({spec.model: spec for spec in specs})

    def add_job(self, specs: Sequence[ShardSpec], now: float) -> list[Start]:
        return _starts(self._scheduler.handle(JobAdded(specs=specs), now))

    def end_run(self, shard_id: str, gpu: int, seconds: float, now: float) -> list[Start]:
        ended = RunEnded(shard_id=shard_id, instance_id=str(gpu), seconds=seconds)
        return _starts(
            [
                *self._scheduler.handle(ended, now),
                *self._scheduler.handle(ShardDone(shard_id=shard_id), now),
            ]
        )

    def waiting_models(self) -> WaitingModels:
        is_open = any(instance.has_free_slot for instance in self._scheduler.instances.values())
        return WaitingModels(len(self._scheduler.queue.depth_by_model()), is_open)


def _starts(instructions: Sequence[Instruction]) -> list[Start]:
    return [Start(run.shard_id, int(run.instance_id)) for run in instructions if isinstance(run, RunShard)]


class GpuSet:
    """A set of GPUs from which a sample is drawn in constant time."""

    def __init__(self) -> None:
        self._items: list[int] = []
        self._positions: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, gpu: int) -> None:
        if gpu not in self._positions:
            self._positions[gpu] = len(self._items)
            self._items.append(gpu)

    def discard(self, gpu: int) -> None:
        position = self._positions.pop(gpu, None)
        if position is None:
            return
        last = self._items.pop()
        if last != gpu:
            self._items[position] = last
            self._positions[last] = position

    def sample(self, count: int, rng: random.Random) -> list[int]:
        """Return up to `count` members, some perhaps twice."""
        if len(self._items) <= count:
            return self._items
        return [self._items[int(rng.random() * len(self._items))] for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting shard on a GPU; see `orchestrator.execution.scheduler.placement.Placement`."""

    queued: QueuedShard
    gpu: int
    load_seconds: float
    max_skipped_seconds: float
    cost_seconds: float

    @property
    def seconds(self) -> float:
        return self.load_seconds + self.queued.spec.run_seconds

    @property
    def score(self) -> tuple[float, int]:
        skipped = self.max_skipped_seconds - self.queued.skipped_seconds
        return self.queued.start_tag + skipped, self.queued.sequence


class SampledPolicy:
    """The scheduler's rules on a sample of the instances, without failures."""

    def __init__(self, gpus: int, rng: random.Random) -> None:
        self._rng = rng
        self._queue = FairQueue()
        self._instances = [Instance(str(gpu), vram=GPU_MEMORY_BYTES, is_up=True) for gpu in range(gpus)]
        #: GPUs by the number of their assigned shards, and by model and that number.
        self._by_slots = [GpuSet() for _ in range(3)]
        self._by_model: dict[str, list[GpuSet]] = {}
        for gpu in range(gpus):
            self._by_slots[0].add(gpu)

    def preload(self, gpu: int, specs: Iterable[ShardSpec]) -> None:
        with_models = self._instances[gpu].loaded_models
        self._unlist(gpu)
        with_models.update({spec.model: spec for spec in specs})
        self._list(gpu)

    def add_job(self, specs: Sequence[ShardSpec], now: float) -> list[Start]:
        for spec in specs:
            self._queue.enqueue(spec, now)
        return self._fill(now)

    def end_run(self, shard_id: str, gpu: int, seconds: float, now: float) -> list[Start]:
        self._unlist(gpu)
        ended = self._instances[gpu].release_slot(shard_id, now)
        self._list(gpu)
        if ended is not None:
            self._queue.release_concurrency(ended.spec.account_id)
        return self._fill(now)

    def waiting_models(self) -> WaitingModels:
        is_open = bool(self._by_slots[0] or self._by_slots[1])
        return WaitingModels(len(self._queue.depth_by_model()), is_open)

    def _list(self, gpu: int) -> None:
        instance = self._instances[gpu]
        slots = len(instance.assignments)
        self._by_slots[slots].add(gpu)
        for model in instance.loaded_models:
            self._sets_of(model)[slots].add(gpu)

    def _unlist(self, gpu: int) -> None:
        instance = self._instances[gpu]
        slots = len(instance.assignments)
        self._by_slots[slots].discard(gpu)
        for model in instance.loaded_models:
            self._sets_of(model)[slots].discard(gpu)

    def _sets_of(self, model: str) -> list[GpuSet]:
        return self._by_model.setdefault(model, [GpuSet() for _ in range(3)])

    def _fill(self, now: float) -> list[Start]:
        starts = []
        while (self._by_slots[0] or self._by_slots[1]) and (chosen := self._choose_next(now)):
            starts.append(self._assign(chosen, now))
        return starts

    def _assign(self, chosen: Candidate, now: float) -> Start:
        entry = chosen.queued
        for head in self._queue.heads():
            if (head.start_tag, head.sequence) < (entry.start_tag, entry.sequence):
                head.skipped_seconds += chosen.seconds
        spec = self._queue.dequeue(entry)
        self._unlist(chosen.gpu)
        assignment = Assignment(
            spec=spec,
            instance_id=str(chosen.gpu),
            expected_seconds=chosen.seconds,
            load_seconds=chosen.load_seconds,
        )
        self._instances[chosen.gpu].assign(assignment, now)
        self._list(chosen.gpu)
        return Start(spec.shard_id, chosen.gpu)

    def _choose_next(self, now: float) -> Candidate | None:
        found = [best for entry in self._queue.heads() if (best := self._choose_gpu(entry, now))]
        if not found:
            return None
        longest = max(found, key=lambda candidate: candidate.seconds)
        if len(found) > 1 and self._is_critical(longest):
            return longest
        return min(found, key=lambda candidate: candidate.score)

    def _is_critical(self, longest: Candidate) -> bool:
        """Whether the run takes longer than all other waiting work; half of the GPUs are kept for others."""
        rest = self._queue.total_backlog_seconds - longest.queued.spec.run_seconds
        if longest.seconds <= rest / len(self._instances):
            return False
        looked_at = self._instances
        if len(looked_at) > LONG_RUN_SAMPLE:
            looked_at = self._rng.choices(looked_at, k=LONG_RUN_SAMPLE)
        long = sum(
            any(run.expected_seconds >= longest.seconds / 2 for run in instance.assignments)
            for instance in looked_at
        )
        return long < len(looked_at) // 2

    def _choose_gpu(self, entry: QueuedShard, now: float) -> Candidate | None:
        """Return the best GPU of a sample, or None if the shard should wait for a busy one."""
        warm = self._sets_of(entry.spec.model)
        free = min(
            (self._estimate(entry, gpu, now) for gpu in self._sample_free(warm)),
            key=lambda candidate: candidate.cost_seconds,
            default=None,
        )
        busy = warm[2].sample(SAMPLE, self._rng)
        if free is None or entry.skipped_seconds >= free.max_skipped_seconds > 0 or not busy:
            return free
        costs = [self._estimate(entry, gpu, now).cost_seconds for gpu in busy]
        better = [cost for cost in costs if cost < free.cost_seconds]
        if not better:
            return free
        behind = self._queue.backlog_seconds(entry.spec.model) - entry.spec.run_seconds
        instances = max(len(better) / len(costs) * len(warm[2]), 1.0)
        return None if min(better) + behind / instances < free.cost_seconds else free

    def _sample_free(self, warm: Sequence[GpuSet]) -> Iterator[int]:
        for found in (warm[0], warm[1], self._by_slots[0], self._by_slots[1]):
            yield from found.sample(SAMPLE, self._rng)

    def _estimate(self, entry: QueuedShard, gpu: int, now: float) -> Candidate:
        spec, instance = entry.spec, self._instances[gpu]
        busy = instance.busy_seconds(now) if instance.assignments else 0.0
        if spec.model in instance.loaded_models:
            return Candidate(entry, gpu, 0.0, 0.0, busy + spec.run_seconds)
        reload = sum(
            evicted.load_seconds
            for evicted in instance.models_to_evict(spec)
            if self._queue.backlog_seconds(evicted.model) and sum(map(len, self._sets_of(evicted.model))) <= 1
        )
        max_skipped = MAX_SKIPPED_LOADS * (spec.load_seconds + reload) * len(self._instances)
        cost = busy + spec.load_seconds + spec.run_seconds + reload
        return Candidate(entry, gpu, spec.load_seconds, max_skipped, cost)
