"""What a job has to tell while it runs, as lines of text: some dialects call that its logs."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.jobs import JobRecord, JobStatus, ShardStatus
from orchestrator.jobs.events import JobEvent, ShardProgress

_BAR_LENGTH = 20


def job_log_lines(record: JobRecord, events: Iterable[JobEvent]) -> list[str]:
    """Return the seed, and how far each running shard or the finished job has come.

    `events` are the latest ones of the job. Progress is written as tqdm does, which clients parse.
    """
    job = record.job
    lines = [f"Using seed: {job.params['seed']}"] if job.params.get("seed") is not None else []
    lines += [f"Warning: {warning}" for warning in job.warnings]
    if job.status is JobStatus.RUNNING:
        running = {shard.index for shard in record.shards if shard.status is ShardStatus.RUNNING}
        lines += [
            progress_line(event)
            for event in events
            if isinstance(event, ShardProgress) and event.index in running
        ]
    done = sum(shard.status is ShardStatus.SUCCEEDED for shard in record.shards)
    if done:
        lines.append(_bar(done, len(record.shards)))
    if job.error is not None:
        lines.append(f"Error: {job.error.message}")
    if job.status is JobStatus.CANCELLED:
        lines.append("Canceled")
    return lines


def progress_line(event: ShardProgress) -> str:
    """Return the progress of a node of a shard."""
    return _bar(round(event.value), max(round(event.maximum), 1))


def _bar(value: int, maximum: int) -> str:
    share = min(value / maximum, 1.0)
    filled = round(share * _BAR_LENGTH)
    return f"{round(share * 100):3d}%|{'#' * filled}{'-' * (_BAR_LENGTH - filled)}| {value}/{maximum}"
