"""Accounts on their plans: sign-up credits, monthly allowances, keys; on the in-memory store."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.billing.accounts import SIGNUP_REFERENCE, AccountService
from orchestrator.billing.api_keys import hash_api_key
from orchestrator.errors import InvalidRequest
from orchestrator.store import ApiKeyLimits
from orchestrator.store.memory import MemoryStore
from pricing.ledger import EntryKind
from pricing.plans import SHIPPED_PLANS, Plans

PLANS = tomllib.loads(SHIPPED_PLANS.read_text())
PLANS["plans"]["welcome"] = {**PLANS["plans"]["free"], "signup_credits": 50}


@dataclass
class AccountsHarness:
    store: MemoryStore
    now: datetime
    accounts: AccountService

    async def available(self, account_id: str) -> int:
        return (await self.store.get_balance(account_id)).available


@pytest.fixture
async def desk() -> AsyncIterator[AccountsHarness]:
    store = MemoryStore()
    desk = AccountsHarness(store, datetime(2026, 1, 15, tzinfo=UTC), None)  # type: ignore[arg-type]
    desk.accounts = AccountService(store, Plans.parse(PLANS), lambda: desk.now)
    yield desk
    assert await store.audit_ledger() == []
    await store.close()


async def test_an_account_gets_nothing_that_its_plan_does_not_give(desk: AccountsHarness) -> None:
    account = await desk.accounts.create_account("Ada")
    assert (account.plan, await desk.available(account.id)) == ("standard", 0)


async def test_monthly_credits_come_at_once_and_are_renewed_each_month(desk: AccountsHarness) -> None:
    account = await desk.accounts.create_account("Ada", "free")
    assert await desk.available(account.id) == 100_000
    await desk.store.credit(account.id, 5_000_000, "payment", desk.now)
    desk.now += timedelta(days=30)
    await desk.accounts.renew_allowance(account)
    assert await desk.available(account.id) == 5_100_000
    desk.now += timedelta(days=1)
    await desk.accounts.renew_allowance(account)
    entries = (await desk.store.list_ledger_entries(account.id)).items
    assert [entry.kind for entry in entries[:2]] == [EntryKind.GRANT, EntryKind.EXPIRE]
    assert await desk.available(account.id) == 5_100_000


async def test_credits_for_signing_up_come_once(desk: AccountsHarness) -> None:
    account = await desk.accounts.create_account("Ada", "welcome")
    assert await desk.available(account.id) == 150_000
    desk.now += timedelta(days=40)
    await desk.accounts.renew_allowance(account)
    assert await desk.available(account.id) == 150_000
    references = [entry.reference for entry in (await desk.store.list_ledger_entries(account.id)).items]
    assert references.count(SIGNUP_REFERENCE) == 1


async def test_a_clock_set_back_renews_nothing_twice(desk: AccountsHarness) -> None:
    account = await desk.accounts.create_account("Ada", "free")
    desk.now += timedelta(days=31)
    await desk.accounts.renew_allowance(account)
    before = len((await desk.store.list_ledger_entries(account.id)).items)
    for days in (-31, 31):
        desk.now += timedelta(days=days)
        await desk.accounts.renew_allowance(account)
        assert len((await desk.store.list_ledger_entries(account.id)).items) == before


async def test_another_process_renews_nothing_twice(desk: AccountsHarness) -> None:
    account = await desk.accounts.create_account("Ada", "free")
    await AccountService(desk.store, Plans.parse(PLANS), lambda: desk.now).renew_allowance(account)
    assert await desk.available(account.id) == 100_000


async def test_another_plan_begins_at_once(desk: AccountsHarness) -> None:
    account = await desk.accounts.create_account("Ada", "free")
    desk.now += timedelta(days=3)
    account = await desk.accounts.change_plan(account.id, "pro")
    assert await desk.available(account.id) == 6_000_000
    assert desk.accounts.get_plan(account).id == "pro"
    desk.now += timedelta(seconds=1)
    account = await desk.accounts.change_plan(account.id, "standard")
    assert await desk.available(account.id) == 0


async def test_an_unknown_plan_is_refused(desk: AccountsHarness) -> None:
    account = await desk.accounts.create_account("Ada")
    for attempt in (
        desk.accounts.create_account("Bob", "gold"),
        desk.accounts.change_plan(account.id, "gold"),
    ):
        with pytest.raises(InvalidRequest, match="`plan` 'gold' does not exist; use one of: standard"):
            await attempt


async def test_keys_are_issued_and_rotated(desk: AccountsHarness) -> None:
    account = await desk.accounts.create_account("Ada")
    key, secret = await desk.accounts.create_key(account.id, "ci", ApiKeyLimits(day_cap=5))
    new, other = await desk.accounts.rotate_key(key.id)
    assert (await desk.store.find_key(hash_api_key(secret))) == await desk.store.get_key(key.id)
    assert (await desk.store.get_key(key.id)).is_revoked
    assert (await desk.store.find_key(hash_api_key(other))) == new
    assert (new.limits, new.prefix) == (key.limits, other[:7])
