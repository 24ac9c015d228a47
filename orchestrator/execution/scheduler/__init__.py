"""Assigns waiting shards to instances. Pure logic: events in, instructions out.

`Scheduler.handle(event, now)` returns instructions for the dispatcher. Nothing here awaits, reads a clock,
draws a random number or touches a disk, and the whole state can be rebuilt from the store at any time.
"""

from __future__ import annotations

from orchestrator.execution.scheduler.events import (
    BlameInstance,
    CancelShard,
    Event,
    FailJob,
    FreeMemory,
    InstanceDown,
    InstanceUp,
    Instruction,
    JobAdded,
    JobCancelled,
    JobWithdrawn,
    ModelWarming,
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
    "BlameInstance",
    "CancelShard",
    "Event",
    "FailJob",
    "FreeMemory",
    "InstanceDown",
    "InstanceUp",
    "Instruction",
    "JobAdded",
    "JobCancelled",
    "JobWithdrawn",
    "ModelWarming",
    "RunEnded",
    "RunShard",
    "Scheduler",
    "ShardDone",
    "ShardFailed",
    "ShardSpec",
    "Tick",
    "WaitEstimate",
]
