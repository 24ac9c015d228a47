"""What a caller sees of a job."""

from __future__ import annotations

import re
from typing import Any

from orchestrator.jobs import JobRecord, JobStatus, ShardStatus
from orchestrator.web.dialects.pixeldojo.translation import to_job_fields
from orchestrator.web.jobs.job_updates import QueuePosition
from orchestrator.web.jobs.output_urls import OutputDelivery
from pricing.money import to_cents, to_usd

_INPUT_OBJECT_KEY = re.compile(r"inputs/[0-9a-f]{2}/[0-9a-f]{64}\.[a-z0-9]+")
_OUTPUT_GROUPS = {"image": "images", "video": "videos", "audio": "audio"}
#: Our states in the words of callers who poll.
JOB_STATUS_NAMES = {
    JobStatus.QUEUED: "pending",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}


def to_job_response(record: JobRecord, delivery: OutputDelivery) -> dict[str, Any]:
    """A job. URLs are made anew each time and expire; an expired job has none any more."""
    job = record.job
    output: dict[str, list[str]] = {}
    there = job.status is JobStatus.SUCCEEDED and not delivery.expiry.is_expired(job)
    urls = [delivery.presign_url(output) for output in record.outputs] if there else []
    for url, made in zip(urls, record.outputs, strict=False):
        output.setdefault(_output_group(made.content_type), []).append(url)
    done = sum(shard.status is ShardStatus.SUCCEEDED for shard in record.shards)
    return {
        "jobId": job.id,
        "status": JOB_STATUS_NAMES[job.status],
        "model": job.model,
        "output": output,
        "shards": {"total": len(record.shards), "done": done},
        "params": {name: value for name, value in job.params.items() if not _is_input_object_key(value)},
        "costUsd": to_usd(job.price) if job.status is JobStatus.SUCCEEDED else 0.0,
        "costCents": to_cents(job.price) if job.status is JobStatus.SUCCEEDED else 0.0,
        "simulated": record.is_simulated,
        "error": {"code": job.error.code, "message": job.error.message} if job.error else None,
        "createdAt": job.created_at.isoformat(),
        "startedAt": job.started_at.isoformat() if job.started_at else None,
        "finishedAt": job.finished_at.isoformat() if job.finished_at else None,
        **to_job_fields(record, urls, delivery.expiry.expires_at(job)),
    }


def to_queue_position_response(queue_position: QueuePosition) -> dict[str, Any]:
    """Where an unfinished job stands."""
    finish = queue_position.expected_finish.isoformat() if queue_position.expected_finish else None
    return {"position": queue_position.position, "estimatedFinish": finish}


def _output_group(content_type: str) -> str:
    return _OUTPUT_GROUPS.get(content_type.partition("/")[0], "files")


def _is_input_object_key(value: object) -> bool:
    """Whether a parameter is an uploaded picture, whose place in the bucket is nobody's business."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, str) and bool(_INPUT_OBJECT_KEY.fullmatch(first))
