"""Metered usage of shards and jobs: GPU seconds, stored bytes and revenue per model and device."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from orchestrator.billing.values import UsageRow
from orchestrator.jobs import JobRecord, JobStatus, Shard
from pricing.costs import MeteredUsage
from pricing.money import split_evenly


def meter_shard(shard: Shard, model: str, day: date) -> MeteredUsage:
    """Return the usage of a shard that succeeded on `day`, without revenue."""
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
    """Return the job's price, split evenly over its shards that have outputs."""
    shards = _shards_with_outputs(record)
    shares = split_evenly(record.job.price, len(shards)) if shards else []
    return [
        MeteredUsage(day=day, model=record.job.model, device=device_name(shard), revenue=share)
        for shard, share in zip(shards, shares, strict=True)
    ]


def meter_refund(record: JobRecord, micros: int, day: date) -> MeteredUsage:
    """Return the negative revenue of a refund, on the device of the first shard."""
    device = device_name(record.shards[0])
    return MeteredUsage(day=day, model=record.job.model, device=device, revenue=-micros)


def meter_bytes_sent(record: JobRecord, size: int, day: date) -> MeteredUsage:
    """Return `size` bytes delivered of the job's outputs, on the device of the first shard."""
    device = device_name(record.shards[0])
    return MeteredUsage(day=day, model=record.job.model, device=device, bytes_sent=size)


def meter_job(record: JobRecord) -> list[MeteredUsage]:
    """Return one row per shard with outputs; the rows share the price if the job succeeded."""
    day = (record.job.finished_at or record.job.created_at).date()
    earned = record.job.status is JobStatus.SUCCEEDED
    return [
        replace(meter_shard(shard, record.job.model, day), revenue=row.revenue if earned else 0)
        for shard, row in zip(_shards_with_outputs(record), meter_revenue(record, day), strict=True)
    ]


def _shards_with_outputs(record: JobRecord) -> list[Shard]:
    return [shard for shard in record.shards if shard.outputs]


def job_usage_row(record: JobRecord, day: date) -> UsageRow:
    """Return what a succeeded job adds to the daily totals of its account, key and model."""
    job = record.job
    return UsageRow(
        day=day,
        account_id=job.account_id,
        key_id=job.key_id,
        model=job.model,
        simulated=record.is_simulated,
        jobs=1,
        outputs=len(record.outputs),
        micros=job.price,
        gpu_seconds=sum(shard.usage.gpu_seconds for shard in record.shards),
    )


def device_name(shard: Shard) -> str:
    """Return the GPU that ran the shard; `simulated` if a simulator named none."""
    return shard.usage.device or ("simulated" if shard.usage.simulated else "")
