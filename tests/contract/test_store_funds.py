"""Refunds, corrections, allowances, statements and metering: every store."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from orchestrator.billing.metering import meter_job
from orchestrator.errors import Conflict, InsufficientBalance, InvalidRequest, NotFound
from orchestrator.jobs import JobError, Usage
from orchestrator.store import ApiKeyLimits
from pricing.costs import CostRates, MeteredUsage
from pricing.ledger import EntryKind
from tests.support.store_harness import PICTURE, START, StoreHarness

MARCH, APRIL, MAY = (datetime(2026, month, 1, 12, tzinfo=UTC) for month in (3, 4, 5))


async def test_a_refund_gives_back_what_was_charged(world: StoreHarness) -> None:
    job = (await world.succeed(price=100_000)).job
    balance = await world.store.refund(job.id, 30_000, "ticket 1", world.later())
    assert balance.available == 930_000
    assert (await world.store.refund(job.id, None, "ticket 2", world.later())).available == 1_000_000
    for again in (None, 70_000):
        assert (await world.store.refund(job.id, again, "ticket 2", world.later())).available == 1_000_000
    assert [row.revenue for row in await world.store.list_metered_usage()] == [0]


@pytest.mark.parametrize("micros", [0, -1, 100_001])
async def test_no_more_is_refunded_than_was_charged(world: StoreHarness, micros: int) -> None:
    job = (await world.succeed(price=100_000)).job
    with pytest.raises(InvalidRequest):
        await world.store.refund(job.id, micros, "ticket", world.later())


async def test_refunds_at_once_stay_within_the_charge(world: StoreHarness) -> None:
    job = (await world.succeed(price=100_000)).job
    attempts = [world.store.refund(job.id, 30_000, f"ticket {n}", world.now) for n in range(10)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(outcome, InvalidRequest) for outcome in outcomes) == 7
    assert await world.wallet() == (990_000, 0)


async def test_what_was_not_charged_is_not_refunded(world: StoreHarness) -> None:
    record = await world.add()
    with pytest.raises(Conflict):
        await world.store.refund(record.job.id, None, "ticket", world.now)
    with pytest.raises(NotFound):
        await world.store.refund("nothing", None, "ticket", world.now)


async def test_money_can_be_paid_back_but_not_more_than_is_there(world: StoreHarness) -> None:
    await world.add(price=400_000)
    with pytest.raises(InsufficientBalance):
        await world.store.debit(world.account.id, 600_001, "payout", world.now)
    for _ in range(2):
        balance = await world.store.debit(world.account.id, 600_000, "payout", world.now)
        assert (balance.available, balance.held) == (0, 400_000)
    with pytest.raises(Conflict):
        await world.store.debit(world.account.id, 1, "payout", world.now)


async def test_grants_count_as_promotion(world: StoreHarness) -> None:
    await world.store.grant(world.account.id, 5_000, "welcome", world.now)
    entry = (await world.store.list_ledger_entries(world.account.id)).items[0]
    assert (entry.kind, entry.source) == (EntryKind.GRANT, "promotions")
    assert await world.store.remaining_allowance(world.account.id) == 0
    with pytest.raises(InvalidRequest):
        await world.store.grant(world.account.id, 5_000, "plan 2026-03-01", world.now)


async def test_an_unspent_allowance_expires_at_the_end_of_the_month(world: StoreHarness) -> None:
    await world.store.renew_allowance(world.account.id, 100_000, MARCH, MARCH)
    await world.succeed(price=30_000)
    assert await world.store.remaining_allowance(world.account.id) == 70_000
    balance = await world.store.renew_allowance(world.account.id, 100_000, APRIL, APRIL)
    assert balance.available == 1_000_000 + 100_000
    assert await world.store.remaining_allowance(world.account.id) == 100_000
    assert (await world.store.renew_allowance(world.account.id, 0, MAY, MAY)).available == 1_000_000


async def test_a_month_without_an_allowance_ends_the_last_one_for_good(world: StoreHarness) -> None:
    await world.store.renew_allowance(world.account.id, 100_000, MARCH, MARCH)
    job = (await world.succeed(price=40_000)).job
    await world.store.renew_allowance(world.account.id, 0, APRIL, APRIL)
    assert await world.store.remaining_allowance(world.account.id) == 0
    await world.store.refund(job.id, None, "ticket", APRIL)
    assert (await world.store.renew_allowance(world.account.id, 0, MAY, MAY)).available == 1_040_000


async def test_an_allowance_that_was_spent_leaves_the_payments_alone(world: StoreHarness) -> None:
    await world.store.renew_allowance(world.account.id, 100_000, MARCH, MARCH)
    await world.succeed(price=250_000)
    balance = await world.store.renew_allowance(world.account.id, 100_000, APRIL, APRIL)
    assert balance.available == 850_000 + 100_000


async def test_renewing_twice_or_with_a_clock_set_back_changes_nothing(world: StoreHarness) -> None:
    await world.store.renew_allowance(world.account.id, 100_000, APRIL, APRIL)
    renewals = [
        world.store.renew_allowance(world.account.id, 100_000, when, when) for when in (APRIL, MARCH, APRIL)
    ]
    assert {balance.available for balance in await asyncio.gather(*renewals)} == {1_100_000}


async def test_a_clock_set_back_charges_once_and_keeps_the_caps(world: StoreHarness) -> None:
    await world.store.set_key_limits(world.key.id, ApiKeyLimits(day_cap=15_000, month_cap=15_000))
    record = await world.add(price=10_000)
    attempt = await world.start(record)
    world.later(-timedelta(days=40).total_seconds())
    for _ in range(2):
        await world.finish(attempt)
    assert await world.wallet() == (990_000, 0)
    statement = await world.store.get_statement(world.account.id, world.now - timedelta(days=1), START)
    assert statement.net_charges == 10_000
    with pytest.raises(InsufficientBalance):
        await world.add(price=10_000)


async def test_a_held_allowance_does_not_expire(world: StoreHarness) -> None:
    await world.store.renew_allowance(world.account.id, 100_000, MARCH, MARCH)
    record = await world.add(price=1_050_000)
    balance = await world.store.renew_allowance(world.account.id, 0, APRIL, APRIL)
    assert (balance.available, balance.held) == (0, 1_050_000)
    await world.store.cancel_job(record.job.id, world.later())


async def test_a_plan_change_starts_a_new_billing_month(world: StoreHarness) -> None:
    when = world.later()
    account = await world.store.set_plan(world.account.id, "pro", when)
    assert (account.plan, account.plan_since) == ("pro", when)
    assert await world.store.set_plan(world.account.id, "pro", world.later()) == account
    assert (await world.store.get_key(world.key.id)).account == account


async def test_a_statement_adds_up_from_opening_to_closing_balance(world: StoreHarness) -> None:
    await world.succeed(price=100_000)
    since = world.later()
    job = (await world.succeed(price=50_000)).job
    await world.store.refund(job.id, 20_000, "ticket", world.later())
    held = await world.add(price=10_000)
    until = world.later()
    await world.store.cancel_job(held.job.id, world.later())
    statement = await world.store.get_statement(world.account.id, since, until)
    assert (statement.opening, statement.closing, statement.net_charges) == (900_000, 870_000, 30_000)
    before = await world.store.get_statement(world.account.id, START, since)
    assert (before.opening, before.closing) == (0, 900_000)
    after = await world.store.get_statement(world.account.id, until, world.later())
    assert (after.opening, after.closing) == (870_000, sum(await world.wallet()))


async def test_work_is_metered_by_day_model_and_device(world: StoreHarness) -> None:
    used = Usage(gpu_seconds=2, load_seconds=0.5, peak_vram=9, device="NVIDIA H200", model_digest="d")
    record = await world.add(n=3, price=10_000)
    for index in range(3):
        done = await world.finish(await world.start(record, index), usage=used)
    assert done.shards[0].usage == used
    await world.store.record_bytes_sent(done.job.id, 500, world.now)
    assert await world.store.list_metered_usage() == [
        MeteredUsage(
            day=date(2026, 3, 1),
            model="sdxl-1.0",
            device="NVIDIA H200",
            shards=3,
            gpu_seconds=6,
            load_seconds=1.5,
            bytes_stored=3 * PICTURE.size,
            bytes_sent=500,
            revenue=10_000,
        )
    ]
    assert await world.store.list_metered_usage(since=date(2026, 3, 2)) == []
    (margin,) = CostRates.load().margins(meter_job(done), group_by=lambda row: row.model)
    assert (margin.revenue, margin.shards, margin.gpu_seconds) == (10_000, 3, 6)


async def test_work_for_a_job_that_failed_is_a_cost_without_revenue(world: StoreHarness) -> None:
    record = await world.add(n=2)
    await world.finish(await world.start(record, 0), usage=Usage(gpu_seconds=3, simulated=True))
    failed = await world.store.fail_job(record.job.id, JobError(code="c", message="m"), world.later())
    (row,) = await world.store.list_metered_usage()
    assert (row.gpu_seconds, row.revenue, row.device) == (3, 0, "simulated")
    assert [row.revenue for row in meter_job(failed)] == [0]
