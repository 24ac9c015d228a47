"""Limits of keys and budget alerts: one suite for every store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.errors import InsufficientBalance, InvalidRequest, NotFound
from orchestrator.store import ApiKey, ApiKeyLimits, ApiKeyScope, MessageReceiver
from orchestrator.store.outbox import MAX_DUE_RECEIVERS
from pricing.alerts import AlertMetric
from tests.support.store_harness import START, StoreHarness, delivery, due_messages

APRIL = datetime(2026, 4, 1, 12, tzinfo=UTC)


async def test_a_key_knows_its_limits(world: StoreHarness) -> None:
    limits = ApiKeyLimits(
        scopes=frozenset({ApiKeyScope.READ}),
        models=frozenset({"sdxl-1.0"}),
        expires_at=START + timedelta(days=1),
        day_cap=1,
        month_cap=2,
    )
    key = await world.store.add_key(world.account.id, "1" * 64, "pk-x", "ci", START, limits=limits)
    assert (await world.store.find_key("1" * 64), key.limits) == (key, limits)
    assert key.has_scope(ApiKeyScope.READ)
    assert not key.has_scope(ApiKeyScope.GENERATE)
    assert key.can_use_model("sdxl-1.0")
    assert not key.can_use_model("flux-1-dev")
    assert key.is_usable(START)
    assert not key.is_usable(START + timedelta(days=1))
    assert world.key.can_use_model("anything")
    assert (await world.store.set_key_limits(key.id, ApiKeyLimits())).limits == ApiKeyLimits()


async def test_a_rotated_key_keeps_its_limits_and_ends_the_old_one(world: StoreHarness) -> None:
    limits = ApiKeyLimits(day_cap=5)
    await world.store.set_key_limits(world.key.id, limits)
    new = await world.store.rotate_key(world.key.id, "2" * 64, "pk-new", world.later())
    assert (new.name, new.limits, new.account) == (world.key.name, limits, world.account)
    assert (await world.store.get_key(world.key.id)).is_revoked
    assert not new.is_revoked
    with pytest.raises(InvalidRequest):
        await world.store.rotate_key(world.key.id, "3" * 64, "pk-again", world.later())


async def test_a_key_spends_no_more_than_its_cap_a_day(world: StoreHarness) -> None:
    await world.store.set_key_limits(world.key.id, ApiKeyLimits(day_cap=30_000))
    await world.succeed(price=10_000)
    await world.add(price=10_000)
    await world.add(price=10_000)
    with pytest.raises(InsufficientBalance) as caught:
        await world.add(price=1)
    assert caught.value.code == "key_spend_cap"
    assert caught.value.details == {
        "cap_usd": 0.03,
        "spent_usd": 0.03,
        "required_usd": 0.000001,
        "period": "day",
    }
    other = await world.store.add_key(world.account.id, "1" * 64, "pk-x", "other", world.now)
    await world.add(price=10_000, key_id=other.id)
    for record in await world.store.list_unfinished_jobs():
        await world.store.cancel_job(record.job.id, world.later())
    await world.add(price=20_000)


async def test_keeps_the_spending_of_a_key_that_is_rotated(world: StoreHarness) -> None:
    """Of what it spent and of what its unfinished jobs reserve, over any number of rotations."""
    limits = ApiKeyLimits(day_cap=30_000, month_cap=40_000)
    await world.store.set_key_limits(world.key.id, limits)
    await world.succeed(price=10_000)
    await world.add(price=10_000)
    second = await world.store.rotate_key(world.key.id, "2" * 64, "pk-2", world.later())
    await world.add(price=5_000, key_id=second.id)
    third = await world.store.rotate_key(second.id, "3" * 64, "pk-3", world.later())
    for key_id in (world.key.id, second.id, third.id):
        with pytest.raises(InsufficientBalance) as caught:
            await world.add(price=5_001, key_id=key_id)
        assert (caught.value.code, caught.value.details["spent_usd"]) == ("key_spend_cap", 0.025)
    await world.add(price=5_000, key_id=third.id)
    other = await world.store.add_key(world.account.id, "4" * 64, "pk-4", "other", world.now, limits=limits)
    await world.add(price=30_000, key_id=other.id)
    assert [key.first_key_id for key in (world.key, second, third, other)] == [
        None,
        world.key.id,
        world.key.id,
        None,
    ]
    assert await world.store.find_key("3" * 64) == third


async def test_a_cap_for_the_month_outlives_the_day(world: StoreHarness) -> None:
    await world.store.set_key_limits(world.key.id, ApiKeyLimits(day_cap=10_000, month_cap=15_000))
    await world.succeed(price=10_000)
    world.later(timedelta(days=1).total_seconds())
    with pytest.raises(InsufficientBalance):
        await world.add(price=10_000)
    await world.succeed(price=5_000)
    world.now = APRIL
    await world.succeed(price=10_000)


async def test_a_hundred_at_once_stay_within_the_cap(world: StoreHarness) -> None:
    await world.store.set_key_limits(world.key.id, ApiKeyLimits(day_cap=70_000))
    outcomes = await asyncio.gather(*(world.add() for _ in range(100)), return_exceptions=True)
    assert sum(isinstance(outcome, InsufficientBalance) for outcome in outcomes) == 93


async def test_unfinished_jobs_are_counted(world: StoreHarness) -> None:
    await world.succeed()
    await world.add()
    assert await world.store.count_unfinished_jobs(world.account.id) == 1


async def test_an_alert_on_the_balance_fires_once_per_crossing(world: StoreHarness) -> None:
    async def fired() -> int:
        return len(await world.store.list_messages(world.account.id))

    alert = await world.store.add_alert(
        world.account.id, AlertMetric.BALANCE, 900_000, "https://x.test/", START
    )
    await world.add(price=500_000)
    assert await fired() == 0
    await world.succeed(price=100_001)
    await world.succeed(price=10_000)
    assert await fired() == 1
    await world.store.credit(world.account.id, 200_000, "top-up", world.later())
    await world.succeed(price=300_000)
    assert await fired() == 2
    message = (await world.store.list_messages(world.account.id))[-1]
    assert (message.topic, message.url, message.payload["reading_usd"]) == (
        "budget.alert",
        "https://x.test/",
        0.899999,
    )
    await world.store.delete_alert(world.account.id, alert.id)
    assert await world.store.list_alerts(world.account.id) == []


async def test_an_alert_on_spending_fires_once_a_period(world: StoreHarness) -> None:
    await world.store.add_alert(world.account.id, AlertMetric.DAY, 20_000, None, START)
    await world.store.add_alert(world.account.id, AlertMetric.MONTH, 35_000, None, START)

    async def watched() -> list[str]:
        messages = await world.store.list_messages(world.account.id)
        return [message.payload["watched"] for message in reversed(messages)]

    for _ in range(3):
        await world.succeed(price=10_000)
    assert await watched() == ["day"]
    world.later(timedelta(days=1).total_seconds())
    for _ in range(3):
        await world.succeed(price=10_000)
    assert await watched() == ["day", "month", "day"]
    assert await due_messages(world.store, world.now) == []


async def test_a_changed_alert_fires_again(world: StoreHarness) -> None:
    alert = await world.store.add_alert(world.account.id, AlertMetric.BALANCE, 2_000_000, None, START)
    changed = await world.store.update_alert(world.account.id, alert.id, 500_000, "https://x.test/", START)
    assert (changed.threshold, changed.url, changed.fired) == (500_000, "https://x.test/", None)
    again = await world.store.update_alert(world.account.id, alert.id, 3_000_000, None, START)
    assert again.fired == "always"
    assert len(await world.store.list_messages(world.account.id)) == 2
    other = await world.store.add_account("Bob", "free", START)
    with pytest.raises(NotFound):
        await world.store.update_alert(other.id, alert.id, 1, None, START)


async def test_signing_secrets_overlap(world: StoreHarness) -> None:
    async def secrets(later: timedelta = timedelta(0)) -> list[str]:
        return await world.store.list_signing_secrets(world.account.id, START + later)

    day = timedelta(days=1)
    assert await secrets() == []
    await world.store.add_signing_secret(world.account.id, "a", START, START + day)
    assert await secrets(100 * day) == ["a"]
    await world.store.add_signing_secret(world.account.id, "b", START, START + day)
    await world.store.add_signing_secret(world.account.id, "c", START, START + 2 * day)
    assert await secrets() == ["c", "b", "a"]
    assert await secrets(day) == ["c", "b"]
    assert await secrets(2 * day) == ["c"]
    other = await world.store.add_account("Bob", "free", START)
    assert await world.store.list_signing_secrets(other.id, START) == []
    with pytest.raises(NotFound):
        await world.store.add_signing_secret("acct_none", "d", START, START)


async def test_an_alert_that_is_crossed_already_fires_at_once(world: StoreHarness) -> None:
    alert = await world.store.add_alert(world.account.id, AlertMetric.BALANCE, 2_000_000, None, START)
    assert alert.fired == "always"
    assert len(await world.store.list_messages(world.account.id)) == 1


async def test_another_accounts_alert_cannot_be_removed(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", START)
    alert = await world.store.add_alert(other.id, AlertMetric.DAY, 1, None, START)
    with pytest.raises(NotFound):
        await world.store.delete_alert(world.account.id, alert.id)
    with pytest.raises(NotFound):
        await world.store.add_alert("acct_none", AlertMetric.DAY, 1, None, START)


async def test_no_more_alerts_than_allowed_are_created_at_once(world: StoreHarness) -> None:
    async def add() -> None:
        await world.store.add_alert(world.account.id, AlertMetric.DAY, 1, None, START, max_alerts=5)

    outcomes = await asyncio.gather(*(add() for _ in range(20)), return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, InvalidRequest)]
    assert {refusal.code for refusal in refusals} == {"too_many_alerts"}
    assert (len(refusals), len(await world.store.list_alerts(world.account.id))) == (15, 5)
    other = await world.store.add_account("Bob", "free", START)
    await world.store.add_alert(other.id, AlertMetric.DAY, 1, None, START, max_alerts=5)


async def test_no_more_keys_than_allowed_are_created_at_once(world: StoreHarness) -> None:
    """Keys that are revoked or have expired do not count."""

    async def add(number: int, limits: ApiKeyLimits = ApiKeyLimits()) -> ApiKey:  # noqa: B008
        digest = f"{number:064x}"
        return await world.store.add_key(
            world.account.id, digest, "pk-x", "ci", START, limits=limits, max_active=5
        )

    await world.store.revoke_key((await add(1)).id, START)
    await add(2, ApiKeyLimits(expires_at=START))
    outcomes = await asyncio.gather(*(add(number) for number in range(10, 30)), return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, InvalidRequest)]
    assert {refusal.code for refusal in refusals} == {"too_many_keys"}
    assert len(refusals) == 16
    usable = [key for key in await world.store.list_keys(world.account.id) if key.is_usable(START)]
    assert len(usable) == 5


async def test_due_messages_are_counted_and_listed_by_receiver(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", START)
    urls = ("https://a.test/1", "https://A.test:443/2", "https://b.test/", None)
    for account_id in (world.account.id, other.id):
        for url in urls:
            await world.store.add_alert(account_id, AlertMetric.BALANCE, 2_000_000, url, START)
    first, *_ = await due_messages(world.store, START)
    later = START + timedelta(minutes=1)
    await world.store.record_delivery_attempt(delivery(first, START, "HTTP 500"), later)

    async def counts(now: datetime) -> dict[MessageReceiver, int]:
        return {entry.receiver: entry.count for entry in await world.store.list_due_receivers(now)}

    ada, ada_b = (
        MessageReceiver(world.account.id, "a.test:443"),
        MessageReceiver(world.account.id, "b.test:443"),
    )
    bob, bob_b = MessageReceiver(other.id, "a.test:443"), MessageReceiver(other.id, "b.test:443")
    assert await counts(START) == {ada: 1, ada_b: 1, bob: 2, bob_b: 1}
    assert await counts(later) == {ada: 2, ada_b: 1, bob: 2, bob_b: 1}
    assert {entry.due_at for entry in await world.store.list_due_receivers(later)} == {START}
    listed = await due_messages(world.store, later, 9, ada)
    assert [message.url for message in listed] == ["https://A.test:443/2", "https://a.test/1"]
    assert len(await due_messages(world.store, later, 1, ada)) == 1


@pytest.mark.slow
async def test_an_account_with_many_receivers_leaves_room_for_the_others(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", START)
    for number in range(MAX_DUE_RECEIVERS + 5):
        record = await world.add(price=1, webhook_url=f"https://{number}.test/")
        await world.store.cancel_job(record.job.id, world.later())
    await world.store.add_alert(other.id, AlertMetric.BALANCE, 2_000_000, "https://bob.test/", world.now)
    due = await world.store.list_due_receivers(world.now)
    hosts = {entry.receiver.host for entry in due if entry.receiver.account_id == world.account.id}
    assert hosts == {f"{number}.test:443" for number in range(MAX_DUE_RECEIVERS)}
    assert len(due) == MAX_DUE_RECEIVERS + 1


async def test_a_message_without_a_url_is_not_due_when_it_is_replayed(world: StoreHarness) -> None:
    await world.store.add_alert(world.account.id, AlertMetric.BALANCE, 2_000_000, None, START)
    (message,) = await world.store.list_messages(world.account.id)
    assert (await world.store.replay_message(message.id, START)).due_at is None
    assert await world.store.list_due_receivers(START) == []


async def test_a_message_is_due_until_it_is_delivered_or_given_up(world: StoreHarness) -> None:
    for number in range(2):
        await world.store.add_alert(
            world.account.id, AlertMetric.BALANCE, 2_000_000, f"https://{number}/", START
        )
    first, second = await due_messages(world.store, START)
    later = START + timedelta(minutes=1)
    await world.store.record_delivery_attempt(delivery(first, START, "HTTP 500"), later)
    await world.store.record_delivery_attempt(delivery(second, START), later)
    assert await due_messages(world.store, START) == []
    (again,) = await due_messages(world.store, later)
    assert (again.id, again.attempts, again.error) == (first.id, 1, "HTTP 500")
    await world.store.record_delivery_attempt(delivery(first, later, "HTTP 410"), None)
    assert await due_messages(world.store, later + timedelta(days=1)) == []
    delivered, failed = await world.store.list_messages(world.account.id)
    assert (delivered.delivered_at, delivered.attempts) == (START, 1)
    assert (failed.delivered_at, failed.attempts, failed.error) == (None, 2, "HTTP 410")
