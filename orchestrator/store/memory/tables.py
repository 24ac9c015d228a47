"""Everything that the in-memory store holds; dictionaries keep insertion order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from uuid import uuid4

from orchestrator.billing.values import Account, ApiKey, UsageRow
from orchestrator.jobs import Attempt, Job, JobRecord, Shard
from orchestrator.jobs.loras import Lora
from orchestrator.jobs.objects import ObjectDeletion
from orchestrator.jobs.quarantine import QuarantinedShard
from orchestrator.store.operator_events import OperatorEvent
from orchestrator.store.values import Claim, DeliveryAttempt, WebhookMessage
from pricing.alerts import Alert
from pricing.costs import MeteredUsage
from pricing.ledger import LedgerEntry

UsageKey = tuple[date, str, str, str, bool]
MeteredKey = tuple[date, str, str]


@dataclass(frozen=True, slots=True)
class SigningSecretRow:
    """A secret that signs an account's webhooks, until `ends_at` if set."""

    account_id: str
    secret: str
    ends_at: datetime | None = None


@dataclass(slots=True)
class MemoryTables:
    """The stored values by id. Tables outlive a `MemoryStore`, as a database file outlives a process."""

    accounts: dict[str, Account] = field(default_factory=dict)
    #: Start of the last renewed billing month by account id.
    periods: dict[str, datetime] = field(default_factory=dict)
    keys: dict[str, ApiKey] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    #: Shards by job id, in index order.
    shards: dict[str, tuple[Shard, ...]] = field(default_factory=dict)
    job_of_shard: dict[str, str] = field(default_factory=dict)
    #: Job id by account id and idempotency key.
    idempotency_keys: dict[tuple[str, str], str] = field(default_factory=dict)
    #: Attempts by prompt id.
    attempts: dict[str, Attempt] = field(default_factory=dict)
    #: Quarantined shards by shard id.
    quarantined: dict[str, QuarantinedShard] = field(default_factory=dict)
    #: Ledger entries by key, and the balance of every ledger account.
    entries: dict[str, LedgerEntry] = field(default_factory=dict)
    balances: Counter[str] = field(default_factory=Counter)
    usage: dict[UsageKey, UsageRow] = field(default_factory=dict)
    metered: dict[MeteredKey, MeteredUsage] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    messages: dict[int, WebhookMessage] = field(default_factory=dict)
    #: Claims of messages by message id.
    claims: dict[int, Claim] = field(default_factory=dict)
    deliveries: list[DeliveryAttempt] = field(default_factory=list)
    secrets: list[SigningSecretRow] = field(default_factory=list)
    #: The job's `finished_at` by object key and job id.
    files: dict[tuple[str, str], datetime | None] = field(default_factory=dict)
    #: Objects to delete by key, and when those that are done were deleted.
    deletions: dict[str, ObjectDeletion] = field(default_factory=dict)
    deleted_at: dict[str, datetime] = field(default_factory=dict)
    #: LoRAs by the id of their job.
    loras: dict[str, Lora] = field(default_factory=dict)
    #: When ended sessions would have expired, by session id.
    ended_sessions: dict[str, datetime] = field(default_factory=dict)
    #: Changes by operators, oldest first, and the id of the last one.
    operator_events: list[OperatorEvent] = field(default_factory=list)
    last_operator_event: int = 0
    installation_id: str = field(default_factory=lambda: uuid4().hex)

    def record(self, job_id: str) -> JobRecord:
        """Return a job with its shards."""
        return JobRecord(job=self.jobs[job_id], shards=self.shards.get(job_id, ()))

    def add_usage(self, row: UsageRow) -> None:
        """Add to the totals of a day, account, key and model."""
        key = (row.day, row.account_id, row.key_id, row.model, row.simulated)
        if (total := self.usage.get(key)) is not None:
            row = replace(
                total,
                jobs=total.jobs + row.jobs,
                outputs=total.outputs + row.outputs,
                micros=total.micros + row.micros,
                gpu_seconds=total.gpu_seconds + row.gpu_seconds,
            )
        self.usage[key] = row

    def add_metered_usage(self, row: MeteredUsage) -> None:
        """Add to the totals of a day, model and device."""
        key = (row.day, row.model, row.device)
        total = self.metered.get(key)
        self.metered[key] = row if total is None else total + row
