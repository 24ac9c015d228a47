"""How soon a new job would start, as far as is known when it is submitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from orchestrator.execution.reservations import Reservation
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs import Job, JobRecord, Shard
from orchestrator.own_graphs import OWN_GRAPH_ID
from pricing.plans import Plan


@dataclass(frozen=True, slots=True)
class Capacity:
    """The state of queue and instances for a new job of an account."""

    #: Seconds until the job would start; None if no instance is available or returns shortly.
    wait_seconds: float | None
    #: Whether one of these instances can run the model.
    serves_model: bool


NO_CAPACITY = Capacity(None, serves_model=False)


class JobScheduling(Protocol):
    """The part of the scheduler that accepting and cancelling jobs needs."""

    async def find_capacity(self, account_id: str, model: str) -> Capacity:
        """Return how soon a new job of an account could start."""
        ...

    def reserve_job(self, job: Job, shards: Sequence[Shard], plan: Plan) -> Reservation | None:
        """Assign shards of a job that is about to be stored to free instances, if that is possible here.

        The attempts of the reservation are to be stored with the job. Nothing is sent to an instance before
        `schedule_job` says that the job is stored, or `withdraw_job` that it is not; call one of them.
        """
        ...

    def withdraw_job(self, job_id: str) -> None:
        """Give back what was reserved for a job that was not stored."""
        ...

    def schedule_job(self, record: JobRecord, plan: Plan) -> None:
        """Queue the waiting shards of a stored job, with the fair share of its account's plan."""
        ...

    def cancel_job(self, job_id: str) -> None:
        """Remove the job's waiting shards from the queue and cancel the running ones on their instances."""
        ...

    def cancel_shard(self, job_id: str, shard_id: str) -> None:
        """Do the same with one shard of a job."""
        ...


def capacity_of(scheduler: Scheduler, account_id: str, model: str) -> Capacity:
    """Return the capacity that a scheduler expects.

    Which instances can run a caller's own graph is checked for each graph.
    """
    now = monotonic()
    wait = scheduler.expected_wait_seconds(account_id, now)
    serves = model == OWN_GRAPH_ID or scheduler.expects_to_serve(model, now)
    return Capacity(None if wait == float("inf") else wait, serves)
