"""What finished work came to, added up by day as it happens: for callers, and for operators."""

from __future__ import annotations

import sqlite3
from datetime import date, datetime

from orchestrator.jobs import JobRecord, Shard
from orchestrator.store import metering
from orchestrator.store.sqlite.jobs import require_job
from orchestrator.store.sqlite.rows import row_to_metered_usage, row_to_usage
from orchestrator.store.values import UsageRow
from pricing.costs import MeteredUsage


def list_usage(
    db: sqlite3.Connection, since: date | None, until: date | None, account_id: str | None
) -> list[UsageRow]:
    rows = db.execute(
        """SELECT * FROM usage_days
        WHERE day >= ? AND day < ? AND (? IS NULL OR account_id = ?)
        ORDER BY day, account_id, key_id, model, simulated""",
        (*_day_bounds(since, until), account_id, account_id),
    )
    return [row_to_usage(row) for row in rows]


def list_metered_usage(db: sqlite3.Connection, since: date | None, until: date | None) -> list[MeteredUsage]:
    rows = db.execute(
        "SELECT * FROM meter_days WHERE day >= ? AND day < ? ORDER BY day, model, device",
        _day_bounds(since, until),
    )
    return [row_to_metered_usage(row) for row in rows]


def record_shard_usage(db: sqlite3.Connection, shard: Shard, model: str, now: datetime) -> None:
    _add_metered_usage(db, metering.meter_shard(shard, model, now.date()))


def record_job_usage(db: sqlite3.Connection, record: JobRecord, now: datetime) -> None:
    """A succeeded job: what its caller gets billed, and what it earned."""
    for row in metering.meter_revenue(record, now.date()):
        _add_metered_usage(db, row)
    job = record.job
    db.execute(
        """INSERT INTO usage_days
            (day, account_id, key_id, model, simulated, jobs, outputs, micros, gpu_seconds)
        VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)
        ON CONFLICT (day, account_id, key_id, model, simulated) DO UPDATE SET
            jobs = jobs + 1,
            outputs = outputs + excluded.outputs,
            micros = micros + excluded.micros,
            gpu_seconds = gpu_seconds + excluded.gpu_seconds""",
        (
            now.date().isoformat(),
            job.account_id,
            job.key_id,
            job.model,
            int(record.is_simulated),
            len(record.outputs),
            job.price,
            sum(shard.usage.gpu_seconds for shard in record.shards),
        ),
    )


def record_refund(db: sqlite3.Connection, record: JobRecord, micros: int, now: datetime) -> None:
    device = metering.device_name(record.shards[0])
    _add_metered_usage(
        db, MeteredUsage(day=now.date(), model=record.job.model, device=device, revenue=-micros)
    )


def record_bytes_sent(db: sqlite3.Connection, job_id: str, size: int, now: datetime) -> None:
    """Raises NotFound."""
    record = require_job(db, job_id)
    device = metering.device_name(record.shards[0])
    _add_metered_usage(
        db, MeteredUsage(day=now.date(), model=record.job.model, device=device, bytes_sent=size)
    )


def _add_metered_usage(db: sqlite3.Connection, row: MeteredUsage) -> None:
    db.execute(
        """INSERT INTO meter_days
            (day, model, device, shards, gpu_seconds, load_seconds, bytes_stored, bytes_sent, revenue)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (day, model, device) DO UPDATE SET
            shards = shards + excluded.shards,
            gpu_seconds = gpu_seconds + excluded.gpu_seconds,
            load_seconds = load_seconds + excluded.load_seconds,
            bytes_stored = bytes_stored + excluded.bytes_stored,
            bytes_sent = bytes_sent + excluded.bytes_sent,
            revenue = revenue + excluded.revenue""",
        (
            row.day.isoformat(),
            row.model,
            row.device,
            row.shards,
            row.gpu_seconds,
            row.load_seconds,
            row.bytes_stored,
            row.bytes_sent,
            row.revenue,
        ),
    )


def _day_bounds(since: date | None, until: date | None) -> tuple[str, str]:
    return (since or date.min).isoformat(), (until or date.max).isoformat()
