"""The jobs that callers of an API process have asked about lately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

#: How long a job counts after it was read, in seconds: clients poll more often.
READ_SECONDS = 30.0
#: Number of jobs that are kept.
MAX_JOBS = 1000


class RecentlyRead:
    """Keeps the ids of jobs for a while after each read."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        #: When each job was last read, the earliest first.
        self._read_at: OrderedDict[str, float] = OrderedDict()

    def note(self, job_id: str) -> None:
        """A job is read now."""
        self._read_at[job_id] = self._clock()
        self._read_at.move_to_end(job_id)
        if len(self._read_at) > MAX_JOBS:
            self._read_at.popitem(last=False)

    def job_ids(self) -> set[str]:
        """Return the jobs that were read lately."""
        since = self._clock() - READ_SECONDS
        while self._read_at and next(iter(self._read_at.values())) < since:
            self._read_at.popitem(last=False)
        return set(self._read_at)
