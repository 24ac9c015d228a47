"""What may go wrong beside jobs: disk, database, webhooks, object storage, books, margins and stuck jobs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator.store.job_search import Backlog


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationsFigures:
    """What the leading process has found out lately."""

    at: datetime
    backlog: Backlog
    #: Unfinished jobs that the scheduler does not know although they were accepted long ago.
    stuck_jobs: int = 0
    #: Dollars of today (UTC) by model: revenue and cost.
    revenue: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    #: Rules of the ledger that do not hold; None before the first audit.
    violations: int | None = None


class OperationsMetrics(Collector):
    """Collects the gauges. What this process does not know is left out."""

    def __init__(self) -> None:
        self.figures: OperationsFigures | None = None
        #: Directory whose disk is watched, and the database file beside which SQLite keeps its log.
        self.data_dir: Path | None = None
        self.database: Path | None = None
        self.read_storage_errors: Callable[[], Mapping[str, int]] = dict

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges (called by the Prometheus client)."""
        yield from self._collect_disk()
        errors = CounterMetricFamily(
            "pixelfactory_object_store_errors", "Calls of object storage that failed", labels=["kind"]
        )
        for kind, count in self.read_storage_errors().items():
            errors.add_metric([kind], count)
        yield errors
        if self.figures is not None:
            yield from _collect_figures(self.figures)

    def _collect_disk(self) -> Iterator[Metric]:
        if self.data_dir is not None:
            with suppress(OSError):
                usage = shutil.disk_usage(self.data_dir)
                yield _gauge("disk_free_bytes", "Free space on the disk of the data directory", usage.free)
                yield _gauge("disk_total_bytes", "Size of the disk of the data directory", usage.total)
        if self.database is not None:
            log = self.database.with_name(f"{self.database.name}-wal")
            size = 0
            with suppress(OSError):
                size = log.stat().st_size
            yield _gauge("database_wal_bytes", "Size of the write-ahead log of the SQLite database", size)


def _collect_figures(figures: OperationsFigures) -> Iterator[Metric]:
    backlog = figures.backlog
    yield _gauge("webhooks_due", "Webhook messages that are due", backlog.webhooks_due)
    yield _gauge(
        "oldest_webhook_seconds",
        "Since when the oldest webhook message is due",
        _age(backlog.oldest_webhook, figures.at),
    )
    yield _gauge(
        "oldest_job_seconds", "Age of the oldest unfinished job", _age(backlog.oldest_job, figures.at)
    )
    yield _gauge(
        "jobs_stuck",
        "Unfinished jobs that the scheduler does not know, older than ten minutes",
        figures.stuck_jobs,
    )
    if figures.violations is not None:
        yield _gauge("ledger_violations", "Rules of the ledger that do not hold", figures.violations)
    for name, meaning, by_model in (
        ("day_revenue_usd", "Amount charged for work of today (UTC), less refunds", figures.revenue),
        ("day_cost_usd", "Cost of the work of today (UTC), by the costs file", figures.cost),
    ):
        metric = GaugeMetricFamily(f"pixelfactory_{name}", meaning, labels=["model"])
        for model, usd in by_model.items():
            metric.add_metric([model], usd)
        yield metric


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"pixelfactory_{name}", documentation, value=value)
