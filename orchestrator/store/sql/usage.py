"""Daily usage totals: of succeeded jobs for callers, of metered work and revenue for operators."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import row_to_metered_usage, row_to_usage
from orchestrator.store.values import UsageRow
from pricing.costs import MeteredUsage


def list_usage(
    db: Database, since: date | None, until: date | None, account_id: str | None
) -> list[UsageRow]:
    condition, values = ("", ()) if account_id is None else ("AND account_id = ?", (account_id,))
    rows = db.execute(
        f"""SELECT * FROM usage_days WHERE day >= ? AND day < ? {condition}
        ORDER BY day, account_id, key_id, model, simulated""",
        (*_day_bounds(since, until), *values),
    )
    return [row_to_usage(row) for row in rows]


def list_metered_usage(db: Database, since: date | None, until: date | None) -> list[MeteredUsage]:
    rows = db.execute(
        "SELECT * FROM meter_days WHERE day >= ? AND day < ? ORDER BY day, model, device",
        _day_bounds(since, until),
    )
    return [row_to_metered_usage(row) for row in rows]


def add_metered_usage(db: Database, rows: Iterable[MeteredUsage]) -> None:
    """Add to the operator's totals of days, models and devices, in a fixed order and each of them once."""
    totals: dict[tuple[date, str, str], MeteredUsage] = {}
    for row in rows:
        key = (row.day, row.model, row.device)
        totals[key] = totals[key] + row if key in totals else row
    for key in sorted(totals):
        _add_metered_row(db, totals[key])


def _add_metered_row(db: Database, row: MeteredUsage) -> None:
    db.execute(
        """INSERT INTO meter_days
            (day, model, device, shards, gpu_seconds, load_seconds, bytes_stored, bytes_sent, revenue)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (day, model, device) DO UPDATE SET
            shards = meter_days.shards + excluded.shards,
            gpu_seconds = meter_days.gpu_seconds + excluded.gpu_seconds,
            load_seconds = meter_days.load_seconds + excluded.load_seconds,
            bytes_stored = meter_days.bytes_stored + excluded.bytes_stored,
            bytes_sent = meter_days.bytes_sent + excluded.bytes_sent,
            revenue = meter_days.revenue + excluded.revenue""",
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


def add_usage(db: Database, row: UsageRow) -> None:
    """Add to the caller's totals of a day, account, key and model."""
    db.execute(
        """INSERT INTO usage_days
            (day, account_id, key_id, model, simulated, jobs, outputs, micros, gpu_seconds)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (day, account_id, key_id, model, simulated) DO UPDATE SET
            jobs = usage_days.jobs + excluded.jobs,
            outputs = usage_days.outputs + excluded.outputs,
            micros = usage_days.micros + excluded.micros,
            gpu_seconds = usage_days.gpu_seconds + excluded.gpu_seconds""",
        (
            row.day.isoformat(),
            row.account_id,
            row.key_id,
            row.model,
            row.simulated,
            row.jobs,
            row.outputs,
            row.micros,
            row.gpu_seconds,
        ),
    )


def _day_bounds(since: date | None, until: date | None) -> tuple[str, str]:
    return (since or date.min).isoformat(), (until or date.max).isoformat()
