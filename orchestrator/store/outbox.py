"""What the service asks of its outbox: words for the outside, and how it went with telling them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from orchestrator.store.values import DeliveryAttempt, Message


class Outbox(Protocol):
    """Messages, each try to deliver them, and the secrets that they are signed with."""

    async def messages(self, account_id: str, limit: int = 50) -> list[Message]:
        """Newest first, delivered or not."""
        ...

    async def get_message(self, account_id: str, message_id: int) -> Message:
        """One of the account's, with each try. Raises NotFound for others' too."""
        ...

    async def due_messages(self, now: datetime, limit: int = 50) -> list[Message]:
        """Those to deliver now, longest due first."""
        ...

    async def job_message(self, job_id: str) -> Message | None:
        """What tells of the end of a job, with each try; None where nobody is told, or it has not ended."""
        ...

    async def replay_message(self, message_id: int, now: datetime) -> Message:
        """Deliver it once more, whether it has arrived or not; its earlier attempts stay on record."""
        ...

    async def note_delivery(self, attempt: DeliveryAttempt, again: datetime | None) -> None:
        """What came of a try; after a failed one the message is due at `again`, or never.

        A message that has arrived meanwhile stays delivered.
        """
        ...

    async def signing_secrets(self, account_id: str, now: datetime) -> list[str]:
        """What this account's messages are signed with, newest first; empty before the first one."""
        ...

    async def first_signing_secret(self, account_id: str, secret: str, now: datetime) -> list[str]:
        """The same, with this one as the first where there is none: whoever asks first makes it for all."""
        ...

    async def add_signing_secret(
        self, account_id: str, secret: str, now: datetime, others_until: datetime
    ) -> None:
        """A new secret; those before it stay in force until `others_until`, so that receivers can follow."""
        ...
