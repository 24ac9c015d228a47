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
from orchestrator.net.egress import public_session
from orchestrator.store import DeliveryAttempt, Store, WebhookMessage

log = logging.getLogger(__name__)

#: Waits after each failed attempt; with the last one a day has passed, and the message is given up.
DELAYS = tuple(timedelta(minutes=minutes) for minutes in (1 / 12, 1, 5, 30, 2 * 60, 6 * 60, 15.5 * 60))
#: How often the outbox is looked at (other processes write to it too), in seconds.
LOOK_SECONDS = 1.0
#: How many due messages are looked at, how many are on their way at once, and how many of one account:
#: an account whose receiver hangs must not hold up the others.
LOOKED_AT, AT_ONCE, PER_ACCOUNT = 256, 32, 4
TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=5)
#: How long receivers may go on checking with a secret that was replaced.
OVERLAP = timedelta(days=1)
#: What a message's id begins with.
MESSAGE = "msg_"
#: What is told of an error, in characters.
SHOWN = 200


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64, as the specification's libraries read it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")


def enveloped(message: WebhookMessage, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body of a message as the specification recommends it."""
    return {"type": message.topic, "timestamp": message.created_at.isoformat(), "data": dict(data)}


def signed(
    message: WebhookMessage, said: Mapping[str, Any], keys: list[str], now: datetime
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a message that says this; each key in force signs it."""
    id = f"{MESSAGE}{message.id}"
    body = json.dumps(dict(said))
    signatures = (Webhook(key).sign(id, now, body) for key in keys)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "PixelFactory-Webhooks/1",
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return body.encode(), headers


def next_try(attempts: int, now: datetime) -> datetime | None:
    """When to try again after that many failed attempts; None: never."""
    return now + DELAYS[attempts - 1] if attempts <= len(DELAYS) else None


@dataclass(frozen=True, slots=True)
class Secrets:
    """What an account's messages are signed with."""

    store: Store
    clock: Callable[[], datetime]

    async def of(self, account_id: str) -> list[str]:
        """Newest first; the first one is made when it is first asked for."""
        known = await self.store.list_signing_secrets(account_id, self.clock())
        return known or await self.store.get_or_create_signing_secrets(account_id, new_secret(), self.clock())

    async def rotate(self, account_id: str) -> str:
        """A new secret; for a day messages are signed with the old one too."""
        secret, now = new_secret(), self.clock()
        await self.store.add_signing_secret(account_id, secret, now, now + OVERLAP)
        return secret


#: The body of a message, made at the moment of each delivery.
Payload = Callable[[WebhookMessage], Awaitable[Mapping[str, Any]]]


async def as_posted(message: WebhookMessage) -> Mapping[str, Any]:
    return enveloped(message, message.payload)


class WebhookSender:
    """Delivers what the outbox holds, as long as it runs."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        payload: Payload = as_posted,
        *,
        allow_private: bool,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._payload = payload
        self._store = store
        self._clock = clock
        self._secrets = Secrets(store, clock)
        self._allow_private = allow_private
        self._look_seconds = look_seconds
        self._task: asyncio.Task[None] | None = None
        #: Deliveries under way, by message.
        self._flying: dict[int, tuple[str, asyncio.Task[None]]] = {}
        self._landed = asyncio.Event()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="webhooks")

    async def stop(self) -> None:
        """What is under way is tried again by the next process."""
        tasks = [task for _, task in self._flying.values()] + ([self._task] if self._task else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        async with public_session(allow_private=self._allow_private, timeout=TIMEOUT) as http:
            while True:
                self._landed.clear()
                try:
                    await self._launch_due(http)
                except Exception:
                    # The outbox keeps what is due; whatever is wrong now may be right in a second.
                    log.exception("the outbox could not be worked off")
                await self._until_next_look()

    async def _until_next_look(self) -> None:
        """Until a delivery ends, or some seconds have passed."""
        with suppress(TimeoutError):
            # Not `wait_for`: that one overlooks a cancellation that comes with what it waits for.
            async with asyncio.timeout(self._look_seconds):
                await self._landed.wait()

    async def _launch_due(self, http: aiohttp.ClientSession) -> None:
        # What lands while we read may still look due; it is left until the next look.
        before = set(self._flying)
        for message in await self._store.list_due_messages(self._clock(), LOOKED_AT):
            if len(self._flying) >= AT_ONCE:
                return
            accounts = [account_id for account_id, _ in self._flying.values()]
            if message.id not in before and accounts.count(message.account_id) < PER_ACCOUNT:
                task = asyncio.create_task(self._fly(http, message), name=f"message {message.id}")
                self._flying[message.id] = (message.account_id, task)

    async def _fly(self, http: aiohttp.ClientSession, message: WebhookMessage) -> None:
        try:
            await self._deliver(http, message)
            # Only now: what could not be noted down is left until the next look.
            self._landed.set()
        except ServiceError as error:
            log.warning("message %d: %s", message.id, error)
        finally:
            del self._flying[message.id]

    async def _deliver(self, http: aiohttp.ClientSession, message: WebhookMessage) -> None:
        began = time.monotonic()
        status, error = await self._send(http, message)
        attempt = DeliveryAttempt(
            message_id=message.id,
            at=self._clock(),
            seconds=time.monotonic() - began,
            http_status=status,
            error=error,
        )
        again = next_try(message.attempts + 1, attempt.at)
        await self._store.record_delivery_attempt(attempt, again)
        if error is not None:
            log.info(
                "message %d could not be delivered (%s), %s",
                message.id,
                error,
                f"next try at {again.isoformat()}" if again else "given up",
                extra={"action": "webhook_failed", "message_id": message.id},
            )

    async def _send(
        self, http: aiohttp.ClientSession, message: WebhookMessage
    ) -> tuple[int | None, str | None]:
        """The receiver's status, and why the delivery failed; no reason where the receiver took it."""
        said = await self._payload(message)
        body, headers = signed(message, said, await self._secrets.of(message.account_id), self._clock())
        try:
            async with http.post(
                message.url or "", data=body, headers=headers, allow_redirects=False
            ) as response:
                taken = 200 <= response.status < 300
                return response.status, None if taken else f"HTTP {response.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"[:SHOWN]


def standing(url: str | None, message: WebhookMessage | None) -> Mapping[str, object] | None:
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


def view(message: WebhookMessage) -> Mapping[str, object]:
    """A message as its account sees it."""
    return {
        "id": f"{MESSAGE}{message.id}",
        "type": message.topic,
        "data": message.payload,
        "url": message.url,
        "created_at": message.created_at.isoformat(),
        "attempts": message.attempts,
        "delivered_at": message.delivered_at.isoformat() if message.delivered_at else None,
        "next_attempt_at": message.due_at.isoformat() if message.due_at else None,
        "error": message.error,
    }


def history(attempts: Sequence[DeliveryAttempt]) -> list[Mapping[str, object]]:
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
