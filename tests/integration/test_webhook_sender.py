"""Messages from the outbox to a real receiver: signed, tried again, given up, never to private places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from orchestrator.store import Account, WebhookMessage
from orchestrator.webhooks.delivery_errors import INVALID_RESPONSE, UNREACHABLE
from orchestrator.webhooks.delivery_plan import (
    FIRST_PAUSE,
    MAX_CONCURRENT_PER_HOST,
    MAX_CONCURRENT_PER_RECEIVER,
)
from orchestrator.webhooks.sender import (
    NOT_BUILT,
    RETRY_DELAYS,
    SECRET_OVERLAP,
    SigningSecrets,
    WebhookSender,
    generate_signing_secret,
    next_retry_at,
)
from pricing.alerts import AlertMetric
from tests.support.polling import poll
from tests.support.store_harness import StoreHarness, open_world
from tests.support.web_servers import answer, serving
from tests.support.webhook_receiver import receiving


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreHarness]:
    async with open_world("sqlite", tmp_path) as world:
        world.now = datetime.now(UTC)
        yield world


@asynccontextmanager
async def sending(world: StoreHarness, *, allow_private: bool = True) -> AsyncIterator[SigningSecrets]:
    sender = WebhookSender(world.store, lambda: world.now, allow_private=allow_private, poll_seconds=0.05)
    await sender.start()
    try:
        yield SigningSecrets(world.store, lambda: world.now)
    finally:
        await sender.stop()


async def post(world: StoreHarness, url: str, account: Account | None = None) -> None:
    """A message that is due: an alert on a balance that is below already."""
    account_id = (account or world.account).id
    await world.store.add_alert(account_id, AlertMetric.BALANCE, 2_000_000, url, world.now)


async def until_noted(world: StoreHarness, attempts: int) -> WebhookMessage:
    """The latest message, once that many attempts are written down."""

    async def latest() -> WebhookMessage:
        (message, *_) = await world.store.list_messages(world.account.id)
        return message

    return await poll(latest, lambda message: message.attempts >= attempts)


async def newest(world: StoreHarness, account: Account) -> WebhookMessage:
    (message, *_) = await world.store.list_messages(account.id)
    return message


async def until_attempts(world: StoreHarness, attempts: int) -> None:
    """Wait until the messages of the account have had that many attempts in total."""

    async def count() -> int:
        return sum(message.attempts for message in await world.store.list_messages(world.account.id))

    assert await poll(count, lambda found: found >= attempts) == attempts


async def mumble(_: str, writer: asyncio.StreamWriter) -> None:
    """Answer with something that is not HTTP."""
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


async def test_a_message_arrives_signed(world: StoreHarness) -> None:
    async with receiving() as receiver, sending(world) as secrets:
        await post(world, receiver.url)
        delivery = await receiver.next()
        (secret,) = await secrets.get_or_create(world.account.id)
        message = delivery.checked(secret)
        assert message["type"] == "budget.alert"
        assert message["data"]["reading_usd"] == 1.0
        with pytest.raises(WebhookVerificationError):
            delivery.checked(generate_signing_secret())
        assert (await until_noted(world, 1)).delivered_at == world.now


async def test_a_secret_is_rotated_with_overlap(world: StoreHarness) -> None:
    async with receiving() as receiver, sending(world) as secrets:
        (old,) = await secrets.get_or_create(world.account.id)
        new = await secrets.rotate(world.account.id)
        await post(world, receiver.url)
        delivery = await receiver.next()
        assert delivery.checked(old) == delivery.checked(new)
        world.now += SECRET_OVERLAP
        assert await secrets.get_or_create(world.account.id) == [new]


async def test_a_refused_message_is_tried_again_until_it_is_taken(world: StoreHarness) -> None:
    async with receiving(500, 302, 200) as receiver, sending(world):
        await post(world, receiver.url)
        first = await receiver.next()
        failed = await until_noted(world, 1)
        assert (failed.error, failed.due_at) == ("HTTP 500", world.now + RETRY_DELAYS[0])
        world.now += RETRY_DELAYS[0]
        assert (await receiver.next()).headers["webhook-id"] == first.headers["webhook-id"]
        assert (await until_noted(world, 2)).error == "HTTP 302"
        world.now += RETRY_DELAYS[1]
        await receiver.next()
        taken = await until_noted(world, 3)
        assert (taken.delivered_at, taken.due_at, taken.error) == (world.now, None, None)


async def test_after_a_day_a_message_is_given_up(world: StoreHarness) -> None:
    async with receiving(*[500] * 9) as receiver, sending(world):
        await post(world, receiver.url)
        for attempt, delay in enumerate((*RETRY_DELAYS, timedelta(0)), start=1):
            await receiver.next()
            message = await until_noted(world, attempt)
            world.now += delay
        assert message.due_at is None
    assert timedelta(days=1) <= sum(RETRY_DELAYS, timedelta()) < timedelta(days=1.1)
    assert next_retry_at(len(RETRY_DELAYS) + 1, world.now) is None


async def test_nothing_private_is_reached(world: StoreHarness) -> None:
    async with receiving() as receiver, sending(world, allow_private=False):
        for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost"), "http://[::1]:1/"):
            await post(world, url)
            message = await until_noted(world, 1)
            assert message.url == url
            assert message.error is not None
        assert receiver.deliveries.empty()


async def test_a_receiver_that_hangs_does_not_hold_up_others(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", world.now)
    waiting = 310
    async with receiving(*[0] * waiting) as hanging, receiving() as quick, sending(world):
        for _ in range(waiting):
            await post(world, hanging.url)
        for _ in range(MAX_CONCURRENT_PER_RECEIVER):
            await hanging.next()
        for account in (other, world.account):
            await post(world, quick.url, account)
            await quick.next()
        assert hanging.deliveries.empty()


async def test_another_account_is_served_by_the_host_on_which_a_receiver_hangs(world: StoreHarness) -> None:
    other = await world.store.add_account("Bob", "free", world.now)
    async with receiving(*[0] * MAX_CONCURRENT_PER_RECEIVER) as receiver, sending(world):
        for _ in range(2 * MAX_CONCURRENT_PER_RECEIVER):
            await post(world, receiver.url)
        for _ in range(MAX_CONCURRENT_PER_RECEIVER):
            await receiver.next()
        await post(world, receiver.url, other)
        assert (await receiver.next()).data["alert_id"] == (await newest(world, other)).payload["alert_id"]
        assert receiver.deliveries.empty()


async def test_accounts_whose_receivers_hang_together_do_not_hold_up_another_one(world: StoreHarness) -> None:
    """Their deliveries take all places of the host, until they count as slow."""
    others = [await world.store.add_account(name, "free", world.now) for name in ("B", "C", "D", "E")]
    hanging = MAX_CONCURRENT_PER_HOST
    async with receiving(*[0] * hanging) as receiver:
        for account in (world.account, *others[:3]):
            for _ in range(MAX_CONCURRENT_PER_RECEIVER):
                await post(world, receiver.url, account)
        async with sending(world):
            for _ in range(hanging):
                await receiver.next()
            await post(world, receiver.url, others[3])
            await receiver.next()
            # None of the others has ended yet.
            assert [m.attempts for m in await world.store.list_messages(world.account.id)] == [0, 0, 0, 0]


async def test_a_receiver_that_does_not_respond_is_left_alone_for_a_while(world: StoreHarness) -> None:
    """One message is tried per pause, the others keep their attempts; a response ends the pauses."""
    async with receiving(*[-1] * (MAX_CONCURRENT_PER_RECEIVER + 1)) as receiver:
        for _ in range(10):
            await post(world, receiver.url)
        # All are due when the sender looks for the first time.
        async with sending(world):
            for _ in range(MAX_CONCURRENT_PER_RECEIVER):
                await receiver.next()
            await until_attempts(world, MAX_CONCURRENT_PER_RECEIVER)
            world.now += FIRST_PAUSE
            await receiver.next()
            await until_attempts(world, MAX_CONCURRENT_PER_RECEIVER + 1)
            world.now += 2 * FIRST_PAUSE
            for _ in range(10):
                await receiver.next()


async def test_errors_of_deliveries_name_no_host_and_are_the_same_for_private_and_unknown_ones(
    world: StoreHarness,
) -> None:
    urls = ("http://localhost:9/", "http://127.0.0.1:9/", "http://no-such-name.invalid/", "http://[fd00::1]/")
    async with sending(world, allow_private=False):
        errors = set()
        for url in urls:
            await post(world, url)
            errors.add((await until_noted(world, 1)).error)
    assert errors == {UNREACHABLE}


async def test_a_closed_port_is_unreachable_and_a_broken_response_is_invalid(world: StoreHarness) -> None:
    async with serving(answer(b"")) as closed:
        pass
    async with serving(mumble) as broken, sending(world):
        for server, error in ((closed, UNREACHABLE), (broken, INVALID_RESPONSE)):
            await post(world, server.url)
            assert (await until_noted(world, 1)).error == error


async def test_a_message_that_cannot_be_built_is_a_failed_attempt(world: StoreHarness) -> None:
    async def fail(message: WebhookMessage) -> Mapping[str, object]:
        raise KeyError(message.id)

    sender = WebhookSender(world.store, lambda: world.now, fail, allow_private=True, poll_seconds=0.05)
    await sender.start()
    await post(world, "http://127.0.0.1:9/")
    message = await until_noted(world, 1)
    await sender.stop()
    assert (message.error, message.due_at) == (NOT_BUILT, world.now + RETRY_DELAYS[0])


async def test_what_was_under_way_is_sent_again_by_the_next_process(world: StoreHarness) -> None:
    async with receiving(0) as receiver:
        async with sending(world):
            await post(world, receiver.url)
            first = await receiver.next()
        async with sending(world):
            assert (await receiver.next()).headers["webhook-id"] == first.headers["webhook-id"]
            assert (await until_noted(world, 1)).delivered_at is not None
