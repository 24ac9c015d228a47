"""Which waiting shard runs on which instance: pure logic, events in, instructions out.

`Scheduler.handle(event, now)` returns what the shell has to do; nothing here awaits, reads a clock,
draws a random number or touches a disk, and all of it can be rebuilt from the store at any moment.
"""

from __future__ import annotations

from orchestrator.execution.scheduler.events import (
    CancelShard,
    Event,
    FailJob,
    FreeMemory,
    InstanceDown,
    InstanceUp,
    Instruction,
    JobAdded,
    JobCancelled,
    RunEnded,
    RunShard,
    ShardDone,
    ShardFailed,
    ShardSpec,
    Tick,
)
from orchestrator.execution.scheduler.scheduler import Scheduler
from orchestrator.execution.scheduler.wait_estimator import WaitEstimate

__all__ = [
    "CancelShard",
    "Event",
    "FailJob",
    "FreeMemory",
    "InstanceDown",
    "InstanceUp",
    "Instruction",
    "JobAdded",
    "JobCancelled",
    "RunEnded",
    "RunShard",
    "Scheduler",
    "ShardDone",
    "ShardFailed",
    "ShardSpec",
    "Tick",
    "WaitEstimate",
]
