"""Delivers webhook messages: signed by the Standard Webhooks specification, with retries for a day.

The outbox in the store holds the due messages, and `delivery_plan` decides which of them come next. If the
process ends after the receiver responded and before that is stored, the message is delivered again; receivers
recognize it by its `webhook-id`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from standardwebhooks.webhooks import Webhook

from comfy_instances.tasks import report_error, spawn
from orchestrator.errors import ServiceError, ServiceUnavailable
from orchestrator.net.egress import create_public_session
from orchestrator.store import Claim, DeliveryAttempt, MessageReceiver, Store, WebhookMessage
from orchestrator.store.availability import until_store_answers
from orchestrator.store.outbox import OutboxStore
from orchestrator.store.signals import StoreEventKind
from orchestrator.webhooks.delivery_errors import describe_delivery_error
from orchestrator.webhooks.delivery_plan import ReceiverBackoff, RunningDelivery, plan_deliveries

log = logging.getLogger(__name__)

#: Delay after each failed attempt. After the last one, a day after the first, the message counts as failed.
RETRY_DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1 / 12, 1, 5, 30, 2 * 60, 6 * 60, 15.5 * 60))
#: Longest time between two looks at the outbox, in seconds; it is also read when the store reports a message.
OUTBOX_POLL_SECONDS = 1.0
#: `connect` includes the DNS lookup.
DELIVERY_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=8, sock_connect=5)
#: How long others leave a claimed message alone if this process ends: longer than a delivery lasts.
CLAIM_DURATION = timedelta(seconds=60)
#: How long messages are also signed with a secret that was replaced.
SECRET_OVERLAP = timedelta(days=1)
#: Prefix of public message ids.
MESSAGE_ID_PREFIX = "msg_"
#: Error of a message whose body could not be built.
NOT_BUILT = "The message could not be built"


def generate_signing_secret() -> str:
    """Return a random secret in the format of the specification: `whsec_` and 32 bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def to_envelope(message: WebhookMessage, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body of a message in the format that the specification recommends."""
    return {"type": message.topic, "timestamp": message.created_at.isoformat(), "data": dict(data)}


def sign_webhook(
    message: WebhookMessage, payload: Mapping[str, Any], keys: list[str], now: datetime
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a message, with one signature for each valid key."""
    id = f"{MESSAGE_ID_PREFIX}{message.id}"
    body = json.dumps(dict(payload))
    signatures = (Webhook(key).sign(id, now, body) for key in keys)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "PixelFactory-Webhooks/1",
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return body.encode(), headers


def next_retry_at(attempts: int, now: datetime) -> datetime | None:
    """Return when to retry after this many failed attempts; None if there is no further retry."""
    return now + RETRY_DELAYS[attempts - 1] if attempts <= len(RETRY_DELAYS) else None


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """Signing secrets of accounts."""

    store: OutboxStore
    clock: Callable[[], datetime]

    async def get_or_create(self, account_id: str) -> list[str]:
        """Return the valid secrets of an account, newest first; create one if it has none."""
        existing = await self.store.list_signing_secrets(account_id, self.clock())
        return existing or await self.store.get_or_create_signing_secrets(
            account_id, generate_signing_secret(), self.clock()
        )

    async def rotate(self, account_id: str) -> str:
        """Return a new secret. Messages are also signed with the old one for `SECRET_OVERLAP`."""
        secret, now = generate_signing_secret(), self.clock()
        await self.store.add_signing_secret(account_id, secret, now, now + SECRET_OVERLAP)
        return secret


@dataclass(frozen=True, slots=True)
class _InFlight:
    """A running delivery: its receiver, its task, and since when, by the monotonic clock."""

    receiver: MessageReceiver
    task: asyncio.Task[None]
    started: float

    def measure(self) -> RunningDelivery:
        return RunningDelivery(self.receiver, time.monotonic() - self.started)


#: Builds the body of a message at each delivery.
BuildPayload = Callable[[WebhookMessage], Awaitable[Mapping[str, Any]]]
#: Returns further headers of a delivery: of a message, its body, and when it is sent.
BuildHeaders = Callable[[WebhookMessage, bytes, datetime], Awaitable[Mapping[str, str]]]


async def build_default_payload(message: WebhookMessage) -> Mapping[str, Any]:
    """Return the stored payload of a message in its envelope."""
    return to_envelope(message, message.payload)


async def build_no_headers(message: WebhookMessage, body: bytes, now: datetime) -> Mapping[str, str]:
    """Return no further headers."""
    return {}


class WebhookSender:
    """Delivers the messages of the outbox between `start` and `stop`.

    Several senders can share an outbox: each claims the messages that it delivers.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        build_payload: BuildPayload = build_default_payload,
        *,
        build_headers: BuildHeaders = build_no_headers,
        allow_private: bool,
        poll_seconds: float = OUTBOX_POLL_SECONDS,
        is_only_sender: bool = True,
    ) -> None:
        """`is_only_sender`: claims that are left when this sender starts belong to ended processes."""
        self._build_payload = build_payload
        self._build_headers = build_headers
        self._store = store
        self._clock = clock
        self._secrets = SigningSecrets(store, clock)
        self._allow_private = allow_private
        self._poll_seconds = poll_seconds
        self._is_only_sender = is_only_sender
        self._name = secrets.token_hex(8)
        self._task: asyncio.Task[None] | None = None
        self._backoff = ReceiverBackoff()
        #: The running deliveries, by message id.
        self._in_flight: dict[int, _InFlight] = {}
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Start to deliver due messages."""
        if self._is_only_sender:
            await self._store.release_claims(None)
        self._task = spawn(self._run_loop(), "webhook sender")

    async def stop(self) -> None:
        """Cancel all deliveries; another sender repeats them."""
        tasks = [delivery.task for delivery in self._in_flight.values()] + (
            [self._task] if self._task else []
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(ServiceUnavailable):  # the claims end by themselves
            await self._store.release_claims(self._name)

    async def _run_loop(self) -> None:
        session = create_public_session(allow_private=self._allow_private, timeout=DELIVERY_TIMEOUT)
        signals = self._store.signals
        async with session as http:
            with signals.subscribe(StoreEventKind.MESSAGE_DUE, wake=self._wake) as due:
                while True:
                    self._wake.clear()
                    due.take_events()
                    await self._look(http)
                    await self._wait_for_next_look()

    async def _look(self, http: aiohttp.ClientSession) -> None:
        try:
            await self._start_due_deliveries(http)
        # The outbox still holds the messages, so the next look tries again.
        except ServiceUnavailable as error:
            log.warning("due webhooks cannot be read now: %s", error)
        except Exception as error:
            report_error(error, "webhook sender")

    async def _wait_for_next_look(self) -> None:
        """Wait until a message is due, a delivery finishes or the poll interval has passed."""
        with suppress(TimeoutError):
            # `asyncio.wait_for` can swallow a cancellation that arrives together with the result.
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()

    async def _start_due_deliveries(self, http: aiohttp.ClientSession) -> None:
        # A delivery that finishes during the queries may still be claimed again; the next look skips it.
        before = dict(self._in_flight)
        now = self._clock()
        due = await self._store.list_due_receivers(now, self._name)
        plan = plan_deliveries(due, [delivery.measure() for delivery in before.values()], self._backoff, now)
        for receiver, number in plan.items():
            in_flight = sum(delivery.receiver == receiver for delivery in before.values())
            claim = Claim(self._name, now + CLAIM_DURATION)
            claimed = await self._store.claim_messages(claim, now, number + in_flight, receiver)
            for message in [message for message in claimed if message.id not in before][:number]:
                delivery = self._run_delivery(http, receiver, message)
                task = spawn(delivery, "webhook delivery", str(message.id))
                self._in_flight[message.id] = _InFlight(receiver, task, time.monotonic())

    async def _run_delivery(
        self, http: aiohttp.ClientSession, receiver: MessageReceiver, message: WebhookMessage
    ) -> None:
        try:
            await self._deliver_and_record(http, receiver, message)
            # Not set after a store error, which would repeat the delivery at once.
            self._wake.set()
        except ServiceError as error:
            log.warning("could not record the delivery of message %d: %s", message.id, error)
        finally:
            del self._in_flight[message.id]

    async def _deliver_and_record(
        self, http: aiohttp.ClientSession, receiver: MessageReceiver, message: WebhookMessage
    ) -> None:
        started = time.monotonic()
        status, error = await self._build_and_post(http, receiver, message)
        attempt = DeliveryAttempt(
            message_id=message.id,
            at=self._clock(),
            seconds=time.monotonic() - started,
            http_status=status,
            error=error,
        )
        retry_at = next_retry_at(message.attempts + 1, attempt.at)
        # The message keeps its slot until then: an unrecorded delivery would be repeated at each poll.
        await until_store_answers(
            lambda: self._store.record_delivery_attempt(attempt, retry_at), "record_delivery_attempt"
        )
        if error is not None:
            log.info(
                "message %d could not be delivered (%s), %s",
                message.id,
                error,
                f"next attempt at {retry_at.isoformat()}" if retry_at else "no further attempt",
                extra={"action": "webhook_failed", "message_id": message.id},
            )

    async def _build_and_post(
        self, http: aiohttp.ClientSession, receiver: MessageReceiver, message: WebhookMessage
    ) -> tuple[int | None, str | None]:
        """Build, sign and post a message; return the HTTP status, and the error unless it was accepted."""
        try:
            payload = await self._build_payload(message)
            keys = await self._secrets.get_or_create(message.account_id)
            now = self._clock()
            body, headers = sign_webhook(message, payload, keys, now)
            headers |= await self._build_headers(message, body, now)
        except ServiceUnavailable:
            raise  # The store is unavailable: this is no attempt, the message stays due.
        except Exception:
            # An attempt, because the message would otherwise stay the next one.
            log.exception("could not build message %d", message.id)
            return None, NOT_BUILT
        status, error = await self._post_message(http, message, body, headers)
        if status is None:
            self._backoff.record_failure(receiver, self._clock())
        else:
            self._backoff.record_response(receiver)
        return status, error

    async def _post_message(
        self, http: aiohttp.ClientSession, message: WebhookMessage, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int | None, str | None]:
        """Post a message; return the HTTP status, and the error unless the receiver accepted it."""
        try:
            async with http.post(
                message.url or "", data=body, headers=headers, allow_redirects=False
            ) as response:
                accepted = 200 <= response.status < 300
                return response.status, None if accepted else f"HTTP {response.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # Only the log names the address that was tried.
            log.info("message %d: %s: %s", message.id, type(error).__name__, error)
            return None, describe_delivery_error(error)
