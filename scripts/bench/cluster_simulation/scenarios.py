"""The questions that are put to the model, each answered by rows of a table."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from scripts.bench.cluster_simulation.capacity import cost_per_result
from scripts.bench.cluster_simulation.fleet import LoopCost, Outcome, Router, Setup, Simulation
from scripts.bench.cluster_simulation.inputs import ClusterInputs
from scripts.bench.cluster_simulation.policies import SampledPolicy, SchedulerPolicy
from scripts.bench.cluster_simulation.workload import (
    DAY_SECONDS,
    JobDraw,
    ModelLoad,
    Traffic,
    Workload,
    around_noon,
)

Row = dict[str, Any]
SIZES = (10, 100, 1_000, 10_000)
#: Shards that one simulation starts, about.
SHARDS = 6_000
#: Least simulated seconds of large fleets.
LEAST_SECONDS = 30.0
#: Fleets whose single loop decides with the measured cost, and seconds in which a backlog of it shows.
LOOP_SIZES = (100, 200, 300, 400, 500, 600, 1_000)
LOOP_SECONDS = 90.0
LOADED_SIZES, LOADS, LOADED_SHARDS = (10, 30, 100, 300), (0.5, 0.65, 0.8), 2_500
POOLED_GPUS, POOLED_SHARDS = 240, 4_000
POOLED_FLEETS = (1, 2, 4, 12, 24)
#: GPUs and shards of the comparison with the scheduler of the service, which takes its time.
CALIBRATED = ((10, 1_600), (40, 1_600), (100, 500))
#: GPU time that runs take at the highest rate.
PEAK_LOAD = 0.8


@dataclass(frozen=True, slots=True)
class Study:
    """What all scenarios share. `scale` shortens the simulated times."""

    workload: Workload
    inputs: ClusterInputs
    seed: int = 1
    scale: float = 1.0

    def setup(
        self, gpus: int, shards: float, least_seconds: float = LEAST_SECONDS, load: float = PEAK_LOAD
    ) -> Setup:
        """Return one fleet at the busiest time of the day, for about so many shards and seconds at least."""
        rate = self.workload.peak_rate(gpus, load)
        seconds = max(shards / (rate * self.workload.shards_per_job), least_seconds) * self.scale
        traffic = around_noon(rate, min(seconds, DAY_SECONDS))
        overhead = self.inputs.overhead
        return Setup(self.workload, traffic, [gpus], seed=self.seed, overhead=overhead)


def simulate(name: str, setup: Setup) -> Row:
    outcome: Outcome = Simulation(setup).run()
    return {"case": name, **asdict(outcome)}


def calibrate(study: Study) -> Iterator[Row]:
    """Compare the sampled policy with the scheduler of the service, on the same requests."""
    for gpus, shards in CALIBRATED:
        setup = study.setup(gpus, shards)
        yield simulate(f"{gpus} GPUs, scheduler of the service", replace(setup, policy=SchedulerPolicy))
        yield simulate(f"{gpus} GPUs, sampled", replace(setup, policy=SampledPolicy))


def simulate_sizes(study: Study) -> Iterator[Row]:
    """Simulate each size with a loop that takes no time: what the GPUs could do."""
    for gpus in SIZES[: 3 if study.scale < 1 else None]:
        yield simulate(f"{gpus} GPUs, around noon", study.setup(gpus, SHARDS))
    # The other half is its mirror image.
    day = Traffic(study.workload.peak_rate(SIZES[0], PEAK_LOAD), DAY_SECONDS / 2 * study.scale)
    yield simulate(f"{SIZES[0]} GPUs, midnight to noon", replace(study.setup(SIZES[0], SHARDS), traffic=day))


def simulate_loads(study: Study) -> Iterator[Row]:
    """Simulate small and large fleets at several loads: how much of its GPUs a fleet can use."""
    for gpus in LOADED_SIZES:
        for load in LOADS:
            setup = study.setup(gpus, LOADED_SHARDS, load=load)
            yield {"load": load, **simulate(f"{gpus} GPUs, {load:.0%} of their time asked for", setup)}


def simulate_loop(study: Study) -> Iterator[Row]:
    """Simulate fleets of one loop at the measured cost, and without decisions: where it saturates."""
    inputs = study.inputs
    whole = LoopCost(inputs.loop.job, inputs.loop.shard, inputs.decision)
    for gpus in LOOP_SIZES:
        setup = study.setup(gpus, 0, LOOP_SECONDS)
        yield simulate(f"{gpus} GPUs, one loop as measured", replace(setup, loop=whole))
    without = LoopCost(inputs.loop.job, inputs.loop.shard)
    for gpus in LOOP_SIZES[-3:]:
        setup = study.setup(gpus, 0, LOOP_SECONDS)
        yield simulate(f"{gpus} GPUs, decisions that take no time", replace(setup, loop=without))


def simulate_pooling(study: Study) -> Iterator[Row]:
    """Serve the same requests by one fleet and by several with a scheduler each."""
    setup = study.setup(POOLED_GPUS, POOLED_SHARDS)
    for count in POOLED_FLEETS:
        fleets = [POOLED_GPUS // count] * count
        routers: dict[str, Router] = {"accounts by hash": hash_accounts(count)}
        if count > 1:
            routers["accounts by their load"] = balance_accounts(study.workload.account_shares, count)
        for name, router in routers.items():
            split = replace(setup, fleets=fleets, router=router)
            yield simulate(f"{count} x {POOLED_GPUS // count} GPUs, {name}", split)
    yield simulate("images and videos apart", split_by_kind(setup))


def split_by_kind(setup: Setup) -> Setup:
    """Return the setup with one fleet for images and one for videos, by their share of the work."""
    models = setup.workload.models
    work = [model.run_seconds * setup.workload.shard_share(model) for model in models]
    videos = sum(seconds for model, seconds in zip(models, work, strict=True) if model.is_video)
    total = sum(setup.fleets)
    video_gpus = round(total * videos / sum(work))
    return replace(
        setup,
        fleets=[total - video_gpus, video_gpus],
        router=lambda job: int(job.model.is_video),
        models_of=lambda fleet: [model for model in models if model.is_video == bool(fleet)],
    )


def hash_accounts(fleets: int) -> Router:
    """Spread accounts over fleets without looking at them."""
    order = random.Random(7)
    numbers: dict[int, int] = {}

    def route(job: JobDraw) -> int:
        return numbers.setdefault(job.account, order.randrange(fleets))

    return route


def balance_accounts(shares: Sequence[float], fleets: int) -> Router:
    """Spread accounts over fleets by their share of the work: each to the fleet with the least so far."""
    totals, numbers = [0.0] * fleets, []
    for share in shares:  # the largest first
        fleet = totals.index(min(totals))
        totals[fleet] += share
        numbers.append(fleet)
    return lambda job: numbers[job.account]


def list_costs(
    models: Sequence[ModelLoad], dollars_per_hour: float, utilisations: Mapping[str, float]
) -> list[Row]:
    """Return the dollars of GPU time of one result of each model, for each utilisation by its name."""
    return [
        {
            "model": model.id,
            "run_seconds": model.run_seconds,
            **{
                name: cost_per_result(model.run_seconds, dollars_per_hour, utilisation)
                for name, utilisation in utilisations.items()
            },
        }
        for model in models
    ]


ALL: dict[str, Callable[[Study], Iterator[Row]]] = {
    "calibration": calibrate,
    "sizes": simulate_sizes,
    "loads": simulate_loads,
    "loop": simulate_loop,
    "pooling": simulate_pooling,
}
