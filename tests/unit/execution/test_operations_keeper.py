"""What the service notes by itself: changed prices, old events, stuck jobs, the audit of the books."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from orchestrator.app.operations_keeper import OperationsKeeper
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.jobs import Job, create_shards
from orchestrator.store.memory import MemoryStore
from orchestrator.store.operator_events import OperatorEvent
from orchestrator.web.metrics.operations import OperationsMetrics
from pricing.costs import CostRates
from pricing.tariff import Tariff

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Prices:
    """A price list."""

    prices: dict[str, int] = field(default_factory=lambda: {"image": 3000, "video": 90_000})

    def base_micros(self, name: str) -> int:
        return self.prices[name]


class NoShards:
    """A scheduler that knows no job."""

    def unfinished_shards(self) -> list[Any]:
        return []


@pytest.fixture
def prices() -> Prices:
    return Prices()


def make_keeper(
    store: MemoryStore, prices: Prices, clock: Callable[[], datetime] = lambda: NOW
) -> OperationsKeeper:
    return OperationsKeeper(
        store=store,
        dispatcher=cast(Dispatcher, NoShards()),
        metrics=OperationsMetrics(),
        read_tariff=lambda: cast(Tariff, prices),
        costs=CostRates.load(),
        event_lifetime=timedelta(days=30),
        audit_seconds=3600,
        clock=clock,
    )


async def test_records_prices_once_and_again_when_they_have_changed(prices: Prices) -> None:
    store = MemoryStore()
    keeper = make_keeper(store, prices)
    await keeper._note_prices()
    await keeper._note_prices()
    # Another start of the service finds the same prices.
    again = make_keeper(store, prices)
    await again._note_prices()
    before = {name: f"{micros / 1e6:.6f}" for name, micros in prices.prices.items()}
    prices.prices |= {"video": 80_000, "upscale": 1000}
    await again._note_prices()
    newest, first = (await store.list_operator_events()).items
    assert (first.action, first.actor) == ("prices.change", "service")
    assert first.detail == {"changed": sorted(before), "before": {}, "prices": before}
    assert newest.detail["changed"] == ["upscale", "video"]
    assert newest.detail["before"] == {"video": before["video"]}
    assert newest.detail["prices"]["video"] == "0.080000"


async def test_forgets_events_that_are_too_old(prices: Prices) -> None:
    store = MemoryStore()
    for days in (31, 29):
        at = NOW - timedelta(days=days)
        await store.add_operator_event(
            OperatorEvent(at=at, actor="a", action="keys.create", subject=str(days))
        )
    await make_keeper(store, prices)._forget_events()
    assert [event.subject for event in (await store.list_operator_events()).items] == ["29"]


async def test_counts_old_jobs_that_the_scheduler_does_not_know(prices: Prices) -> None:
    store = MemoryStore()
    account = await store.add_account("a", "free", NOW)
    for minutes in (11, 9):
        job = Job(
            id=f"job-{minutes}",
            account_id=account.id,
            key_id="key",
            model="sdxl-1.0",
            params={},
            price=0,
            created_at=NOW - timedelta(minutes=minutes),
        )
        await store.add_job(job, create_shards(job, 1))
    keeper = make_keeper(store, prices)
    await keeper._look()
    await keeper._audit()
    figures = keeper.metrics.figures
    assert figures is not None
    assert (figures.stuck_jobs, figures.violations) == (1, 0)
    assert figures.backlog.oldest_job == NOW - timedelta(minutes=11)
