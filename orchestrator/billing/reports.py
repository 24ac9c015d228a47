"""What was made and what it came to, added up by day, key or model; what it earned, for operators. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.jobs import JobRecord
from orchestrator.store import UsageRow
from orchestrator.store.metering import meter_job
from pricing.costs import CostRates, Margin, MeteredUsage
from pricing.money import format_usd, to_usd
from pricing.statement import format_csv


class By(StrEnum):
    """What usage is added up by."""

    MODEL = "model"
    KEY = "key"
    DAY = "day"


class MarginBy(StrEnum):
    """What costs and earnings are added up by."""

    MODEL = "model"
    DAY = "day"
    DEVICE = "device"


_HEADINGS: Mapping[By, Callable[[UsageRow], str]] = {
    By.MODEL: lambda row: row.model,
    By.KEY: lambda row: row.key_id,
    By.DAY: lambda row: row.day.isoformat(),
}
_MARGIN_HEADINGS: Mapping[MarginBy, Callable[[MeteredUsage], str]] = {
    MarginBy.MODEL: lambda row: row.model,
    MarginBy.DAY: lambda row: row.day.isoformat(),
    MarginBy.DEVICE: lambda row: row.device or "unknown",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """All usage under one heading."""

    heading: str
    jobs: int
    outputs: int
    #: Micro-dollars.
    micros: int
    gpu_seconds: float

    @classmethod
    def of(cls, heading: str, rows: Sequence[UsageRow]) -> Total:
        return cls(
            heading=heading,
            jobs=sum(row.jobs for row in rows),
            outputs=sum(row.outputs for row in rows),
            micros=sum(row.micros for row in rows),
            gpu_seconds=sum(row.gpu_seconds for row in rows),
        )


def totals(rows: Iterable[UsageRow], by: By) -> list[Total]:
    """One total per heading, in the order of the headings."""
    groups: dict[str, list[UsageRow]] = {}
    for row in rows:
        groups.setdefault(_HEADINGS[by](row), []).append(row)
    return [Total.of(heading, group) for heading, group in sorted(groups.items())]


def margins(rows: Iterable[MeteredUsage], costs: CostRates, by: MarginBy) -> list[Margin[str]]:
    """One margin per heading, in the order of the headings."""
    return sorted(costs.margins(rows, _MARGIN_HEADINGS[by]), key=lambda margin: margin.key)


def total_view(total: Total) -> dict[str, object]:
    return {
        "jobs": total.jobs,
        "outputs": total.outputs,
        "cost_usd": to_usd(total.micros),
        "gpu_seconds": round(total.gpu_seconds, 3),
    }


def margin_view(margin: Margin[str], by: MarginBy) -> dict[str, object]:
    """What an operator sees, in dollars."""
    earned = margin.revenue_per_gpu_second
    return {
        by.value: margin.key,
        "shards": margin.shards,
        "gpu_seconds": round(margin.gpu_seconds, 3),
        "revenue_usd": to_usd(margin.revenue),
        "cost_usd": to_usd(margin.cost),
        "margin_usd": to_usd(margin.margin),
        "usd_per_gpu_second": None if earned is None else round(earned / 1e6, 6),
    }


def job_margin(record: JobRecord, costs: CostRates) -> dict[str, object]:
    """What one job used, earned and cost, in dollars; what was sent of it is known by model and day only."""
    by_device = margins(meter_job(record), costs, MarginBy.DEVICE)
    return {
        "job": record.job.id,
        "model": record.job.model,
        "status": record.job.status.value,
        "account": record.job.account_id,
        "shards": [
            {
                "shard": shard.id,
                "attempts": shard.attempts,
                "device": shard.usage.device,
                "gpu_seconds": round(shard.usage.gpu_seconds, 3),
                "load_seconds": round(shard.usage.load_seconds, 3),
                "peak_vram": shard.usage.peak_vram,
                "bytes_stored": sum(output.size for output in shard.outputs),
                "model_digest": shard.usage.model_digest,
            }
            for shard in record.shards
        ],
        "revenue_usd": to_usd(sum(margin.revenue for margin in by_device)),
        "cost_usd": to_usd(sum(margin.cost for margin in by_device)),
        "margin_usd": to_usd(sum(margin.margin for margin in by_device)),
    }


def totals_csv(found: Sequence[Total], by: By) -> str:
    header = (by.value, "jobs", "outputs", "usd", "gpu_seconds")
    rows = (
        (one.heading, one.jobs, one.outputs, format_usd(one.micros), round(one.gpu_seconds, 3))
        for one in found
    )
    return format_csv(header, rows)


def margins_csv(found: Sequence[Margin[str]], by: MarginBy) -> str:
    header = (by.value, "shards", "gpu_seconds", "revenue_usd", "cost_usd", "margin_usd")
    rows = (
        (
            one.key,
            one.shards,
            round(one.gpu_seconds, 3),
            format_usd(one.revenue),
            format_usd(one.cost),
            format_usd(one.margin),
        )
        for one in found
    )
    return format_csv(header, rows)
