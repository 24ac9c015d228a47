"""Queries and changes of the references to objects in memory."""

from __future__ import annotations

from datetime import datetime

from orchestrator.jobs.objects import FileChanges
from orchestrator.store.memory.tables import MemoryTables


def list_unused_keys(tables: MemoryTables, before: datetime, limit: int) -> list[str]:
    """Return keys of objects that only jobs finished before `before` need, longest unneeded first.

    Those of LoRAs are left out.
    """
    unused: dict[str, datetime] = {}
    needed = {lora.key for lora in tables.loras.values()}
    for (key, _), finished_at in tables.files.items():
        if finished_at is None or finished_at >= before:
            needed.add(key)
        else:
            unused[key] = min(finished_at, unused.get(key, finished_at))
    keys = sorted(unused.keys() - needed, key=lambda key: (unused[key], key))
    return keys[:limit]


def list_unshared_keys(tables: MemoryTables, job_id: str) -> list[str]:
    """Return the keys of objects that only this job needs."""
    mine = {key for key, owner in tables.files if owner == job_id}
    return list(mine - {key for key, owner in tables.files if owner != job_id})


def write_file_changes(tables: MemoryTables, changes: FileChanges) -> None:
    """Add and drop references, and add deletions."""
    for key, job_id in list(tables.files):
        if key in changes.dropped_keys or job_id in changes.dropped_jobs:
            del tables.files[key, job_id]
    for file in changes.added:
        tables.files.setdefault((file.key, file.job_id), file.finished_at)
    for deletion in changes.deletions:
        tables.deletions.setdefault(deletion.key, deletion)
