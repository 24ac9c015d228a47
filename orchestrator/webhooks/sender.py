"""Messages on their way out: signed by the Standard Webhooks specification, tried for a day, never lost.

The store's outbox says what is due. A delivery that ends between the receiver's answer and our note of it
is made again: receivers know a repetition by its `webhook-id`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from standardwebhooks.webhooks import Webhook

from orchestrator.errors import ServiceError
from orchestrator.net.egress import create_public_session
from orchestrator.store import DeliveryAttempt, Store, WebhookMessage

log = logging.getLogger(__name__)

#: Waits after each failed attempt; with the last one a day has passed, and the message is given up.
RETRY_DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1 / 12, 1, 5, 30, 2 * 60, 6 * 60, 15.5 * 60))
#: How often the outbox is looked at (other processes write to it too), in seconds.
OUTBOX_POLL_SECONDS = 1.0
#: How many due messages are looked at, how many are on their way at once, and how many of one account:
#: an account whose receiver hangs must not hold up the others.
MAX_DUE_MESSAGES, MAX_CONCURRENT_DELIVERIES, MAX_CONCURRENT_PER_ACCOUNT = 256, 32, 4
DELIVERY_TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
#: How long receivers may go on checking with a secret that was replaced.
SECRET_OVERLAP = timedelta(days=1)
#: What a message's id begins with.
MESSAGE_ID_PREFIX = "msg_"
#: What is told of an error, in characters.
MAX_ERROR_LENGTH = 200


def generate_signing_secret() -> str:
    """`whsec_` and 32 random bytes in base64, as the specification's libraries read it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def to_envelope(message: WebhookMessage, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body of a message as the specification recommends it."""
    return {"type": message.topic, "timestamp": message.created_at.isoformat(), "data": dict(data)}


def sign_webhook(
    message: WebhookMessage, payload: Mapping[str, Any], keys: list[str], now: datetime
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a message that says this; each key in force signs it."""
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
    """When to try again after that many failed attempts; None: never."""
    return now + RETRY_DELAYS[attempts - 1] if attempts <= len(RETRY_DELAYS) else None


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """What an account's messages are signed with."""

    store: Store
    clock: Callable[[], datetime]

    async def get_or_create(self, account_id: str) -> list[str]:
        """Newest first; the first one is made when it is first asked for."""
        known = await self.store.list_signing_secrets(account_id, self.clock())
        return known or await self.store.get_or_create_signing_secrets(
            account_id, generate_signing_secret(), self.clock()
        )

    async def rotate(self, account_id: str) -> str:
        """A new secret; for a day messages are signed with the old one too."""
        secret, now = generate_signing_secret(), self.clock()
        await self.store.add_signing_secret(account_id, secret, now, now + SECRET_OVERLAP)
        return secret


#: The body of a message, made at the moment of each delivery.
BuildPayload = Callable[[WebhookMessage], Awaitable[Mapping[str, Any]]]


async def build_default_payload(message: WebhookMessage) -> Mapping[str, Any]:
    return to_envelope(message, message.payload)


class WebhookSender:
    """Delivers what the outbox holds, as long as it runs."""

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
        #: Deliveries under way, by message.
        self._in_flight: dict[int, tuple[str, asyncio.Task[None]]] = {}
        self._delivery_finished = asyncio.Event()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run_loop(), name="webhooks")

    async def stop(self) -> None:
        """What is under way is tried again by the next process."""
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
                    # The outbox keeps what is due; whatever is wrong now may be right in a second.
                    log.exception("the outbox could not be worked off")
                await self._wait_for_next_poll()

    async def _wait_for_next_poll(self) -> None:
        """Until a delivery ends, or some seconds have passed."""
        with suppress(TimeoutError):
            # Not `wait_for`: that one overlooks a cancellation that comes with what it waits for.
            async with asyncio.timeout(self._poll_seconds):
                await self._delivery_finished.wait()

    async def _start_due_deliveries(self, http: aiohttp.ClientSession) -> None:
        # What lands while we read may still look due; it is left until the next look.
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
            # Only now: what could not be noted down is left until the next look.
            self._delivery_finished.set()
        except ServiceError as error:
            log.warning("message %d: %s", message.id, error)
        finally:
            del self._in_flight[message.id]

    async def _deliver_and_record(self, http: aiohttp.ClientSession, message: WebhookMessage) -> None:
        began = time.monotonic()
        status, error = await self._post_message(http, message)
        attempt = DeliveryAttempt(
            message_id=message.id,
            at=self._clock(),
            seconds=time.monotonic() - began,
            http_status=status,
            error=error,
        )
        again = next_retry_at(message.attempts + 1, attempt.at)
        await self._store.record_delivery_attempt(attempt, again)
        if error is not None:
            log.info(
                "message %d could not be delivered (%s), %s",
                message.id,
                error,
                f"next try at {again.isoformat()}" if again else "given up",
                extra={"action": "webhook_failed", "message_id": message.id},
            )

    async def _post_message(
        self, http: aiohttp.ClientSession, message: WebhookMessage
    ) -> tuple[int | None, str | None]:
        """The receiver's status, and why the delivery failed; no reason where the receiver took it."""
        said = await self._build_payload(message)
        body, headers = sign_webhook(
            message, said, await self._secrets.get_or_create(message.account_id), self._clock()
        )
        try:
            async with http.post(
                message.url or "", data=body, headers=headers, allow_redirects=False
            ) as response:
                taken = 200 <= response.status < 300
                return response.status, None if taken else f"HTTP {response.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]


def to_delivery_status(url: str | None, message: WebhookMessage | None) -> Mapping[str, object] | None:
    """How it stands with telling somebody of a job's end; there is a message once it has ended."""
    if url is None:
        return None
    if message is None or message.due_at is not None:
        status = "pending"
    else:
        status = "delivered" if message.delivered_at else "failed"
    delivered = message.delivered_at if message else None
    return {
        "url": url,
        "status": status,
        "attempts": message.attempts if message else 0,
        "deliveredAt": delivered.isoformat() if delivered else None,
        "error": message.error if message else None,
    }


def to_message_response(message: WebhookMessage) -> Mapping[str, object]:
    """A message as its account sees it."""
    return {
        "id": f"{MESSAGE_ID_PREFIX}{message.id}",
        "type": message.topic,
        "data": message.payload,
        "url": message.url,
        "created_at": message.created_at.isoformat(),
        "attempts": message.attempts,
        "delivered_at": message.delivered_at.isoformat() if message.delivered_at else None,
        "next_attempt_at": message.due_at.isoformat() if message.due_at else None,
        "error": message.error,
    }


def to_attempt_history(attempts: Sequence[DeliveryAttempt]) -> list[Mapping[str, object]]:
    """Every try to deliver a message, as its account sees it; oldest first."""
    return [
        {
            "at": attempt.at.isoformat(),
            "seconds": round(attempt.seconds, 3),
            "status": attempt.http_status,
            "error": attempt.error,
        }
        for attempt in attempts
    ]
