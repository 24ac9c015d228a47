"""Usage and margin reports, grouped by day, key, model or device. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.billing.metering import meter_job
from orchestrator.billing.values import UsageRow
from orchestrator.jobs import JobRecord
from pricing.costs import CostRates, Margin, MeteredUsage
from pricing.money import format_usd, to_usd
from pricing.statement import format_csv


class UsageGroupBy(StrEnum):
    """How a usage report is grouped."""

    MODEL = "model"
    KEY = "key"
    DAY = "day"


class MarginGroupBy(StrEnum):
    """How a margin report is grouped."""

    MODEL = "model"
    DAY = "day"
    DEVICE = "device"


_USAGE_GROUP_KEYS: Mapping[UsageGroupBy, Callable[[UsageRow], str]] = {
    UsageGroupBy.MODEL: lambda row: row.model,
    UsageGroupBy.KEY: lambda row: row.key_id,
    UsageGroupBy.DAY: lambda row: row.day.isoformat(),
}
_MARGIN_GROUP_KEYS: Mapping[MarginGroupBy, Callable[[MeteredUsage], str]] = {
    MarginGroupBy.MODEL: lambda row: row.model,
    MarginGroupBy.DAY: lambda row: row.day.isoformat(),
    MarginGroupBy.DEVICE: lambda row: row.device or "unknown",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageGroupTotal:
    """Total usage of one group."""

    group: str
    jobs: int
    outputs: int
    #: Micro-dollars.
    micros: int
    gpu_seconds: float

    @classmethod
    def from_rows(cls, group: str, rows: Sequence[UsageRow]) -> UsageGroupTotal:
        return cls(
            group=group,
            jobs=sum(row.jobs for row in rows),
            outputs=sum(row.outputs for row in rows),
            micros=sum(row.micros for row in rows),
            gpu_seconds=sum(row.gpu_seconds for row in rows),
        )


def total_usage(rows: Iterable[UsageRow], group_by: UsageGroupBy) -> list[UsageGroupTotal]:
    """Return one total per group, sorted by group."""
    groups: dict[str, list[UsageRow]] = {}
    for row in rows:
        groups.setdefault(_USAGE_GROUP_KEYS[group_by](row), []).append(row)
    return [UsageGroupTotal.from_rows(key, group) for key, group in sorted(groups.items())]


def total_margins(
    rows: Iterable[MeteredUsage], costs: CostRates, group_by: MarginGroupBy
) -> list[Margin[str]]:
    """Return one margin per group, sorted by group."""
    return sorted(costs.margins(rows, _MARGIN_GROUP_KEYS[group_by]), key=lambda margin: margin.key)


def to_usage_total_response(total: UsageGroupTotal) -> dict[str, object]:
    return {
        "jobs": total.jobs,
        "outputs": total.outputs,
        "cost_usd": to_usd(total.micros),
        "gpu_seconds": round(total.gpu_seconds, 3),
    }


def to_margin_response(margin: Margin[str], group_by: MarginGroupBy) -> dict[str, object]:
    """Return a margin as JSON, in dollars."""
    earned = margin.revenue_per_gpu_second
    return {
        group_by.value: margin.key,
        "shards": margin.shards,
        "gpu_seconds": round(margin.gpu_seconds, 3),
        "revenue_usd": to_usd(margin.revenue),
        "cost_usd": to_usd(margin.cost),
        "margin_usd": to_usd(margin.margin),
        "usd_per_gpu_second": None if earned is None else round(earned / 1e6, 6),
    }


def to_job_margin_response(record: JobRecord, costs: CostRates) -> dict[str, object]:
    """Return a job's usage, revenue and cost in dollars, without the cost of delivery."""
    by_device = total_margins(meter_job(record), costs, MarginGroupBy.DEVICE)
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


def format_usage_csv(totals: Sequence[UsageGroupTotal], group_by: UsageGroupBy) -> str:
    header = (group_by.value, "jobs", "outputs", "usd", "gpu_seconds")
    rows = (
        (one.group, one.jobs, one.outputs, format_usd(one.micros), round(one.gpu_seconds, 3))
        for one in totals
    )
    return format_csv(header, rows)


def format_margins_csv(margins: Sequence[Margin[str]], group_by: MarginGroupBy) -> str:
    header = (group_by.value, "shards", "gpu_seconds", "revenue_usd", "cost_usd", "margin_usd")
    rows = (
        (
            one.key,
            one.shards,
            round(one.gpu_seconds, 3),
            format_usd(one.revenue),
            format_usd(one.cost),
            format_usd(one.margin),
        )
        for one in margins
    )
    return format_csv(header, rows)
