"""Delivers webhook messages: signed by the Standard Webhooks specification, with retries for a day.

The outbox in the store holds the due messages. If the process ends after the receiver responded and before
that is stored, the message is delivered again; receivers recognize it by its `webhook-id`.
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

from orchestrator.errors import ServiceError
from orchestrator.net.egress import create_public_session
from orchestrator.store import DeliveryAttempt, Store, WebhookMessage
from orchestrator.store.outbox import OutboxStore

log = logging.getLogger(__name__)

#: Delay after each failed attempt. After the last one, a day after the first, the message counts as failed.
RETRY_DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1 / 12, 1, 5, 30, 2 * 60, 6 * 60, 15.5 * 60))
#: Interval at which the outbox is read, in seconds; other processes write to it too.
OUTBOX_POLL_SECONDS = 1.0
#: Messages per query of the outbox, concurrent deliveries, and concurrent deliveries of one account. The
#: limit per account keeps a receiver that hangs from blocking the messages of other accounts.
MAX_DUE_MESSAGES, MAX_CONCURRENT_DELIVERIES, MAX_CONCURRENT_PER_ACCOUNT = 256, 32, 4
DELIVERY_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
#: How long messages are also signed with a secret that was replaced.
SECRET_OVERLAP = timedelta(days=1)
#: Prefix of public message ids.
MESSAGE_ID_PREFIX = "msg_"
#: Maximum length of a stored error.
MAX_ERROR_LENGTH = 200


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


#: Builds the body of a message at each delivery.
BuildPayload = Callable[[WebhookMessage], Awaitable[Mapping[str, Any]]]


async def build_default_payload(message: WebhookMessage) -> Mapping[str, Any]:
    """Return the stored payload of a message in its envelope."""
    return to_envelope(message, message.payload)


class WebhookSender:
    """Delivers the messages of the outbox between `start` and `stop`."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        build_payload: BuildPayload = build_default_payload,
        *,
        allow_private: bool,
        poll_seconds: float = OUTBOX_POLL_SECONDS,
    ) -> None:
        self._build_payload = build_payload
        self._store = store
        self._clock = clock
        self._secrets = SigningSecrets(store, clock)
        self._allow_private = allow_private
        self._poll_seconds = poll_seconds
        self._task: asyncio.Task[None] | None = None
        #: Account and task of each running delivery, by message id.
        self._in_flight: dict[int, tuple[str, asyncio.Task[None]]] = {}
        self._delivery_finished = asyncio.Event()

    async def start(self) -> None:
        """Start to deliver due messages."""
        self._task = asyncio.create_task(self._run_loop(), name="webhooks")

    async def stop(self) -> None:
        """Cancel all deliveries; the next process repeats them."""
        tasks = [task for _, task in self._in_flight.values()] + ([self._task] if self._task else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_loop(self) -> None:
        async with create_public_session(allow_private=self._allow_private, timeout=DELIVERY_TIMEOUT) as http:
            while True:
                self._delivery_finished.clear()
                try:
                    await self._start_due_deliveries(http)
                except Exception:
                    # The outbox still holds the messages, so the next poll tries again.
                    log.exception("could not process the webhook outbox")
                await self._wait_for_next_poll()

    async def _wait_for_next_poll(self) -> None:
        """Wait until a delivery finishes or the poll interval has passed."""
        with suppress(TimeoutError):
            # `asyncio.wait_for` can swallow a cancellation that arrives together with the result.
            async with asyncio.timeout(self._poll_seconds):
                await self._delivery_finished.wait()

    async def _start_due_deliveries(self, http: aiohttp.ClientSession) -> None:
        # A delivery that finishes during the query may still be listed as due; the next poll skips it.
        before = set(self._in_flight)
        for message in await self._store.list_due_messages(self._clock(), MAX_DUE_MESSAGES):
            if len(self._in_flight) >= MAX_CONCURRENT_DELIVERIES:
                return
            accounts = [account_id for account_id, _ in self._in_flight.values()]
            if message.id not in before and accounts.count(message.account_id) < MAX_CONCURRENT_PER_ACCOUNT:
                task = asyncio.create_task(self._run_delivery(http, message), name=f"message {message.id}")
                self._in_flight[message.id] = (message.account_id, task)

    async def _run_delivery(self, http: aiohttp.ClientSession, message: WebhookMessage) -> None:
        try:
            await self._deliver_and_record(http, message)
            # Not set after a store error, which would repeat the delivery at once.
            self._delivery_finished.set()
        except ServiceError as error:
            log.warning("could not record the delivery of message %d: %s", message.id, error)
        finally:
            del self._in_flight[message.id]

    async def _deliver_and_record(self, http: aiohttp.ClientSession, message: WebhookMessage) -> None:
        started = time.monotonic()
        status, error = await self._post_message(http, message)
        attempt = DeliveryAttempt(
            message_id=message.id,
            at=self._clock(),
            seconds=time.monotonic() - started,
            http_status=status,
            error=error,
        )
        retry_at = next_retry_at(message.attempts + 1, attempt.at)
        await self._store.record_delivery_attempt(attempt, retry_at)
        if error is not None:
            log.info(
                "message %d could not be delivered (%s), %s",
                message.id,
                error,
                f"next attempt at {retry_at.isoformat()}" if retry_at else "no further attempt",
                extra={"action": "webhook_failed", "message_id": message.id},
            )

    async def _post_message(
        self, http: aiohttp.ClientSession, message: WebhookMessage
    ) -> tuple[int | None, str | None]:
        """Post a message; return the HTTP status, and the error unless the receiver accepted it."""
        payload = await self._build_payload(message)
        body, headers = sign_webhook(
            message, payload, await self._secrets.get_or_create(message.account_id), self._clock()
        )
        try:
            async with http.post(
                message.url or "", data=body, headers=headers, allow_redirects=False
            ) as response:
                accepted = 200 <= response.status < 300
                return response.status, None if accepted else f"HTTP {response.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
