"""What shards used and what they earned, in the words of the cost sheet. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from orchestrator.jobs import JobRecord, JobStatus, Shard
from pricing.costs import Metered
from pricing.money import split


def of_shard(shard: Shard, model: str, day: date) -> Metered:
    """The work of a shard that gave outputs on `day`."""
    return Metered(
        day=day,
        model=model,
        device=device(shard),
        shards=1,
        gpu_seconds=shard.usage.gpu_seconds,
        load_seconds=shard.usage.load_seconds,
        bytes_stored=sum(output.size for output in shard.outputs),
    )


def revenue_of(record: JobRecord, day: date) -> list[Metered]:
    """The price of a job, shared equally among its shards."""
    shares = split(record.job.price, len(record.shards))
    return [
        Metered(day=day, model=record.job.model, device=device(shard), revenue=share)
        for shard, share in zip(record.shards, shares, strict=True)
    ]


def of_job(record: JobRecord) -> list[Metered]:
    """One row for each shard with outputs, with its share of the price if the job succeeded."""
    day = (record.job.finished_at or record.job.created_at).date()
    earned = record.job.status is JobStatus.SUCCEEDED
    return [
        replace(of_shard(shard, record.job.model, day), revenue=row.revenue if earned else 0)
        for shard, row in zip(record.shards, revenue_of(record, day), strict=True)
        if shard.outputs
    ]


def device(shard: Shard) -> str:
    return shard.usage.device or ("simulated" if shard.usage.simulated else "")
