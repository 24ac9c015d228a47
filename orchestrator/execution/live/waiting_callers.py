"""Which jobs the callers of API processes wait for, as the scheduler knows it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

#: After a start of the scheduler, or the loss of a connection, API processes have this long to say for which
#: jobs their callers wait, in seconds.
GRACE_SECONDS = 15.0


class WaitingCallers:
    """Keeps the awaited jobs of each connected API process."""

    def __init__(self, clock: Callable[[], float] = monotonic, grace: float = GRACE_SECONDS) -> None:
        self._clock = clock
        self._grace = grace
        self._awaited: dict[object, frozenset[str]] = {}
        self._unknown_until = clock() + grace

    def set_awaited(self, process: object, job_ids: frozenset[str]) -> None:
        """Replace the jobs that the callers of a process wait for."""
        self._awaited[process] = job_ids

    def remove(self, process: object) -> None:
        """The connection to a process ended; it may come back."""
        if self._awaited.pop(process, None):
            self._unknown_until = self._clock() + self._grace

    def may_await(self, job_id: str) -> bool:
        """Whether a caller of an API process waits for the job, or may do so as far as is known."""
        if self._clock() < self._unknown_until:
            return True
        return any(job_id in job_ids for job_ids in self._awaited.values())
