"""Measures the CPU time of the scheduler's decisions, and describes it by a formula.

When a slot opens, the scheduler estimates every waiting model on every instance that can serve it. An event
that opens no slot only looks for a free one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from orchestrator.execution.scheduler import Event, InstanceUp, JobAdded, RunEnded, Scheduler, ShardSpec
from scripts.bench.cluster_simulation.workload import GPU_MEMORY_BYTES, ModelLoad

Row = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DecisionCost:
    """Microseconds of CPU per event."""

    #: Of each event, and per instance that is looked at for a free slot.
    base_us: float
    per_instance_us: float
    #: Per waiting model and instance when a slot opens.
    per_candidate_us: float

    def without_slot(self, instances: int) -> float:
        """Return the seconds of an event after which no slot is free."""
        return (self.base_us + self.per_instance_us * instances) / 1e6

    def with_slot(self, instances: int, heads: int) -> float:
        """Return the seconds of an event that assigns one shard; `heads` models have waiting shards."""
        return self.without_slot(instances) + self.per_candidate_us * instances * heads / 1e6


def fit_cost(rows: Sequence[Row]) -> DecisionCost:
    """Return the formula for measured rows. Raises ValueError if they do not differ in instances."""
    least, most = (choose(row["instances"] for row in rows) for choose in (min, max))
    if least == most:
        raise ValueError(f"rows must have different numbers of instances (all have {least:g})")
    full = {row["instances"]: row["no_slot_us"] for row in rows}
    per_instance = max((full[most] - full[least]) / (most - least), 0.0)
    base = max(full[least] - per_instance * least, 0.0)
    extra = [(row["slot_us"] - row["no_slot_us"], row["instances"] * row["heads"]) for row in rows]
    # Least squares of the relative error: small and large fleets count the same.
    per_candidate = sum(us / size for us, size in extra) / len(extra)
    return DecisionCost(base, per_instance, max(per_candidate, 0.0))


def measure_rows(
    models: Sequence[ModelLoad], sizes: Sequence[int], waiting: Sequence[int], decisions: int
) -> list[dict[str, Any]]:
    """Measure every number of instances with some waiting models, and with few and many waiting shards."""
    heads = sorted({1, len(models) // 4, len(models)})
    shapes = [(size, count, waiting[0]) for size in sizes for count in heads]
    shapes += [(sizes[0], len(models), depth) for depth in waiting[1:]]
    return [measure(models[:count], size, depth, decisions) for size, count, depth in shapes]


def measure(models: Sequence[ModelLoad], instances: int, waiting: int, decisions: int) -> dict[str, Any]:
    """Measure the median CPU microseconds of events on a busy fleet; each model has waiting shards."""
    scheduler, rng = busy_scheduler(models, instances), random.Random(instances)
    waiting = max(waiting, decisions + 2) * len(models) if waiting < 1000 else waiting
    scheduler.handle(JobAdded(specs=[_spec(models, index) for index in range(waiting)]), 0.0)
    slot, no_slot = [], []
    for number in range(decisions):
        instance = scheduler.instances[str(rng.randrange(instances))]
        shard_id = instance.assignments[0].spec.shard_id
        ended = RunEnded(shard_id=shard_id, instance_id=instance.id)
        slot.append(_cpu_us(scheduler, ended, 1.0 + number))
        # The dispatcher reports the end of an attempt again when its outputs are stored.
        no_slot.append(_cpu_us(scheduler, ended, 1.0 + number))
    return {
        "instances": instances,
        "heads": len(models),
        "waiting": waiting,
        "slot_us": round(median(slot), 1),
        # A scheduler may leave a slot free for a model that another instance has loaded; then it looks again.
        "no_slot_us": round(min(no_slot), 1),
    }


def busy_scheduler(models: Sequence[ModelLoad], instances: int) -> Scheduler:
    """Return a scheduler with two assigned shards on each instance."""
    scheduler = Scheduler(max_attempts=1)
    for index in range(instances):
        # Only this instance serves the version, so that nothing else is considered.
        only = f"only-{index}"
        scheduler.handle(
            InstanceUp(instance_id=str(index), vram=GPU_MEMORY_BYTES, models=frozenset({only})), 0.0
        )
        specs = [_spec(models, index, f"first-{index}-{slot}", only) for slot in range(2)]
        scheduler.handle(JobAdded(specs=specs), 0.0)
    for index in range(instances):
        scheduler.handle(InstanceUp(instance_id=str(index), vram=GPU_MEMORY_BYTES), 0.0)
    return scheduler


def _cpu_us(scheduler: Scheduler, event: Event, now: float) -> float:
    begun = time.process_time()
    scheduler.handle(event, now)
    return (time.process_time() - begun) * 1e6


def _spec(
    models: Sequence[ModelLoad], index: int, name: str | None = None, version: str | None = None
) -> ShardSpec:
    model = models[index % len(models)]
    shard_id = name or f"waiting-{index}"
    return ShardSpec(
        shard_id=shard_id,
        job_id=shard_id,
        account_id=f"account-{index % 20}",
        model=model.id,
        run_seconds=model.run_seconds,
        load_seconds=model.load_seconds,
        vram=model.vram,
        version=version,
    )
