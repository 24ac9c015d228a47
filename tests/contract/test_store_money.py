"""Accounts, keys, wallets, usage and the audit: one suite for every store."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest

from orchestrator.errors import Conflict, InsufficientBalance, InvalidRequest, NotFound
from orchestrator.jobs import JobError, Usage
from pricing import ledger
from pricing.ledger import EntryKind
from tests.support.store_harness import StoreHarness


async def test_accounts_and_keys_are_found(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "pro", world.later())
    key = await world.store.add_key(other.id, "1" * 64, "pk-Zz9_", "server", world.later())
    assert await world.store.list_accounts() == [world.account, other]
    assert (key.account, key.name, key.is_revoked) == (other, "server", False)
    assert await world.store.find_key("1" * 64) == key == await world.store.get_key(key.id)
    assert await world.store.list_keys() == [world.key, key]
    assert await world.store.list_keys(other.id) == [key]
    assert await world.store.resolve_account(key.id) == other
    assert await world.store.resolve_account(other.id) == other


async def test_a_revoked_key_is_found_as_such(world: StoreHarness) -> None:
    when = world.later()
    revoked = await world.store.revoke_key(world.key.id, when)
    assert (revoked.is_revoked, revoked.revoked_at) == (True, when)
    assert await world.store.revoke_key(world.key.id, world.later()) == revoked
    assert await world.store.find_key(world.key.digest) == revoked


async def test_unknown_accounts_and_keys(world: StoreHarness) -> None:
    assert await world.store.find_key("f" * 64) is None
    with pytest.raises(NotFound):
        await world.store.get_key("key_none")
    with pytest.raises(NotFound):
        await world.store.revoke_key("key_none", world.now)
    with pytest.raises(NotFound):
        await world.store.resolve_account("acct_none")
    with pytest.raises(NotFound):
        await world.store.add_key("acct_none", "2" * 64, "pk-", "", world.now)
    with pytest.raises(NotFound):
        await world.store.credit("acct_none", 1, "x", world.now)
    with pytest.raises(NotFound):
        await world.store.get_balance("acct_none")
    with pytest.raises(NotFound):
        await world.store.list_ledger_entries("acct_none")


async def test_a_name_that_is_not_unicode_is_the_callers_mistake(world: StoreHarness) -> None:
    with pytest.raises(InvalidRequest):
        await world.store.add_account("\ud800", "free", world.now)


async def test_a_payment_is_booked_once_per_reference(world: StoreHarness) -> None:
    for _ in range(3):
        balance = await world.store.credit(world.account.id, 250_000, "invoice 1", world.later())
    assert (balance.available, balance.held, balance.total) == (1_250_000, 0, 1_250_000)
    with pytest.raises(Conflict):
        await world.store.credit(world.account.id, 250_001, "invoice 1", world.later())
    other = await world.store.add_account("Bob", "free", world.now)
    assert (await world.store.credit(other.id, 5, "invoice 1", world.now)).available == 5


@pytest.mark.parametrize("micros", [0, -1])
async def test_a_payment_is_more_than_nothing(world: StoreHarness, micros: int) -> None:
    with pytest.raises(InvalidRequest):
        await world.store.credit(world.account.id, micros, "x", world.now)


async def test_the_ledger_follows_the_balance_through_its_pages(world: StoreHarness) -> None:
    await world.succeed(price=20_000, requested_model="sd")
    failed = await world.add(price=30_000)
    await world.store.fail_job(failed.job.id, JobError(code="c", message="m"), world.later())
    await world.store.debit(world.account.id, 5, "correction", world.later())
    await world.add(price=7)
    page, rows = await world.store.list_ledger_entries(world.account.id, limit=2), []
    while True:
        balance = page.balance
        for entry in page.items:
            rows.append((entry.kind.value, ledger.balance_change(entry), balance))
            balance -= ledger.balance_change(entry)
        if page.cursor is None:
            break
        page = await world.store.list_ledger_entries(world.account.id, limit=2, cursor=page.cursor)
    assert balance == 0
    assert rows == [
        ("hold", 0, 979_995),
        ("debit", -5, 979_995),
        ("release", 0, 980_000),
        ("hold", 0, 980_000),
        ("capture", -20_000, 980_000),
        ("hold", 0, 1_000_000),
        ("credit", 1_000_000, 1_000_000),
    ]
    changes = await world.store.list_ledger_entries(world.account.id, limit=2, changes_only=True)
    rest = await world.store.list_ledger_entries(
        world.account.id, limit=2, cursor=changes.cursor, changes_only=True
    )
    assert [entry.kind.value for entry in (*changes.items, *rest.items)] == ["debit", "capture", "credit"]
    assert (changes.balance, rest.balance, rest.cursor) == (979_995, 1_000_000, None)
    assert list(changes.models.values()) == ["sd"]


async def test_the_ledger_lists_every_entry(world: StoreHarness) -> None:
    done = await world.succeed(price=20_000)
    failed = await world.add(price=30_000)
    await world.store.fail_job(failed.job.id, JobError(code="c", message="m"), world.later())
    page = await world.store.list_ledger_entries(world.account.id)
    assert [(entry.kind, entry.micros, entry.job_id) for entry in page.items] == [
        (EntryKind.RELEASE, 30_000, failed.job.id),
        (EntryKind.HOLD, 30_000, failed.job.id),
        (EntryKind.CAPTURE, 20_000, done.job.id),
        (EntryKind.HOLD, 20_000, done.job.id),
        (EntryKind.CREDIT, 1_000_000, None),
    ]
    balances = ledger.sum_balances(page.items)
    assert balances[ledger.wallet_account(world.account.id)] == (await world.wallet())[0]
    assert balances[ledger.REVENUE] == 20_000


async def test_the_ledger_comes_in_pages(world: StoreHarness) -> None:
    for number in range(4):
        await world.store.credit(world.account.id, 1, f"r{number}", world.later())
    page = await world.store.list_ledger_entries(world.account.id, limit=2)
    references = [entry.reference for entry in page.items]
    while page.cursor is not None:
        page = await world.store.list_ledger_entries(world.account.id, limit=2, cursor=page.cursor)
        references.extend(entry.reference for entry in page.items)
    assert references == ["r3", "r2", "r1", "r0", "opening"]


async def test_a_cursor_of_another_account_is_refused(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", world.now)
    await world.store.credit(other.id, 1, "x", world.now)
    entry = (await world.store.list_ledger_entries(other.id)).items[0]
    with pytest.raises(InvalidRequest):
        await world.store.list_ledger_entries(world.account.id, cursor=entry.key)


async def test_exactly_as_many_jobs_as_the_wallet_can_pay(world: StoreHarness) -> None:
    async def submit() -> bool:
        try:
            await world.add(price=10_000)
        except InsufficientBalance:
            return False
        return True

    accepted = await asyncio.gather(*(submit() for _ in range(300)))
    assert accepted.count(True) == 100
    assert await world.wallet() == (0, 1_000_000)
    for record in await world.store.list_unfinished_jobs():
        await world.finish(await world.start(record))
    assert await world.wallet() == (0, 0)


async def test_usage_adds_up_by_day_key_and_model(world: StoreHarness) -> None:
    await world.succeed(n=2, price=20_000)
    await world.succeed(price=10_000)
    await world.succeed(price=5_000, model="flux-1-dev")
    failed = await world.add()
    await world.store.cancel_job(failed.job.id, world.later())
    world.later(timedelta(days=1).total_seconds())
    simulated = await world.add(price=1_000)
    await world.finish(await world.start(simulated), usage=Usage(gpu_seconds=4, simulated=True))
    rows = await world.store.list_usage()
    assert [
        (row.day.day, row.model, row.jobs, row.outputs, row.micros, row.gpu_seconds, row.simulated)
        for row in rows
    ] == [
        (1, "flux-1-dev", 1, 1, 5_000, 1.5, False),
        (1, "sdxl-1.0", 2, 3, 30_000, 4.5, False),
        (2, "sdxl-1.0", 1, 1, 1_000, 4.0, True),
    ]
    assert {(row.account_id, row.key_id) for row in rows} == {(world.account.id, world.key.id)}


async def test_usage_is_cut_by_day_and_account(world: StoreHarness) -> None:
    await world.succeed()
    world.later(timedelta(days=1).total_seconds())
    await world.succeed()
    second = date(2026, 3, 2)
    assert [row.day for row in await world.store.list_usage(since=second)] == [second]
    assert [row.day for row in await world.store.list_usage(until=second)] == [date(2026, 3, 1)]
    assert await world.store.list_usage(account_id="acct_none") == []


async def test_a_clock_that_goes_back_does_no_harm(world: StoreHarness) -> None:
    record = await world.add()
    world.later(-3600)
    done = await world.finish(await world.start(record))
    assert await world.store.find_job(done.job.id) == done
    assert await world.wallet() == (990_000, 0)


async def test_sums_stay_exact_over_large_amounts(world: StoreHarness) -> None:
    for number in range(9):
        await world.store.credit(world.account.id, 10**12 - 1, f"large {number}", world.now)
    assert (await world.wallet())[0] == 1_000_000 + 9 * (10**12 - 1)
