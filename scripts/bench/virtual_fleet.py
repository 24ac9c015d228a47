"""A fleet in virtual time: cards that load, run and wait as real ones do, without waiting for them.

Every policy sees the same jobs and the same cards. What a run really takes differs from what the manifest
says: each model has a hidden factor, each run its own noise, both drawn once from a seed.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.scheduler import Work

#: Seconds in which an instance takes up a prompt that already waits in its queue, and one that has to come
#: from us first (render, POST, validation): measured on the simulator, rounded up.
HANDOVER_QUEUED, HANDOVER_SENT = 0.002, 0.02


@dataclass(frozen=True, slots=True)
class Task:
    """A shard, what the scheduler is told of it, and what it will really take."""

    work: Work
    run: float
    load: float


@dataclass(slots=True)
class Run:
    """A finished run."""

    task: Task
    card: int
    begun: float
    loaded: bool
    ended: float


@dataclass(slots=True)
class Gpu:
    """One card: a queue, and models in memory, least recently used first."""

    index: int
    memory: int
    queue: deque[Task] = field(default_factory=deque)
    held: OrderedDict[str, int] = field(default_factory=OrderedDict)
    running: Task | None = None
    idle_since: float = 0.0
    idle_gaps: list[float] = field(default_factory=list)

    def use(self, work: Work) -> bool:
        """Brings the model into memory; True where it had to be loaded."""
        cold = work.model not in self.held
        self.held[work.model] = work.vram
        self.held.move_to_end(work.model)
        while len(self.held) > 1 and sum(self.held.values()) > self.memory:
            self.held.popitem(last=False)
        return cold


class VirtualFleet:
    """Runs tasks on cards; a policy is told of each end and hands out what comes next."""

    def __init__(self, cards: int, memory: int) -> None:
        self.now = 0.0
        self.gpus = [Gpu(index, memory) for index in range(cards)]
        self.runs: list[Run] = []
        self._ends: list[tuple[float, int, Run]] = []
        self._order = 0

    def send(self, card: int, task: Task) -> None:
        gpu = self.gpus[card]
        gpu.queue.append(task)
        if gpu.running is None:
            self._begin(gpu, HANDOVER_SENT)

    def step(self) -> Run | None:
        """The next run to end; None when nothing runs."""
        if not self._ends:
            return None
        self.now, _, run = heapq.heappop(self._ends)
        gpu = self.gpus[run.card]
        gpu.running, gpu.idle_since = None, self.now
        self.runs.append(run)
        if gpu.queue:
            self._begin(gpu, HANDOVER_QUEUED)
        return run

    def _begin(self, gpu: Gpu, handover: float) -> None:
        task = gpu.running = gpu.queue.popleft()
        begun = self.now + handover
        gpu.idle_gaps.append(begun - gpu.idle_since)
        loaded = gpu.use(task.work)
        run = Run(task, gpu.index, begun, loaded, begun + task.run + (task.load if loaded else 0.0))
        self._order += 1
        heapq.heappush(self._ends, (run.ended, self._order, run))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a policy."""

    makespan: float
    #: Share of all cards' time spent on steps, loading not counted.
    busy: float
    loads: int
    #: Seconds between the arrival (0) and the end, at the 95th percentile.
    p95: float
    #: Median seconds between two prompts of a card.
    gap: float


def outcome(fleet: VirtualFleet) -> Outcome:
    makespan = max(run.ended for run in fleet.runs)
    ends = sorted(run.ended for run in fleet.runs)
    gaps = sorted(gap for gpu in fleet.gpus for gap in gpu.idle_gaps[1:])
    return Outcome(
        makespan=makespan,
        busy=sum(run.task.run for run in fleet.runs) / (makespan * len(fleet.gpus)),
        loads=sum(run.loaded for run in fleet.runs),
        p95=ends[int(0.95 * len(ends))],
        gap=gaps[len(gaps) // 2] if gaps else 0.0,
    )


def draw_tasks(works: Sequence[Work], rng: random.Random) -> list[Task]:
    """What each work will really take: the manifest's figure, times a factor of its model, times noise."""
    factors: Mapping[str, float] = {
        model: rng.uniform(0.6, 1.6) for model in sorted({work.model for work in works})
    }
    return [
        Task(
            work,
            work.run_seconds * factors[work.model] * rng.lognormvariate(0.0, 0.1),
            work.load_seconds * rng.uniform(0.8, 1.3),
        )
        for work in works
    ]
