"""What a request asks of its job besides a result, kept with the parameters of the job.

No parameter of a model has a name like `OPTIONS_PARAM`, and templates never see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from orchestrator.jobs.job import Job

#: Name of the parameter of a job that holds its options.
OPTIONS_PARAM = "@options"


class ProgressMessage(StrEnum):
    """Webhook messages about a job that is not finished; the values are their topics."""

    STARTED = "job.started"  #: the first shard has started
    OUTPUT = "job.output"  #: a shard has stored its results


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOptions:
    """Options of one job."""

    #: Seconds after its creation at which an unfinished job is cancelled.
    cancel_after: float | None = None
    #: Seconds after its creation at which a job fails if none of its shards has started.
    start_within: float | None = None
    #: Messages that the webhook receives before the job is finished.
    messages: frozenset[ProgressMessage] = frozenset()
    #: The request as its dialect shows it again.
    request: Mapping[str, Any] = field(default_factory=dict)

    def to_params(self) -> dict[str, Any]:
        """Return the parameter that holds the options."""
        given = {
            "cancel_after": self.cancel_after,
            "start_within": self.start_within,
            "messages": sorted(self.messages),
            "request": dict(self.request),
        }
        return {OPTIONS_PARAM: {name: value for name, value in given.items() if value}}


NO_OPTIONS = JobOptions()


def options_of(job: Job) -> JobOptions:
    """Return the options of a job."""
    stored = job.params.get(OPTIONS_PARAM)
    if not isinstance(stored, Mapping):
        return NO_OPTIONS
    return JobOptions(
        cancel_after=stored.get("cancel_after"),
        start_within=stored.get("start_within"),
        messages=frozenset(map(ProgressMessage, stored.get("messages", ()))),
        request=stored.get("request", {}),
    )


def is_overdue(job: Job, now: datetime) -> bool:
    """Whether the request has set a time limit that has passed."""
    if OPTIONS_PARAM not in job.params:  # most have none, and all waiting jobs are asked each second
        return False
    limit = options_of(job).cancel_after
    return limit is not None and job.created_at + timedelta(seconds=limit) <= now


def seconds_to_start(job: Job, most: float, now: datetime) -> float:
    """Return in how many seconds the job must have started; `most` is the limit of the installation."""
    own = options_of(job).start_within
    age = (now - job.created_at).total_seconds()
    return (most if own is None else min(own, most)) - age
