"""The choice of an instance looks at few of them, and finds what looking at all of them finds."""

from __future__ import annotations

from random import Random

import pytest

from orchestrator.execution.scheduler import (
    InstanceDown,
    InstanceUp,
    JobAdded,
    RunEnded,
    RunShard,
    Scheduler,
    ShardDone,
    ShardFailed,
    ShardSpec,
)
from orchestrator.execution.scheduler.chooser import PlacementChooser
from orchestrator.execution.scheduler.placement import Placement
from orchestrator.execution.scheduler.queue import QueuedShard
from orchestrator.jobs import FailureKind

STEPS = 60


def choose_slowly(chooser: PlacementChooser, queued: QueuedShard, now: float) -> Placement | None:
    """The rule as it is documented, with the expected times on every instance."""
    eligible = chooser.list_eligible(queued.spec)
    candidates = [chooser.estimate(queued, instance, now) for instance in eligible]
    free = [found for found in candidates if found.instance.has_free_slot]
    if not free:
        return None
    best = min(free, key=lambda found: (found.cost_seconds, found.instance.id))
    better = [found.cost_seconds for found in candidates if found.cost_seconds < best.cost_seconds]
    if not better or queued.skipped_seconds >= best.max_skipped_seconds > 0:
        return best
    behind = chooser.queue.backlog_seconds(queued.spec.model) - queued.spec.run_seconds
    return None if min(better) + behind / len(better) < best.cost_seconds else best


class RandomFleet:
    """A scheduler with instances and shards of many kinds, and a chooser that reads its state."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.scheduler = Scheduler(max_attempts=3)
        #: Shared with the scheduler by what it does, not by reaching into it.
        self.failed_on: dict[str, set[str]] = {}
        self.running: list[tuple[str, str]] = []
        self.names = [f"g{number}" for number in range(self.random.randrange(2, 9))]
        for name in self.names:
            self.bring_up(name)

    def chooser(self) -> PlacementChooser:
        scheduler = self.scheduler
        return PlacementChooser(scheduler.instances, scheduler.queue, scheduler.estimates, self.failed_on)

    def handle(self, event: object, now: float) -> None:
        for instruction in self.scheduler.handle(event, now):  # type: ignore[arg-type]
            if isinstance(instruction, RunShard):
                self.running.append((instruction.shard_id, instruction.instance_id))

    def bring_up(self, name: str) -> None:
        choose = self.random.choice
        some = frozenset(f"m{number}" for number in range(5) if self.random.random() < 0.7)
        event = InstanceUp(
            instance_id=name,
            speed=choose((1.0, 0.5)),
            vram=choose((None, 24, 96)),
            models=choose((None, some)),
        )
        self.handle(event, 0.0)

    def step(self, number: int, now: float) -> None:
        choose, x = self.random.choice, self.random.random()
        if x < 0.55 or not self.running:
            spec = ShardSpec(
                shard_id=f"j{number}-0",
                job_id=f"j{number}",
                account_id=choose(("a", "b")),
                model=f"m{self.random.randrange(5)}",
                run_seconds=choose((1.0, 20.0)),
                load_seconds=choose((0.0, 5.0, 30.0)),
                vram=choose((10, 30, 50)),
            )
            self.handle(JobAdded(specs=[spec]), now)
        elif x < 0.95:
            shard, name = self.running.pop(self.random.randrange(len(self.running)))
            self.handle(RunEnded(shard_id=shard, instance_id=name, seconds=choose((None, 2.0))), now)
            if self.random.random() < 0.2:
                self.failed_on.setdefault(shard, set()).add(name)
                failed = ShardFailed(shard_id=shard, instance_id=name, kind=FailureKind.NODE_FAILED)
                self.handle(failed, now)
            else:
                self.handle(ShardDone(shard_id=shard), now)
        else:
            name = choose(self.names)
            self.handle(InstanceDown(instance_id=name, memory_lost=False), now)
            self.bring_up(name)


@pytest.mark.parametrize("seed", range(40))
def test_finds_what_looking_at_all_instances_finds(seed: int) -> None:
    fleet = RandomFleet(seed)
    for number in range(STEPS):
        fleet.step(number, float(number))
        # What could start if one of the assigned shards had just ended.
        for instance in fleet.scheduler.instances.values():
            held = instance.assignments
            instance.assignments = held[:1]
            chooser = fleet.chooser()
            heads = [*fleet.scheduler.queue.heads()]
            slow = [found for head in heads if (found := choose_slowly(chooser, head, number + 0.5))]
            assert chooser.choose(number + 0.5, None) == slow
            instance.assignments = held
