"""The result of a billing or job rule: everything that a store writes in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.billing.values import UsageRow
from orchestrator.jobs import Attempt, Job, JobRecord, Shard
from orchestrator.jobs.loras import Lora
from orchestrator.jobs.objects import NO_FILE_CHANGES, FileChanges
from orchestrator.jobs.quarantine import QuarantinedShard
from pricing.alerts import Alert
from pricing.costs import MeteredUsage
from pricing.ledger import LedgerEntry


@dataclass(frozen=True, kw_only=True, slots=True)
class NewMessage:
    """A webhook message to put into the outbox; it is due at once if it has a URL."""

    account_id: str
    #: Event name, such as `budget.alert` or `job.succeeded`.
    topic: str
    payload: Mapping[str, Any]
    #: Receiver; None keeps the message in the list without delivering it.
    url: str | None
    created_at: datetime
    #: Id of the finished job, for `job.*` messages.
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class AllowanceRenewal:
    """Start of the billing month that an account has entered."""

    account_id: str
    period_start: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What a rule changes. A store applies all of it or nothing.

    Rules raise their errors before they return a value of this class, so applying it is never refused.
    """

    #: A job to insert with its shards; `job` and `shards` update existing ones.
    new_job: JobRecord | None = None
    job: Job | None = None
    #: Id of a failed job whose idempotency key is free again, for `new_job`.
    freed_key_of: str | None = None
    shards: Sequence[Shard] = ()
    new_attempts: Sequence[Attempt] = ()
    ended_attempt: Attempt | None = None
    #: A shard to keep in quarantine; one that is kept already stays as it is.
    quarantined: QuarantinedShard | None = None
    #: Ledger entries in booking order.
    entries: Sequence[LedgerEntry] = ()
    #: Amounts to add to the operator's and to the caller's daily totals.
    metered: Sequence[MeteredUsage] = ()
    usage: Sequence[UsageRow] = ()
    messages: Sequence[NewMessage] = ()
    #: Existing alerts whose `fired` has changed.
    alerts: Sequence[Alert] = ()
    renewal: AllowanceRenewal | None = None
    #: A job that is hidden from its account: its `removed_at` is written.
    removed_job: Job | None = None
    #: A LoRA to insert, and the ids of LoRAs to delete; missing ones are ignored.
    new_lora: Lora | None = None
    deleted_loras: Sequence[str] = ()
    #: References to stored objects, and objects to delete.
    files: FileChanges = NO_FILE_CHANGES

    def __add__(self, other: Changes) -> Changes:
        """Return both sets of changes; of two jobs, ended attempts, renewals or LoRAs, that of `other`."""
        return Changes(
            new_job=other.new_job or self.new_job,
            job=other.job or self.job,
            freed_key_of=other.freed_key_of or self.freed_key_of,
            shards=(*self.shards, *other.shards),
            new_attempts=(*self.new_attempts, *other.new_attempts),
            ended_attempt=other.ended_attempt or self.ended_attempt,
            quarantined=other.quarantined or self.quarantined,
            entries=(*self.entries, *other.entries),
            metered=(*self.metered, *other.metered),
            usage=(*self.usage, *other.usage),
            messages=(*self.messages, *other.messages),
            alerts=(*self.alerts, *other.alerts),
            renewal=other.renewal or self.renewal,
            removed_job=other.removed_job or self.removed_job,
            new_lora=other.new_lora or self.new_lora,
            deleted_loras=(*self.deleted_loras, *other.deleted_loras),
            files=self.files + other.files,
        )

    def apply_to(self, record: JobRecord) -> JobRecord:
        """Return a stored job as it is after the changes."""
        changed = {shard.id: shard for shard in self.shards}
        shards = tuple(changed.get(shard.id, shard) for shard in record.shards)
        return JobRecord(job=self.job or record.job, shards=shards)


NO_CHANGES = Changes()
