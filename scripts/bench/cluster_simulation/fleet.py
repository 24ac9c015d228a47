"""Simulates fleets with simpy: arrivals, one loop per scheduler, and GPUs that load models and run shards."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import simpy

from orchestrator.execution.scheduler import ShardSpec
from scripts.bench.cluster_simulation.decision_cost import DecisionCost
from scripts.bench.cluster_simulation.policies import Policy, SampledPolicy, Start, WaitingModels
from scripts.bench.cluster_simulation.workload import (
    GPU_MEMORY_BYTES,
    JobDraw,
    ModelLoad,
    Traffic,
    Workload,
    draw_run_seconds,
    to_shard_specs,
)
from scripts.bench.virtual_fleet import VirtualGpu, VirtualShard

MakePolicy = Callable[[int, random.Random], Policy]
#: Returns the fleet of a job.
Router = Callable[[JobDraw], int]
Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class LoopCost:
    """What one event loop spends on its jobs. All zero: a loop that takes no time."""

    #: Seconds of CPU per accepted job and per run, besides decisions.
    per_job: float = 0.0
    per_shard: float = 0.0
    decision: DecisionCost | None = None

    def of_job(self, instances: int, n: int, waiting: WaitingModels) -> float:
        """Return the seconds to add a job; each of its shards looks for a free slot."""
        if self.decision is None:
            return self.per_job
        if not waiting.has_free_slot:
            return self.per_job + self.decision.without_slot(instances)
        return self.per_job + n * self.decision.with_slot(instances, waiting.count + 1)

    def of_run(self, instances: int, waiting: WaitingModels) -> float:
        """Return the seconds to end a run and choose the next one, with two more events of its attempt.

        While shards wait although a slot is free, each event looks at all of them again.
        """
        if self.decision is None:
            return self.per_shard
        looked = self.decision.with_slot(instances, waiting.count)
        others = looked if waiting.has_free_slot else self.decision.without_slot(instances)
        return self.per_shard + looked + 2 * others


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated. The same seed gives the same requests, whatever serves them."""

    workload: Workload
    traffic: Traffic
    #: GPUs of each fleet.
    fleets: Sequence[int]
    seed: int = 1
    loop: LoopCost = field(default_factory=LoopCost)
    router: Router = lambda job: 0
    #: Returns the models that a fleet serves; None for all.
    models_of: Callable[[int], Sequence[ModelLoad]] | None = None
    policy: MakePolicy = SampledPolicy
    #: Inverse of the distribution of the seconds that a run takes besides its GPU time.
    overhead: Sequence[float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened. Shares are of all GPU time; waits are seconds from arrival to start."""

    gpus: int
    fleets: int
    simulated_seconds: float
    shards: int
    #: Running and loading, and only loading.
    busy: float
    loading: float
    loads_per_100_shards: float
    wait_p50: float
    wait_p95: float
    wait_p99: float
    #: Busy share of the busiest scheduler loop.
    loop_busy: float
    #: Shards that still waited at the end.
    left_over: int


class Simulation:
    """All fleets of one setup. They start with models in memory and the usual number of running shards."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.env = simpy.Environment()
        self.waits = array("d")
        self.run_seconds = self.load_seconds = 0.0
        self.loads = 0
        #: Arrival of the shards that wait, except those of the start.
        self.arrivals: dict[str, float] = {}
        self.shards: dict[str, VirtualShard] = {}
        self._rng = random.Random(setup.seed)
        self.fleets = [
            SimulatedFleet(self, number, random.Random(setup.seed * 1000 + number))
            for number in range(len(setup.fleets))
        ]

    def run(self) -> Outcome:
        end = self.setup.traffic.seconds
        self._start_running()
        self.env.process(self._arrive())
        self.env.run(until=end)
        started = len(self.waits)
        self.waits.extend(end - arrived for arrived in self.arrivals.values())
        gpus = sum(self.setup.fleets)
        waits = sorted(self.waits)
        return Outcome(
            gpus=gpus,
            fleets=len(self.fleets),
            simulated_seconds=end,
            shards=len(waits),
            busy=(self.run_seconds + self.load_seconds) / (gpus * end),
            loading=self.load_seconds / (gpus * end),
            loads_per_100_shards=100 * self.loads / max(started, 1),
            wait_p50=percentile(waits, 0.5),
            wait_p95=percentile(waits, 0.95),
            wait_p99=percentile(waits, 0.99),
            loop_busy=max(fleet.loop_seconds for fleet in self.fleets) / end,
            left_over=len(self.arrivals),
        )

    def _start_running(self) -> None:
        """Give each fleet the shards that would be running, at some point of their run."""
        workload, traffic = self.setup.workload, self.setup.traffic
        rng = random.Random(self.setup.seed + 1)
        by_work = [model.run_seconds * workload.shard_share(model) for model in workload.models]
        running = traffic.rate(0.0) * workload.seconds_per_job
        count = min(round(running), sum(self.setup.fleets))
        for number in range(count):
            model = rng.choices(workload.models, by_work)[0]
            account = rng.choices(range(workload.account_count), workload.account_shares)[0]
            job = JobDraw(0.0, account, model, 1)
            (spec,) = to_shard_specs(job, f"running-{number}")
            self.shards[spec.shard_id] = VirtualShard(spec, model.run_seconds * rng.random(), 0.0)
            self.fleets[self.setup.router(job)].start_running(spec)

    def draw_overhead(self, rng: random.Random) -> float:
        """Draw the seconds that a run takes besides its GPU time."""
        return draw_quantile(self.setup.overhead, rng.random())

    def start_run(self, shard_id: str, load: float, run: float) -> None:
        """Count a run, as far as it lies within the simulated time."""
        left = self.setup.traffic.seconds - self.env.now
        self.load_seconds += min(load, left)
        self.run_seconds += max(min(run, left - load), 0.0)
        if (arrived := self.arrivals.pop(shard_id, None)) is not None:
            self.waits.append(self.env.now - arrived)
            self.loads += load > 0

    def _arrive(self) -> Process:
        jobs = self.setup.workload.draw_jobs(self.setup.traffic, self._rng)
        for number, job in enumerate(jobs):
            yield self.env.timeout(job.at - self.env.now)
            specs = to_shard_specs(job, f"{number}")
            for spec in specs:
                run = draw_run_seconds(job.model, self._rng)
                self.shards[spec.shard_id] = VirtualShard(spec, run, spec.load_seconds)
                self.arrivals[spec.shard_id] = self.env.now
            self.fleets[self.setup.router(job)].inbox.put(specs)


class SimulatedFleet:
    """GPUs with one scheduler, whose loop handles one event after the other."""

    def __init__(self, simulation: Simulation, number: int, rng: random.Random) -> None:
        setup = simulation.setup
        gpus, workload = setup.fleets[number], setup.workload
        if setup.models_of is not None:
            workload = workload.restrict(setup.models_of(number))
        self._simulation = simulation
        self._env = simulation.env
        self._rng = rng
        self.inbox = simpy.Store(self._env)
        self.loop_seconds = 0.0
        self._policy = setup.policy(gpus, rng)
        self._gpus = [VirtualGpu(index, GPU_MEMORY_BYTES) for index in range(gpus)]
        self._queues = [simpy.Store(self._env) for _ in range(gpus)]
        for gpu, models in zip(self._gpus, preloads(workload, gpus), strict=True):
            specs = [to_shard_specs(JobDraw(0.0, 0, model, 1), "preload")[0] for model in models]
            self._policy.preload(gpu.index, specs)
            for spec in specs:
                gpu.load_model(spec)
            self._env.process(self._run_gpu(gpu))
        self._env.process(self._run_loop())

    def start_running(self, spec: ShardSpec) -> None:
        """Place a shard before the time begins."""
        for start in self._policy.add_job([spec], 0.0):
            self._queues[start.gpu].put(start.shard_id)

    def _run_loop(self) -> Process:
        cost, count = self._simulation.setup.loop, len(self._gpus)
        while True:
            event = yield self.inbox.get()
            if isinstance(event, list):
                seconds = cost.of_job(count, len(event), self._policy.waiting_models())
            else:
                seconds = cost.of_run(count, self._policy.waiting_models())
            if seconds:
                self.loop_seconds += seconds
                yield self._env.timeout(seconds)
            for start in self._handle(event):
                self._queues[start.gpu].put(start.shard_id)

    def _handle(self, event: Any) -> Iterable[Start]:
        if isinstance(event, list):
            return self._policy.add_job(event, self._env.now)
        shard_id, gpu, seconds = event
        return self._policy.end_run(shard_id, gpu, seconds, self._env.now)

    def _run_gpu(self, gpu: VirtualGpu) -> Process:
        queue, simulation = self._queues[gpu.index], self._simulation
        while True:
            shard_id = yield queue.get()
            shard = simulation.shards.pop(shard_id)
            load = shard.load if gpu.load_model(shard.spec) else 0.0
            simulation.start_run(shard_id, load, shard.run)
            yield self._env.timeout(load + shard.run + simulation.draw_overhead(self._rng))
            self.inbox.put((shard_id, gpu.index, load + shard.run))


def preloads(workload: Workload, gpus: int) -> list[list[ModelLoad]]:
    """Return the models in the memory of each GPU at the start, by their share of the work."""
    by_work = sorted(
        workload.models, key=lambda model: -model.run_seconds * workload.shard_share(model) / model.vram
    )
    loaded: list[list[ModelLoad]] = []
    shares = [model.run_seconds * workload.shard_share(model) for model in by_work]
    owed = [0.0] * len(by_work)
    for _ in range(gpus):
        owed = [debt + share for debt, share in zip(owed, shares, strict=True)]
        free, chosen = GPU_MEMORY_BYTES, []
        for index in sorted(range(len(by_work)), key=lambda index: -owed[index]):
            if by_work[index].vram <= free:
                free -= by_work[index].vram
                owed[index] -= sum(shares) / 2
                chosen.append(by_work[index])
        loaded.append(chosen)
    return loaded


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the sorted values lie; 0 for none."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def draw_quantile(quantiles: Sequence[float], position: float) -> float:
    """Return the value at a position from 0 to 1 of a distribution, given by equally spaced quantiles."""
    place = min(max(position, 0.0), 1.0) * (len(quantiles) - 1)
    below = min(int(place), len(quantiles) - 2)
    return quantiles[below] + (quantiles[below + 1] - quantiles[below]) * (place - below)
