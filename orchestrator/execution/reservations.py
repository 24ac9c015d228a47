"""Jobs that are assigned to instances while they are being stored, so that both take one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.jobs import Attempt


@dataclass(slots=True)
class Reservation:
    """The assignments of one job. Its attempts wait until it is known whether the job was stored."""

    is_stored: asyncio.Future[bool] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    #: Attempts that are stored with the job.
    attempts: list[Attempt] = field(default_factory=list)
    #: Whether the job is on its way to the store, so that later attempts are stored by themselves.
    is_complete: bool = False

    async def wait_stored(self) -> frozenset[str] | None:
        """Return the prompt ids of the attempts that were stored with the job; None if it was not stored."""
        if not await asyncio.shield(self.is_stored):
            return None
        return frozenset(attempt.prompt_id for attempt in self.attempts)


class Reservations:
    """The jobs that are being stored."""

    def __init__(self) -> None:
        self._by_job: dict[str, Reservation] = {}

    @contextmanager
    def begin(self, job_id: str) -> Iterator[Reservation]:
        """Reserve for a job while the block runs; the attempts that it begins are stored with the job."""
        reservation = self._by_job[job_id] = Reservation()
        yield reservation
        reservation.is_complete = True

    def add(self, job_id: str, attempt: Attempt) -> Reservation | None:
        """Return the reservation for which an attempt has to wait, if its job is being stored."""
        reservation = self._by_job.get(job_id)
        if reservation is not None and not reservation.is_complete:
            reservation.attempts.append(attempt)
        return reservation

    def end(self, job_id: str, *, is_stored: bool) -> bool:
        """Let the attempts of a job go on, or end them; return whether anything was reserved for it."""
        reservation = self._by_job.pop(job_id, None)
        if reservation is not None:
            reservation.is_stored.set_result(is_stored)
        return reservation is not None
