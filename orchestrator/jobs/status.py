"""Status values of jobs and shards, and the transition tables that say which changes are allowed.

job     queued -> running -> succeeded | failed | cancelled
shard   waiting -> running -> succeeded | failed | cancelled
             ^--------+          (a failed attempt returns its shard to waiting)
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobStatus(StrEnum):
    QUEUED = "queued"  #: stored, with its price held; no shard has started
    RUNNING = "running"  #: at least one shard has started
    SUCCEEDED = "succeeded"  #: every shard has stored outputs; the hold is captured
    FAILED = "failed"  #: a shard cannot be completed; the hold is released
    CANCELLED = "cancelled"  #: cancelled by the caller or an operator; the hold is released


class ShardStatus(StrEnum):
    WAITING = "waiting"  #: queued for an instance
    RUNNING = "running"  #: an attempt is in progress
    SUCCEEDED = "succeeded"  #: its outputs are stored
    FAILED = "failed"  #: no further attempt will be made
    CANCELLED = "cancelled"  #: no longer needed


JOB_TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}

SHARD_TRANSITIONS: Mapping[ShardStatus, frozenset[ShardStatus]] = {
    ShardStatus.WAITING: frozenset({ShardStatus.RUNNING, ShardStatus.FAILED, ShardStatus.CANCELLED}),
    ShardStatus.RUNNING: frozenset(
        {ShardStatus.WAITING, ShardStatus.SUCCEEDED, ShardStatus.FAILED, ShardStatus.CANCELLED}
    ),
    ShardStatus.SUCCEEDED: frozenset(),
    ShardStatus.FAILED: frozenset(),
    ShardStatus.CANCELLED: frozenset(),
}


class IllegalTransition(Exception):
    """The transition table does not allow this change of a job or shard."""
