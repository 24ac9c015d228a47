"""Chooses the instance on which each waiting shard should start next.

Runs at every event of a busy fleet, for the first shard of every model. So what is the same for all of them
is computed once, and a busy instance is looked at closely only if it could finish the shard sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.execution.scheduler.estimates import DurationEstimates
from orchestrator.execution.scheduler.events import ShardSpec
from orchestrator.execution.scheduler.instances import Instance, reload_seconds
from orchestrator.execution.scheduler.placement import Placement, list_eligible
from orchestrator.execution.scheduler.queue import FairQueue, QueuedShard

#: How long a model that is not loaded waits in favour of loaded ones, in multiples of its load time.
MAX_SKIPPED_LOADS = 6.0


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The instances that may get shards at one moment."""

    now: float
    free: Sequence[Instance]
    #: Those without a free slot, with their `busy_seconds`.
    full: Sequence[tuple[float, Instance]]


@dataclass(frozen=True, slots=True)
class PlacementChooser:
    """Reads the state of the scheduler, and changes nothing."""

    instances: Mapping[str, Instance]
    queue: FairQueue
    estimates: DurationEstimates
    #: Instances on which a shard has failed, by shard id.
    failed_on: Mapping[str, Collection[str]]

    def choose(self, now: float, kept_id: str | None) -> list[Placement]:
        """Return the best placement of each head of the queue that should start now.

        None is on the instance `kept_id`, which is kept free.
        """
        heads = list(self.queue.heads())
        if not heads:
            return []
        up = [instance for instance in self.instances.values() if instance.is_up and instance.id != kept_id]
        free = [instance for instance in up if instance.has_free_slot]
        if not free:
            return []
        full = [(one.busy_seconds(now), one) for one in up if not one.has_free_slot]
        fleet = _Fleet(now, free, full)
        return [found for head in heads if (found := self._choose_instance(head, fleet))]

    def _choose_instance(self, queued: QueuedShard, fleet: _Fleet) -> Placement | None:
        """Return the best placement on an instance with a free slot, or None if the shard should wait.

        It waits if busy instances would still finish it sooner, together with everything else that waits for
        the same model, but only until its longest skipped time is reached.
        """
        free, is_eligible = self._find_eligible(queued.spec, fleet.free)
        if not free:
            return None
        free = _without_dominated(free, queued.spec.model)
        times = {speed: self._estimate_seconds(queued.spec, speed) for speed in {one.speed for one in free}}
        placements = [self._place(queued, one, times[one.speed], fleet.now) for one in free]
        best = min(placements, key=lambda found: (found.cost_seconds, found.instance.id))
        if queued.skipped_seconds >= best.max_skipped_seconds > 0:
            return best
        better = self._list_better_costs(queued.spec, fleet.full, is_eligible, best.cost_seconds)
        if not better:
            return best
        behind = self.queue.backlog_seconds(queued.spec.model) - queued.spec.run_seconds
        return None if min(better) + behind / len(better) < best.cost_seconds else best

    def _find_eligible(
        self, spec: ShardSpec, free: Sequence[Instance]
    ) -> tuple[Sequence[Instance], Callable[[Instance], bool]]:
        """Return the eligible instances of `free`, and what decides about others; see `list_eligible`."""
        serving = [instance for instance in free if instance.can_serve(spec)]
        if not serving:
            return (), lambda instance: False
        if spec.shard_id not in self.failed_on and all(one.has_memory_for(spec) for one in serving):
            return serving, lambda instance: instance.can_serve(spec) and instance.has_memory_for(spec)
        ids = {instance.id for instance in self.list_eligible(spec)}
        return [instance for instance in serving if instance.id in ids], lambda instance: instance.id in ids

    def _list_better_costs(
        self,
        spec: ShardSpec,
        full: Sequence[tuple[float, Instance]],
        is_eligible: Callable[[Instance], bool],
        limit: float,
    ) -> list[float]:
        """Return the costs of a shard on full instances, in seconds, where they are below a limit."""
        by_speed: dict[float, tuple[float, float]] = {}
        better = []
        for busy, instance in full:
            if busy >= limit:
                continue
            if instance.speed not in by_speed:
                by_speed[instance.speed] = self._estimate_seconds(spec, instance.speed)
            run, load = by_speed[instance.speed]
            is_loaded = spec.model in instance.loaded_models
            cost = busy + (0.0 if is_loaded else load) + run
            if cost >= limit or not is_eligible(instance):
                continue
            if not is_loaded:
                cost += self._reload_seconds(instance, spec)
            if cost < limit:
                better.append(cost)
        return better

    def estimate(self, queued: QueuedShard, instance: Instance, now: float) -> Placement:
        """Return the expected times of a shard on an instance."""
        return self._place(queued, instance, self._estimate_seconds(queued.spec, instance.speed), now)

    def _place(
        self, queued: QueuedShard, instance: Instance, times: tuple[float, float], now: float
    ) -> Placement:
        """Do the same, with the seconds of running the shard and of loading its model on the instance."""
        spec, (run, load) = queued.spec, times
        is_loaded = spec.model in instance.loaded_models
        load, reload = (0.0, 0.0) if is_loaded else (load, self._reload_seconds(instance, spec))
        finish = instance.busy_seconds(now) + load + run
        max_skipped = MAX_SKIPPED_LOADS * (load + reload) * len(self.instances)
        return Placement(queued, instance, load, run, finish, max_skipped, finish + reload)

    def list_eligible(self, spec: ShardSpec) -> list[Instance]:
        """Return the instances that can serve a shard and suit it best."""
        return list_eligible(self.instances.values(), spec, self.failed_on.get(spec.shard_id, ()))

    def _estimate_seconds(self, spec: ShardSpec, speed: float) -> tuple[float, float]:
        """Return the seconds of running a shard, and of loading its model."""
        return (
            self.estimates.run_seconds(spec.model, spec.run_seconds, speed),
            self.estimates.load_seconds(spec.model, spec.load_seconds, speed),
        )

    def _reload_seconds(self, instance: Instance, spec: ShardSpec) -> float:
        return reload_seconds(instance, spec, self.instances.values(), self.queue.backlog_seconds)


def _without_dominated(free: Sequence[Instance], model: str) -> list[Instance]:
    """Leave out instances on which a shard of the model costs no less than on another one.

    An idle instance that holds the model needs only the run. Of those of a speed the first, by id, stands for
    all others of that speed: most of a fleet that serves one model.
    """
    first: dict[float, Instance] = {}
    for instance in free:
        if not instance.assignments and model in instance.loaded_models:
            known = first.get(instance.speed)
            if known is None or instance.id < known.id:
                first[instance.speed] = instance
    return [*(one for one in free if one.speed not in first), *first.values()]
