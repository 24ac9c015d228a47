"""The outbox's part of the store interface: webhook messages, their delivery attempts, signing secrets."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from orchestrator.store.values import Claim, DeliveryAttempt, DueReceiver, MessageReceiver, WebhookMessage

#: Receivers of one account in `list_due_receivers`: an account with thousands must not slow down the others.
MAX_DUE_RECEIVERS = 256


class OutboxStore(Protocol):
    """Webhook messages, their delivery attempts, and the secrets that sign them."""

    async def list_messages(self, account_id: str, limit: int = 50) -> list[WebhookMessage]:
        """Return messages, delivered or not, newest first."""
        ...

    async def get_message(self, account_id: str, message_id: int) -> WebhookMessage:
        """Return a message with its delivery attempts. Raises NotFound, also for another account's."""
        ...

    async def list_due_receivers(self, now: datetime, sender: str = "") -> list[DueReceiver]:
        """Return the receivers with messages to deliver now, in any order.

        Messages that others than `sender` have claimed are left out. Of each account at most
        MAX_DUE_RECEIVERS, those whose messages are due longest.
        """
        ...

    async def claim_messages(
        self, claim: Claim, now: datetime, limit: int, receiver: MessageReceiver | None = None
    ) -> list[WebhookMessage]:
        """Claim messages to deliver now, of one receiver or of all, and return them, longest due first.

        Those that other senders have claimed are left out. The sender's own claims are renewed.
        """
        ...

    async def release_claims(self, sender: str | None) -> None:
        """End the claims of a sender that stops, or all claims if None."""
        ...

    async def find_job_message(self, job_id: str) -> WebhookMessage | None:
        """Return the message about a finished job with its delivery attempts; None if there is none."""
        ...

    async def replay_message(self, message_id: int, now: datetime) -> WebhookMessage:
        """Make a message due again, delivered or not, if it has a URL; earlier attempts stay on record.

        Returns the message with its delivery attempts. Raises NotFound.
        """
        ...

    async def record_delivery_attempt(self, attempt: DeliveryAttempt, retry_at: datetime | None) -> None:
        """Record an attempt; after a failed one the message is due at `retry_at`, or never if None.

        A message that was delivered meanwhile stays delivered. The claim of the message ends.
        """
        ...

    async def list_signing_secrets(self, account_id: str, now: datetime) -> list[str]:
        """Return the account's active secrets, newest first."""
        ...

    async def get_or_create_signing_secrets(self, account_id: str, secret: str, now: datetime) -> list[str]:
        """Return the active secrets; if there are none, add `secret` first."""
        ...

    async def add_signing_secret(
        self, account_id: str, secret: str, now: datetime, previous_expire_at: datetime
    ) -> None:
        """Add a secret; earlier ones stay active until `previous_expire_at`, so that receivers can switch."""
        ...
