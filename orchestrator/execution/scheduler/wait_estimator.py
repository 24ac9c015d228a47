"""Estimates queue positions and remaining times of jobs, for status reports only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.execution.scheduler.estimates import DurationEstimates
from orchestrator.execution.scheduler.events import ShardSpec
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.queue import FairQueue


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitEstimate:
    """Queue position and remaining time of a job."""

    #: Number of shards ahead of the job's first waiting shard; None if none of its shards waits.
    shards_ahead: int | None
    #: Seconds until all shards of the job have run; None while no instance can run them.
    seconds: float | None
    #: Seconds until the model of those shards is loaded that an instance loads it for; None if none does.
    loading_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class WaitEstimator:
    """Estimates from the state of a scheduler, without changing it."""

    queue: FairQueue
    instances: Iterable[Instance]
    estimates: DurationEstimates

    def estimate(self, shards: frozenset[str], now: float) -> WaitEstimate | None:
        """Return the estimate for a job with these unfinished shards; None if there are none."""
        if not shards:
            return None
        position = self.queue.find_position(shards)
        ends = [end for instance in self.instances for end in self._seconds_until_done(instance, shards, now)]
        loading = self._loading_seconds(shards, now)
        if position is None:
            return WaitEstimate(shards_ahead=None, seconds=max(ends, default=0.0), loading_seconds=loading)
        shards_ahead, until_last = position
        seconds = self._seconds_through(until_last, now)
        last_end = None if seconds is None else max([*ends, seconds])
        return WaitEstimate(shards_ahead=shards_ahead, seconds=last_end, loading_seconds=loading)

    def _loading_seconds(self, shards: frozenset[str], now: float) -> float | None:
        """Return the longest remaining load time of the shards that run now; None if none loads."""
        runs = [instance.assignments[0] for instance in self.instances if instance.assignments]
        remaining = (run.started_at + run.load_seconds - now for run in runs if run.spec.shard_id in shards)
        return max((seconds for seconds in remaining if seconds > 0), default=None)

    def _seconds_until_done(self, instance: Instance, shards: frozenset[str], now: float) -> list[float]:
        """Return the seconds until each of the `shards` that are assigned to the instance has run."""
        return [
            instance.busy_seconds(now, count=count)
            for count, run in enumerate(instance.assignments, 1)
            if run.spec.shard_id in shards
        ]

    def _seconds_through(self, specs: list[ShardSpec], now: float) -> float | None:
        """Return the seconds until the last of `specs` has run, after everything that is assigned already."""
        *others, last = specs
        capable = [instance for instance in self.instances if instance.can_serve(last)]
        if not capable:
            return None
        up = [instance for instance in self.instances if instance.is_up]
        mean_speed = sum(instance.speed for instance in up) / len(up)
        busy = sum(instance.busy_seconds(now) for instance in up) + sum(
            self._run_seconds(spec, mean_speed) for spec in others
        )
        return busy / len(up) + min(
            self._load_seconds(last, instance) + self._run_seconds(last, instance.speed)
            for instance in capable
        )

    def _run_seconds(self, spec: ShardSpec, speed: float) -> float:
        return self.estimates.run_seconds(spec.model, spec.run_seconds, speed)

    def _load_seconds(self, spec: ShardSpec, instance: Instance) -> float:
        """Return the seconds to load the model; 0 if the instance has it in memory."""
        if spec.model in instance.loaded_models:
            return 0.0
        return self.estimates.load_seconds(spec.model, spec.load_seconds, instance.speed)
