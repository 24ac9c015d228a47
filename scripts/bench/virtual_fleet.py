"""A fleet in virtual time: GPUs that load models, run shards and idle, without real waiting.

Every policy gets the same shards and GPUs. The real time of a run differs from the manifest's estimate: each
model has a hidden factor and each run its own noise, both drawn once from a seed.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.execution.scheduler import ShardSpec

#: Seconds until an instance starts a prompt from its queue, and one that must be sent first (render, POST,
#: validation). Measured on the simulator and rounded up.
QUEUED_HANDOVER_SECONDS, SENT_HANDOVER_SECONDS = 0.002, 0.02


@dataclass(frozen=True, slots=True)
class VirtualShard:
    """A shard as the scheduler knows it, and its real run and load seconds."""

    spec: ShardSpec
    run: float
    load: float


@dataclass(slots=True)
class VirtualRun:
    """A finished run."""

    shard: VirtualShard
    gpu_index: int
    started_at: float
    model_loaded: bool
    ended_at: float


@dataclass(slots=True)
class VirtualGpu:
    """One GPU: its queue, and the models in its memory, least recently used first."""

    index: int
    memory: int
    queue: deque[VirtualShard] = field(default_factory=deque)
    loaded_models: OrderedDict[str, int] = field(default_factory=OrderedDict)
    running: VirtualShard | None = None
    idle_since: float = 0.0
    idle_gaps: list[float] = field(default_factory=list)

    def load_model(self, spec: ShardSpec) -> bool:
        """Load a model, evicting others if needed. Return False if it was loaded already."""
        cold = spec.model not in self.loaded_models
        self.loaded_models[spec.model] = spec.vram
        self.loaded_models.move_to_end(spec.model)
        while len(self.loaded_models) > 1 and sum(self.loaded_models.values()) > self.memory:
            self.loaded_models.popitem(last=False)
        return cold


class VirtualFleet:
    """Runs shards on GPUs. After each finished run a policy enqueues what comes next."""

    def __init__(self, gpu_count: int, memory: int) -> None:
        self.now = 0.0
        self.gpus = [VirtualGpu(index, memory) for index in range(gpu_count)]
        self.runs: list[VirtualRun] = []
        self._pending_ends: list[tuple[float, int, VirtualRun]] = []
        self._sequence = 0

    def enqueue(self, gpu_index: int, shard: VirtualShard) -> None:
        gpu = self.gpus[gpu_index]
        gpu.queue.append(shard)
        if gpu.running is None:
            self._start_run(gpu, SENT_HANDOVER_SECONDS)

    def finish_next_run(self) -> VirtualRun | None:
        """Advance the clock to the next end of a run and return that run; None if nothing runs."""
        if not self._pending_ends:
            return None
        self.now, _, run = heapq.heappop(self._pending_ends)
        gpu = self.gpus[run.gpu_index]
        gpu.running, gpu.idle_since = None, self.now
        self.runs.append(run)
        if gpu.queue:
            self._start_run(gpu, QUEUED_HANDOVER_SECONDS)
        return run

    def _start_run(self, gpu: VirtualGpu, handover: float) -> None:
        task = gpu.running = gpu.queue.popleft()
        begun = self.now + handover
        gpu.idle_gaps.append(begun - gpu.idle_since)
        loaded = gpu.load_model(task.spec)
        run = VirtualRun(task, gpu.index, begun, loaded, begun + task.run + (task.load if loaded else 0.0))
        self._sequence += 1
        heapq.heappush(self._pending_ends, (run.ended_at, self._sequence, run))


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """The measured quality of a policy."""

    makespan: float
    #: Share of all GPU time spent on runs, without loading.
    busy: float
    loads: int
    #: Seconds between the arrival (0) and the end, at the 95th percentile.
    p95: float
    #: Median seconds between two prompts of a GPU.
    gap: float


def measure_policy(fleet: VirtualFleet) -> PolicyResult:
    makespan = max(run.ended_at for run in fleet.runs)
    ends = sorted(run.ended_at for run in fleet.runs)
    gaps = sorted(gap for gpu in fleet.gpus for gap in gpu.idle_gaps[1:])
    return PolicyResult(
        makespan=makespan,
        busy=sum(run.shard.run for run in fleet.runs) / (makespan * len(fleet.gpus)),
        loads=sum(run.model_loaded for run in fleet.runs),
        p95=ends[int(0.95 * len(ends))],
        gap=gaps[len(gaps) // 2] if gaps else 0.0,
    )


def draw_shards(specs: Sequence[ShardSpec], rng: random.Random) -> list[VirtualShard]:
    """Draw the real times of each shard: the estimate, times a factor of its model, times noise."""
    factors: Mapping[str, float] = {
        model: rng.uniform(0.6, 1.6) for model in sorted({spec.model for spec in specs})
    }
    return [
        VirtualShard(
            spec,
            spec.run_seconds * factors[spec.model] * rng.lognormvariate(0.0, 0.1),
            spec.load_seconds * rng.uniform(0.8, 1.3),
        )
        for spec in specs
    ]
