"""Measures what a decision of the scheduler costs, by the number of waiting shards and of instances.

    .venv/bin/python -m scripts.bench.decisions [--quick]

As many models as are shipped wait, with shards of 50 accounts. For each shard that ends, the scheduler gets
the end of its run and of its delivery, and fills the slot. Counted is CPU time, which other work affects
little. The reference is the same fleet with 100 waiting shards, in the same run.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable
from random import Random
from time import process_time

from orchestrator.execution.scheduler import (
    Event,
    InstanceUp,
    JobAdded,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardSpec,
)
from scripts.bench.report import save_results

FLEETS, WAITING = (8, 32, 64), (100, 1_000, 10_000, 100_000)
MODELS, ACCOUNTS = 42, 50
GIB = 2**30
#: Decisions that are measured; fewer where fewer shards wait.
DECISIONS = 500


class Fleet:
    """A scheduler whose instances are full, and the shards that run there, oldest first."""

    def __init__(self, instances: int, waiting: int) -> None:
        self.scheduler = Scheduler(max_attempts=3)
        self.running: deque[tuple[str, str]] = deque()
        random = Random(1)
        for number in range(instances):
            self.handle(InstanceUp(instance_id=f"gpu-{number}", vram=96 * GIB), 0.0)
        for number in range(2 * instances + waiting):
            self.handle(JobAdded(specs=[_make_spec(number, random)]), 0.0)

    def handle(self, event: Event, now: float) -> None:
        for instruction in self.scheduler.handle(event, now):
            if isinstance(instruction, RunShard):
                self.running.append((instruction.shard_id, instruction.instance_id))

    def finish_oldest(self, now: float) -> None:
        """Report that the shard that was started first has run and is delivered."""
        shard, instance = self.running.popleft()
        self.handle(RunEnded(shard_id=shard, instance_id=instance, seconds=2.0), now)
        self.handle(ShardDone(shard_id=shard), now)


def _make_spec(number: int, random: Random) -> ShardSpec:
    return ShardSpec(
        shard_id=f"job-{number}-0",
        job_id=f"job-{number}",
        account_id=f"account-{random.randrange(ACCOUNTS)}",
        model=f"model-{random.randrange(MODELS)}",
        run_seconds=2.0,
        load_seconds=20.0,
        vram=20 * GIB,
        max_concurrency=32,
    )


def measure(instances: int, waiting: int) -> float:
    """Return the milliseconds of CPU of one decision."""
    fleet = Fleet(instances, waiting)
    count = min(DECISIONS, waiting // 2)
    began = process_time()
    for number in range(count):
        fleet.finish_oldest(1.0 + number / 20)
    return (process_time() - began) / count * 1e3


def measure_all(waiting: Iterable[int]) -> dict[str, dict[str, float]]:
    """Return the milliseconds by number of instances and of waiting shards."""
    return {
        str(instances): {str(count): round(measure(instances, count), 3) for count in waiting}
        for instances in FLEETS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="at most 1 000 waiting shards, not saved")
    quick = parser.parse_args().quick
    result = measure_all(WAITING[:2] if quick else WAITING)
    for instances, found in result.items():
        reference = found[str(WAITING[0])]
        for waiting, cost in found.items():
            print(f"{instances:>3} instances {waiting:>7} waiting {cost:6.2f} ms  {cost / reference:4.2f}")
    if not quick:
        save_results("decisions", result)


if __name__ == "__main__":
    main()
