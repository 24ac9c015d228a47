"""What shards used and what they earned, in the words of the cost sheet. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from orchestrator.jobs import JobRecord, JobStatus, Shard
from pricing.costs import MeteredUsage
from pricing.money import split_evenly


def meter_shard(shard: Shard, model: str, day: date) -> MeteredUsage:
    """The work of a shard that gave outputs on `day`."""
    return MeteredUsage(
        day=day,
        model=model,
        device=device_name(shard),
        shards=1,
        gpu_seconds=shard.usage.gpu_seconds,
        load_seconds=shard.usage.load_seconds,
        bytes_stored=sum(output.size for output in shard.outputs),
    )


def meter_revenue(record: JobRecord, day: date) -> list[MeteredUsage]:
    """The price of a job, shared equally among its shards."""
    shares = split_evenly(record.job.price, len(record.shards))
    return [
        MeteredUsage(day=day, model=record.job.model, device=device_name(shard), revenue=share)
        for shard, share in zip(record.shards, shares, strict=True)
    ]


def meter_job(record: JobRecord) -> list[MeteredUsage]:
    """One row for each shard with outputs, with its share of the price if the job succeeded."""
    day = (record.job.finished_at or record.job.created_at).date()
    earned = record.job.status is JobStatus.SUCCEEDED
    return [
        replace(meter_shard(shard, record.job.model, day), revenue=row.revenue if earned else 0)
        for shard, row in zip(record.shards, meter_revenue(record, day), strict=True)
        if shard.outputs
    ]


def device_name(shard: Shard) -> str:
    return shard.usage.device or ("simulated" if shard.usage.simulated else "")
