"""Estimates queue positions and remaining times of jobs, for status reports only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from orchestrator.execution.scheduler.estimates import DurationEstimates
from orchestrator.execution.scheduler.events import ShardSpec
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.queue import FairQueue, QueuedShard

#: An order of more shards than this is kept for this long for each of them, although it has changed: making
#: it takes about a hundredth of that.
EXACT_LENGTH, STALE_SECONDS_PER_SHARD = 100, 1e-4
#: How long an order is kept that has not changed. The estimates of run times may have.
UNCHANGED_SECONDS = 1.0


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
class _Order:
    """The waiting shards in fair order at one time."""

    made_at: float
    change_count: int
    #: Speed for which the run times are estimated.
    speed: float
    places: list[tuple[float, int]]
    #: Run seconds of the shards before each one, and of all.
    seconds: list[float]

    def is_current(self, change_count: int, speed: float, now: float) -> bool:
        """Whether it can be used now: that of a long queue also for some time after a change."""
        length = len(self.places)
        seconds = length * STALE_SECONDS_PER_SHARD if length > EXACT_LENGTH else 0.0
        if change_count == self.change_count:
            seconds = max(seconds, UNCHANGED_SECONDS)
        return speed == self.speed and 0 <= now - self.made_at < seconds

    def count_before(self, entry: QueuedShard) -> int:
        """Return how many shards are ahead of one, which need not be among them."""
        return bisect_left(self.places, (entry.start_tag, entry.sequence))


class WaitEstimator:
    """Estimates from the state of a scheduler, without changing it.

    Many callers may follow their jobs in a long queue, each once a second. The queue is put into order for
    all of them at once.
    """

    def __init__(
        self, queue: FairQueue, instances: Mapping[str, Instance], estimates: DurationEstimates
    ) -> None:
        self.queue = queue
        self.estimates = estimates
        self._instances = instances
        self._order: _Order | None = None

    @property
    def instances(self) -> Iterable[Instance]:
        return self._instances.values()

    def estimate(self, shards: frozenset[str], now: float) -> WaitEstimate | None:
        """Return the estimate for a job with these unfinished shards; None if there are none."""
        if not shards:
            return None
        own = self.queue.in_order(shards)
        ends = [end for instance in self.instances for end in self._seconds_until_done(instance, shards, now)]
        loading = self._loading_seconds(shards, now)
        if not own:
            return WaitEstimate(shards_ahead=None, seconds=max(ends, default=0.0), loading_seconds=loading)
        order = self._current_order(now)
        seconds = self._seconds_through(own[-1].spec, order.seconds[order.count_before(own[-1])], now)
        last_end = None if seconds is None else max([*ends, seconds])
        return WaitEstimate(
            shards_ahead=order.count_before(own[0]), seconds=last_end, loading_seconds=loading
        )

    def _current_order(self, now: float) -> _Order:
        up = [instance.speed for instance in self.instances if instance.is_up]
        speed = sum(up) / len(up) if up else 1.0
        changes = self.queue.change_count
        if self._order is None or not self._order.is_current(changes, speed, now):
            waiting = self.queue.in_order()
            seconds = accumulate((self._run_seconds(entry.spec, speed) for entry in waiting), initial=0.0)
            places = [(entry.start_tag, entry.sequence) for entry in waiting]
            self._order = _Order(now, changes, speed, places, list(seconds))
        return self._order

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

    def _seconds_through(self, last: ShardSpec, seconds_before: float, now: float) -> float | None:
        """Return the seconds until `last` has run, after what is assigned already and what waits before."""
        capable = [instance for instance in self.instances if instance.can_serve(last)]
        if not capable:
            return None
        up = [instance for instance in self.instances if instance.is_up]
        busy = sum(instance.busy_seconds(now) for instance in up) + seconds_before
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
