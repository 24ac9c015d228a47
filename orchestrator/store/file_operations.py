"""Operations of `FileStore` with rules, the same for every implementation; see `operations`.

`orchestrator.jobs.objects` describes the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from orchestrator.billing.changes import Changes
from orchestrator.errors import Gone, InvalidRequest, ServiceUnavailable
from orchestrator.jobs import Job
from orchestrator.jobs.objects import (
    LORA_PREFIX,
    DeletionReason,
    FileChanges,
    JobFile,
    condemn,
    object_owner,
    unneeded_keys,
)
from orchestrator.store.lookup import found
from orchestrator.store.transaction import Transaction


def reference_inputs(tx: Transaction, job: Job, keys: Sequence[str]) -> FileChanges:
    """Return the references of a new job.

    Raises ServiceUnavailable if a file was condemned meanwhile, InvalidRequest if that of a LoRA was.
    """
    if condemned := tx.find_condemned_keys(keys):
        if any(key.startswith(LORA_PREFIX) for key in condemned):
            raise InvalidRequest(
                "A LoRA of the request was deleted meanwhile", code="lora_deleted", param="loras"
            )
        raise ServiceUnavailable(
            f"The upload of input file {sorted(condemned)[0]!r} took too long; send the request again",
            code="input_expired",
            retry_after=1,
        )
    return FileChanges(added=tuple(JobFile(key=key, job_id=job.id) for key in dict.fromkeys(keys)))


def discard_outputs(tx: Transaction, keys: Sequence[str], now: datetime) -> FileChanges:
    """Return the deletions of the outputs of an attempt whose shard does not take them."""
    return condemn(unneeded_keys(keys, _spared_keys(tx, keys), ()), DeletionReason.UNUSED, now)


def discard_files(tx: Transaction, keys: Sequence[str], reason: DeletionReason, now: datetime) -> list[str]:
    """Condemn objects that no job and no running attempt needs, and return their keys."""
    tx.lock_objects(keys)
    unnamed = unneeded_keys(keys, _spared_keys(tx, keys), ())
    owners = {owner for key in unnamed if (owner := object_owner(key)) is not None}
    attempts = (tx.find_attempt(owner) for owner in owners)
    running = {one.prompt_id for one in attempts if one is not None and one.ended_at is None}
    unneeded = unneeded_keys(unnamed, (), running)
    if unneeded:
        tx.apply_changes(Changes(files=condemn(unneeded, reason, now)))
    return unneeded


def _spared_keys(tx: Transaction, keys: Sequence[str]) -> set[str]:
    """Return the objects that a job needs, and those that are condemned already."""
    return tx.find_referenced_keys(keys) | tx.find_condemned_keys(keys)


def add_job_file(tx: Transaction, job_id: str, key: str) -> None:
    """Add a reference of an existing job. Raises NotFound, Gone if the job or the object is deleted."""
    tx.lock_job(job_id)
    tx.lock_objects([key])
    job = found(tx.find_job(job_id), "job", job_id).job
    if job.removed_at is not None or tx.find_condemned_keys([key]):
        raise Gone("The job was deleted", code="job_deleted")
    added = JobFile(key=key, job_id=job_id, finished_at=job.finished_at)
    tx.apply_changes(Changes(files=FileChanges(added=(added,))))


def remove_job(tx: Transaction, job_id: str, now: datetime) -> list[str]:
    """Hide a job with its LoRA and condemn the objects that no other job needs; return their keys, sorted."""
    tx.lock_job(job_id)
    job = found(tx.find_job(job_id), "job", job_id).job
    tx.lock_objects(tx.list_unshared_keys(job_id))
    keys = sorted(tx.list_unshared_keys(job_id))
    files = FileChanges(dropped_jobs=(job_id,)) + condemn(keys, DeletionReason.REMOVED, now)
    removed = replace(job, removed_at=job.removed_at or now)
    tx.apply_changes(Changes(removed_job=removed, files=files, deleted_loras=(job_id,)))
    return keys


def expire_files(tx: Transaction, before: datetime, limit: int, now: datetime) -> list[str]:
    """Condemn objects that only jobs finished before `before` need; return their keys."""
    unused = tx.list_unused_keys(before, limit)
    tx.lock_objects(unused)
    keys = [key for key in tx.list_unused_keys(before, limit) if key in unused]
    if keys:
        files = FileChanges(dropped_keys=tuple(keys)) + condemn(keys, DeletionReason.EXPIRED, now)
        tx.apply_changes(Changes(files=files))
    return keys


def expire_loras(tx: Transaction, before: datetime, limit: int, now: datetime) -> int:
    """Delete LoRAs that were trained before `before`, and return how many.

    The training job has expired by then; references of other jobs stay until they expire too.
    """
    old = tx.list_old_loras(before, limit)
    tx.lock_objects([lora.key for lora in old])
    job_ids = tuple(lora.job_id for lora in old)
    unneeded = [lora.key for lora in old if lora.key in tx.list_unshared_keys(lora.job_id)]
    files = FileChanges(dropped_jobs=job_ids) + condemn(unneeded, DeletionReason.EXPIRED, now)
    if old:
        tx.apply_changes(Changes(files=files, deleted_loras=job_ids))
    return len(old)
