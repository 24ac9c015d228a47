"""Jobs as values: their parts, statuses, failures and events."""

from __future__ import annotations

from orchestrator.jobs.failures import REPEATABLE_FAILURES, RETRYABLE_FAILURES, FailureKind
from orchestrator.jobs.job import (
    MODEL_VERSION_PARAM,
    Attempt,
    Job,
    JobError,
    JobRecord,
    Output,
    PendingResponse,
    Shard,
    Usage,
    create_shards,
    job_of_shard,
)
from orchestrator.jobs.status import (
    JOB_TRANSITIONS,
    SHARD_TRANSITIONS,
    IllegalTransition,
    JobStatus,
    ShardStatus,
)

__all__ = [
    "JOB_TRANSITIONS",
    "MODEL_VERSION_PARAM",
    "REPEATABLE_FAILURES",
    "RETRYABLE_FAILURES",
    "SHARD_TRANSITIONS",
    "Attempt",
    "FailureKind",
    "IllegalTransition",
    "Job",
    "JobError",
    "JobRecord",
    "JobStatus",
    "Output",
    "PendingResponse",
    "Shard",
    "ShardStatus",
    "Usage",
    "create_shards",
    "job_of_shard",
]
