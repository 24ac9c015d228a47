"""What the service asks of its outbox: words for the outside, and how it went with telling them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from orchestrator.store.values import DeliveryAttempt, WebhookMessage


class OutboxStore(Protocol):
    """Messages, each try to deliver them, and the secrets that they are signed with."""

    async def list_messages(self, account_id: str, limit: int = 50) -> list[WebhookMessage]:
        """Newest first, delivered or not."""
        ...

    async def get_message(self, account_id: str, message_id: int) -> WebhookMessage:
        """One of the account's, with each try. Raises NotFound for others' too."""
        ...

    async def list_due_messages(self, now: datetime, limit: int = 50) -> list[WebhookMessage]:
        """Those to deliver now, longest due first."""
        ...

    async def find_job_message(self, job_id: str) -> WebhookMessage | None:
        """What tells of the end of a job, with each try; None where nobody is told, or it has not ended."""
        ...

    async def replay_message(self, message_id: int, now: datetime) -> WebhookMessage:
        """Deliver it once more, whether it has arrived or not; its earlier attempts stay on record."""
        ...

    async def record_delivery_attempt(self, attempt: DeliveryAttempt, retry_at: datetime | None) -> None:
        """What came of a try; after a failed one the message is due at `retry_at`, or never.

        A message that has arrived meanwhile stays delivered.
        """
        ...

    async def list_signing_secrets(self, account_id: str, now: datetime) -> list[str]:
        """What this account's messages are signed with, newest first; empty before the first one."""
        ...

    async def get_or_create_signing_secrets(self, account_id: str, secret: str, now: datetime) -> list[str]:
        """The same, with this one as the first where there is none: whoever asks first makes it for all."""
        ...

    async def add_signing_secret(
        self, account_id: str, secret: str, now: datetime, previous_expire_at: datetime
    ) -> None:
        """A new secret; those before it stay in force until `previous_expire_at`, so that receivers can
        follow.
        """
        ...
