"""A waiting shard on a candidate instance, with the expected times."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from orchestrator.execution.scheduler.events import ShardSpec
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.queue import QueuedShard


def list_eligible(
    instances: Iterable[Instance], spec: ShardSpec, failed_on: Collection[str]
) -> list[Instance]:
    """Return the instances that can serve a shard.

    Instances with enough memory, and then those on which it has not failed yet, are preferred.
    """
    capable = [instance for instance in instances if instance.can_serve(spec)]
    fitting = [instance for instance in capable if instance.has_memory_for(spec)] or capable
    return [instance for instance in fitting if instance.id not in failed_on] or fitting


@dataclass(frozen=True, slots=True)
class Placement:
    """A waiting shard on a candidate instance, with the expected times."""

    queued: QueuedShard
    instance: Instance
    #: Expected seconds of loading the model and of running the shard.
    load_seconds: float
    run_seconds: float
    #: Expected seconds from now until the shard is done.
    finish_seconds: float
    #: Longest time that other shards may be started first, to avoid loading the model now.
    max_skipped_seconds: float
    #: `finish_seconds` plus the time to reload the models that have to be evicted.
    cost_seconds: float

    @property
    def score(self) -> tuple[float, int]:
        """Sort key among the heads of the queue; the lowest is started next."""
        return (
            self.queued.start_tag + self.max_skipped_seconds - self.queued.skipped_seconds,
            self.queued.sequence,
        )


def is_critical(placement: Placement, instances: Iterable[Instance], backlog_seconds: float) -> bool:
    """Whether a later start of this run would delay the end of all waiting work, of `backlog_seconds`.

    That is so if it takes longer than everything else that waits, spread over the fleet. Such runs are
    started first, but on at most half of the instances, so that short runs are not blocked.
    """
    up = [instance for instance in instances if instance.is_up]
    seconds = placement.load_seconds + placement.run_seconds
    rest = (backlog_seconds - placement.queued.spec.run_seconds) / len(up)
    occupied = sum(
        any(run.expected_seconds >= seconds / 2 for run in instance.assignments) for instance in up
    )
    return seconds > rest and occupied < len(up) // 2
