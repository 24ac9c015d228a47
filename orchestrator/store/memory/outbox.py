"""The outbox in memory: webhook messages, delivery attempts and signing secrets."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime

from orchestrator.net.http_urls import url_receiver
from orchestrator.store.lookup import found
from orchestrator.store.memory.tables import MemoryTables, SigningSecretRow
from orchestrator.store.memory.transaction import MemoryTransaction
from orchestrator.store.outbox import MAX_DUE_RECEIVERS
from orchestrator.store.signals import StoreEvent, StoreEventKind, StoreSignals
from orchestrator.store.values import Claim, DeliveryAttempt, DueReceiver, MessageReceiver, WebhookMessage


class MemoryOutbox:
    """Implements `orchestrator.store.outbox.OutboxStore`, where each method is described."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self._tx = MemoryTransaction(tables)

    @property
    def signals(self) -> StoreSignals:
        """The wake-ups of this store; see `orchestrator.store.signals`."""
        return self._tx.signals

    async def list_messages(self, account_id: str, limit: int = 50) -> list[WebhookMessage]:
        messages = reversed(self._tables.messages.values())
        listed = [message for message in messages if message.account_id == account_id][:limit]
        return [replace(self._with_delivery_attempts(message), delivery_attempts=()) for message in listed]

    async def find_job_message(self, job_id: str) -> WebhookMessage | None:
        messages = self._tables.messages.values()
        message = next((message for message in messages if message.job_id == job_id), None)
        return None if message is None else self._with_delivery_attempts(message)

    async def get_message(self, account_id: str, message_id: int) -> WebhookMessage:
        message = self._tables.messages.get(message_id)
        if message is not None and message.account_id != account_id:
            message = None
        return self._with_delivery_attempts(_found_message(message, message_id))

    async def list_due_receivers(self, now: datetime, sender: str = "") -> list[DueReceiver]:
        moments: dict[MessageReceiver, list[datetime]] = {}
        for due_at, id in self._list_due(now, sender):
            moments.setdefault(_receiver(self._tables.messages[id]), []).append(due_at)
        places: Counter[str] = Counter()
        listed = []
        for receiver, due in sorted(moments.items(), key=lambda item: (min(item[1]), item[0].host)):
            places[receiver.account_id] += 1
            if places[receiver.account_id] <= MAX_DUE_RECEIVERS:
                listed.append(DueReceiver(receiver=receiver, due_at=min(due), count=len(due)))
        return listed

    async def claim_messages(
        self, claim: Claim, now: datetime, limit: int, receiver: MessageReceiver | None = None
    ) -> list[WebhookMessage]:
        messages = [self._tables.messages[id] for _, id in self._list_due(now, claim.sender)]
        claimed = [message for message in messages if receiver in (None, _receiver(message))][:limit]
        self._tables.claims.update((message.id, claim) for message in claimed)
        return [replace(self._with_delivery_attempts(message), delivery_attempts=()) for message in claimed]

    async def release_claims(self, sender: str | None) -> None:
        claims = self._tables.claims
        self._tables.claims = {id: claim for id, claim in claims.items() if sender and claim.sender != sender}

    def _list_due(self, now: datetime, sender: str) -> list[tuple[datetime, int]]:
        """Return due times and ids of the messages to deliver now, longest due first.

        Claimed ones are left out, except those of `sender`.
        """
        claims = self._tables.claims.items()
        claimed = {id for id, claim in claims if claim.until > now and claim.sender != sender}
        messages = (message for message in self._tables.messages.values() if message.id not in claimed)
        return sorted(
            (message.due_at, message.id) for message in messages if message.due_at and message.due_at <= now
        )

    async def replay_message(self, message_id: int, now: datetime) -> WebhookMessage:
        message = _found_message(self._tables.messages.get(message_id), message_id)
        replayed = replace(
            message, due_at=now if message.url else None, delivered_at=None, error=None, attempts=0
        )
        self._tables.messages[message_id] = replayed
        self._tables.claims.pop(message_id, None)
        if replayed.url:
            self._tx.signals.publish([StoreEvent(StoreEventKind.MESSAGE_DUE, replayed.account_id)])
        return self._with_delivery_attempts(replayed)

    async def record_delivery_attempt(self, attempt: DeliveryAttempt, retry_at: datetime | None) -> None:
        message = _found_message(self._tables.messages.get(attempt.message_id), attempt.message_id)
        self._tables.deliveries.append(attempt)
        if message.delivered_at is None:
            self._tables.claims.pop(message.id, None)
            failed = attempt.error is not None
            self._tables.messages[message.id] = replace(
                message,
                delivered_at=None if failed else attempt.at,
                due_at=retry_at if failed else None,
                error=attempt.error,
                attempts=message.attempts + 1,
            )

    async def list_signing_secrets(self, account_id: str, now: datetime) -> list[str]:
        return [
            secret.secret
            for secret in reversed(self._tables.secrets)
            if secret.account_id == account_id and (secret.ends_at is None or secret.ends_at > now)
        ]

    async def get_or_create_signing_secrets(self, account_id: str, secret: str, now: datetime) -> list[str]:
        known = await self.list_signing_secrets(account_id, now)
        if not known:
            await self.add_signing_secret(account_id, secret, now, now)
        return known or [secret]

    async def add_signing_secret(
        self, account_id: str, secret: str, now: datetime, previous_expire_at: datetime
    ) -> None:
        self._tx.get_account(account_id)
        kept = []
        for one in self._tables.secrets:
            if one.account_id == account_id and one.ends_at is None:
                one = replace(one, ends_at=previous_expire_at)
            elif one.account_id == account_id and one.ends_at is not None and one.ends_at <= now:
                continue
            kept.append(one)
        self._tables.secrets = [*kept, SigningSecretRow(account_id, secret)]

    def _with_delivery_attempts(self, message: WebhookMessage) -> WebhookMessage:
        attempts = tuple(one for one in self._tables.deliveries if one.message_id == message.id)
        return replace(message, delivery_attempts=attempts, total_attempts=len(attempts))


def _receiver(message: WebhookMessage) -> MessageReceiver:
    return MessageReceiver(message.account_id, url_receiver(message.url or ""))


def _found_message(message: WebhookMessage | None, message_id: int) -> WebhookMessage:
    return found(message, "webhook message", message_id, code="message_not_found")
