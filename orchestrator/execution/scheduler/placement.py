"""A waiting shard on a candidate instance, with the expected times."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.execution.scheduler.instances import Instance
from orchestrator.execution.scheduler.queue import QueuedShard


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
