"""The part of the store's interface about stored objects: which jobs need them, and which have to be deleted.

`orchestrator.jobs.objects` describes the protocol by which no job names a deleted object.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from orchestrator.jobs.objects import DeletionReason, ObjectDeletion


class FileStore(Protocol):
    """References of jobs to objects, and the outbox of deletions."""

    async def add_job_file(self, job_id: str, key: str, *, is_awaited: bool = True) -> None:
        """Record that a job needs an object that was written for it; `is_awaited` if a caller waits for it.

        Raises Gone if the job was removed or the object is condemned.
        """
        ...

    async def remove_job(self, job_id: str, now: datetime) -> list[str]:
        """Hide a job from its account; condemn and return the keys of objects that no other job needs.

        The job itself and its ledger entries remain.
        """
        ...

    async def expire_files(self, before: datetime, limit: int, now: datetime) -> list[str]:
        """Condemn and return the keys of objects that only jobs finished before `before` need."""
        ...

    async def discard_files(self, keys: Sequence[str], reason: DeletionReason, now: datetime) -> list[str]:
        """Condemn and return those of the keys that no job and no running attempt needs."""
        ...

    async def list_due_deletions(self, now: datetime, limit: int) -> list[ObjectDeletion]:
        """Return objects to delete now, longest due first."""
        ...

    async def finish_deletions(self, keys: Sequence[str], now: datetime) -> list[str]:
        """Record that objects were deleted, and return those for which that was not known.

        Deletions of more than a day ago are forgotten.
        """
        ...

    async def postpone_deletion(self, key: str, due_at: datetime) -> None:
        """Record a failed try, and when to try again."""
        ...

    async def get_installation_id(self) -> str:
        """Return the id that this store has had since it was created."""
        ...
