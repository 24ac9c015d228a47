"""Webhook messages, their delivery attempts, and signing secrets."""

from __future__ import annotations

from datetime import datetime

from orchestrator.files.secret_box import SecretBox
from orchestrator.store.sql import outbox
from orchestrator.store.sql.access import SqlAccess
from orchestrator.store.values import Claim, DeliveryAttempt, DueReceiver, MessageReceiver, WebhookMessage


class SqlOutbox(SqlAccess):
    """Implements `orchestrator.store.outbox.OutboxStore`, where each method is described."""

    _secret_box: SecretBox

    async def list_messages(self, account_id: str, limit: int = 50) -> list[WebhookMessage]:
        return await self._db.read(outbox.list_messages, account_id, limit)

    async def find_job_message(self, job_id: str) -> WebhookMessage | None:
        return await self._db.read(outbox.find_job_message, job_id)

    async def get_message(self, account_id: str, message_id: int) -> WebhookMessage:
        return await self._db.read(outbox.get_message, account_id, message_id)

    async def replay_message(self, message_id: int, now: datetime) -> WebhookMessage:
        return await self._db.write(outbox.replay_message, message_id, now)

    async def list_signing_secrets(self, account_id: str, now: datetime) -> list[str]:
        found = await self._db.read(outbox.list_signing_secrets, account_id, now)
        return [self._secret_box.decrypt(secret, account_id) for secret in found]

    async def get_or_create_signing_secrets(self, account_id: str, secret: str, now: datetime) -> list[str]:
        encrypted = self._secret_box.encrypt(secret, account_id)
        found = await self._db.write(outbox.get_or_create_signing_secrets, account_id, encrypted, now)
        return [self._secret_box.decrypt(secret, account_id) for secret in found]

    async def add_signing_secret(
        self, account_id: str, secret: str, now: datetime, previous_expire_at: datetime
    ) -> None:
        encrypted = self._secret_box.encrypt(secret, account_id)
        await self._db.write(outbox.add_signing_secret, account_id, encrypted, now, previous_expire_at)

    async def list_due_receivers(self, now: datetime, sender: str = "") -> list[DueReceiver]:
        return await self._db.read(outbox.list_due_receivers, now, sender)

    async def claim_messages(
        self, claim: Claim, now: datetime, limit: int, receiver: MessageReceiver | None = None
    ) -> list[WebhookMessage]:
        return await self._db.write(outbox.claim_messages, claim, now, limit, receiver)

    async def release_claims(self, sender: str | None) -> None:
        await self._db.write(outbox.release_claims, sender)

    async def record_delivery_attempt(self, attempt: DeliveryAttempt, retry_at: datetime | None) -> None:
        await self._db.write(outbox.record_delivery_attempt, attempt, retry_at)
