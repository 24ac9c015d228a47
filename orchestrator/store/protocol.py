"""The interface of the store.

Every write is one transaction that is complete (and durable, on disk) when the call returns. A repeated
write returns the same result and changes nothing, unless stated. `now` is always an argument. Unknown ids
raise NotFound.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from orchestrator.jobs import Attempt, Job, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.jobs.loras import TrainedLora
from orchestrator.store.files import FileStore
from orchestrator.store.job_search import JobSearchStore
from orchestrator.store.loras import LoraStore
from orchestrator.store.operator_events import OperatorEventStore
from orchestrator.store.outbox import OutboxStore
from orchestrator.store.quarantine import QuarantineStore
from orchestrator.store.repairs import RepairStore
from orchestrator.store.sessions import SessionStore
from orchestrator.store.signals import StoreSignals
from orchestrator.store.values import Account, ApiKey, ApiKeyLimits, AuditViolation, EntryPage, Page, UsageRow
from pricing.alerts import Alert, AlertMetric
from pricing.costs import MeteredUsage
from pricing.ledger import Balance
from pricing.statement import Statement

NO_LIMITS = ApiKeyLimits()


class AccountStore(Protocol):
    """Customers."""

    async def add_account(self, name: str, plan: str, now: datetime) -> Account: ...

    async def list_accounts(self) -> list[Account]:
        """Return all accounts, oldest first."""
        ...

    async def resolve_account(self, account_or_key_id: str) -> Account:
        """Return the account with this id, or the account of the key with this id."""
        ...

    async def set_plan(self, account_id: str, plan: str, now: datetime) -> Account:
        """Change the plan and begin its billing months now; unfinished jobs keep their price."""
        ...


class ApiKeyStore(Protocol):
    """API keys, without their secrets."""

    async def add_key(
        self,
        account_id: str,
        digest: str,
        prefix: str,
        name: str,
        now: datetime,
        *,
        limits: ApiKeyLimits = NO_LIMITS,
        max_active: int | None = None,
    ) -> ApiKey:
        """Add a key. Raises InvalidRequest (`too_many_keys`) if `max_active` of the account are usable."""
        ...

    async def find_key(self, digest: str) -> ApiKey | None:
        """Return the key with this digest, even if it is revoked or expired."""
        ...

    async def get_key(self, key_id: str) -> ApiKey: ...

    async def list_keys(self, account_id: str | None = None) -> list[ApiKey]:
        """Return an account's keys, or all keys if None; oldest first."""
        ...

    async def set_key_limits(self, key_id: str, limits: ApiKeyLimits) -> ApiKey: ...

    async def revoke_key(self, key_id: str, now: datetime) -> ApiKey: ...

    async def rotate_key(self, key_id: str, digest: str, prefix: str, now: datetime) -> ApiKey:
        """Revoke a key and add a new one with its name and limits.

        Raises InvalidRequest for a revoked key.
        """
        ...


class WalletStore(Protocol):
    """Balances and ledger entries outside of jobs.

    Amounts are positive micro-dollars, or InvalidRequest is raised. A repeated reference of the same account
    books nothing; with another amount it raises Conflict.
    """

    async def credit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        """Book a payment."""
        ...

    async def grant(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        """Book a promotional credit, which does not count as paid in."""
        ...

    async def debit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        """Book a pay-out or a correction of a payment. Raises InsufficientBalance."""
        ...

    async def refund(self, job_id: str, micros: int | None, reference: str, now: datetime) -> Balance:
        """Refund part of a job's charge, or all that is left of it if `micros` is None.

        Raises Conflict if the job was not charged, InvalidRequest for more than is left.
        """
        ...

    async def renew_allowance(
        self, account_id: str, micros: int, period_start: datetime, now: datetime
    ) -> Balance:
        """Begin a billing month: expire what is left of the last allowance and grant `micros` (may be 0).

        A period that is not later than the last one changes nothing.
        """
        ...

    async def remaining_allowance(self, account_id: str) -> int:
        """Return the unspent micro-dollars of this month's allowance."""
        ...

    async def get_balance(self, account_id: str) -> Balance: ...

    async def list_ledger_entries(
        self, account_id: str, limit: int = 50, cursor: str | None = None, *, changes_only: bool = False
    ) -> EntryPage:
        """Return a page of entries, newest first; with `changes_only` without holds and releases."""
        ...

    async def get_statement(self, account_id: str, since: datetime, until: datetime) -> Statement: ...

    async def audit_ledger(self) -> list[AuditViolation]:
        """Return every violated rule of the ledger, over all entries; an empty list if all hold."""
        ...


class UsageStore(Protocol):
    """Daily usage totals. `until` is exclusive; days are UTC."""

    async def list_usage(
        self, since: date | None = None, until: date | None = None, account_id: str | None = None
    ) -> list[UsageRow]:
        """Return totals of succeeded jobs by day, account, key and model."""
        ...

    async def list_metered_usage(
        self, since: date | None = None, until: date | None = None
    ) -> list[MeteredUsage]:
        """Return work and revenue by day, model and device, for operators."""
        ...

    async def record_bytes_sent(self, job_id: str, size: int, now: datetime) -> None:
        """Add `size` delivered bytes of a job's outputs. Not idempotent."""
        ...


class AlertStore(Protocol):
    """Budget alerts."""

    async def add_alert(
        self,
        account_id: str,
        watched: AlertMetric,
        threshold: int,
        url: str | None,
        now: datetime,
        *,
        max_alerts: int | None = None,
    ) -> Alert:
        """Add an alert; it fires at once if its threshold is crossed already.

        Raises InvalidRequest (`too_many_alerts`) if the account has `max_alerts` already.
        """
        ...

    async def list_alerts(self, account_id: str) -> list[Alert]: ...

    async def update_alert(
        self, account_id: str, alert_id: str, threshold: int, url: str | None, now: datetime
    ) -> Alert:
        """Change threshold and URL; the alert fires again if the new threshold is crossed."""
        ...

    async def delete_alert(self, account_id: str, alert_id: str) -> None: ...


class JobStore(Protocol):
    """Jobs with their shards and attempts, and the holds and charges that go with them."""

    async def add_job(
        self,
        job: Job,
        shards: Sequence[Shard],
        input_keys: Sequence[str] = (),
        attempts: Sequence[Attempt] = (),
    ) -> tuple[JobRecord, bool]:
        """Add a job with its shards and its stored input files, hold its price, and return it with True.

        `attempts` are started in the same transaction, as `start_attempt` does; the job is returned as it
        was before.
        A replay with the same idempotency key and request digest returns the earlier job and False; another
        digest raises Conflict. A job that failed for a reason that may have passed frees its key. Raises
        InsufficientBalance, also beyond a spend cap of the key
        (`key_spend_cap`), and ServiceUnavailable if an input file was condemned meanwhile.
        """
        ...

    async def add_rejected_job(self, job: Job, shards: Sequence[Shard]) -> JobRecord:
        """Add a job that failed before it was queued, without a hold. Replays work as in `add_job`."""
        ...

    async def find_job_by_idempotency_key(self, job: Job) -> JobRecord | None:
        """Return the earlier job with the same idempotency key. Raises Conflict as `add_job` does."""
        ...

    async def find_job(self, job_id: str) -> JobRecord | None: ...

    async def list_jobs(
        self,
        account_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        status: JobStatus | None = None,
        *,
        models: Sequence[str] | None = None,
        oldest_first: bool = False,
    ) -> Page[JobRecord]:
        """Return a page of jobs, newest first by default. The cursor is the id of the last job of a page.

        Removed jobs are left out if `account_id` is given.
        """
        ...

    async def list_unfinished_jobs(self) -> list[JobRecord]:
        """Return unfinished jobs, oldest first; a restart resumes them."""
        ...

    async def list_newest_unfinished(self, limit: int) -> list[str]:
        """Return the ids of the newest unfinished jobs, newest first."""
        ...

    async def find_finished(self, job_ids: Sequence[str]) -> list[str]:
        """Return those of the ids whose job is finished, in no order."""
        ...

    async def count_unfinished_jobs(self, account_id: str) -> int: ...

    async def list_open_attempts(self) -> list[Attempt]:
        """Return attempts that have not ended, of finished jobs too."""
        ...

    async def start_attempt(self, attempt: Attempt) -> bool:
        """Start a waiting shard, and its job with it. Return False if the shard does not wait."""
        ...

    async def end_attempt(
        self,
        prompt_id: str,
        outcome: str,
        detail: str | None,
        now: datetime,
        *,
        retry: bool,
        has_run: bool = True,
    ) -> None:
        """End a failed attempt; with `retry` its shard waits again.

        With `has_run`, the loss of an instance counts as a death under the shard.
        """
        ...

    async def finish_shard(
        self,
        prompt_id: str,
        outputs: Sequence[Output],
        usage: Usage,
        now: datetime,
        *,
        trained: TrainedLora | None = None,
    ) -> JobRecord:
        """Store a shard's outputs; with the last shard the job succeeds and its price is captured.

        `trained` adds the LoRA of a training job, whose only output is its file. A finished job stays as it
        is, and the objects that were stored for it are condemned. Raises ValueError without outputs.
        """
        ...

    async def fail_job(self, job_id: str, error: JobError, now: datetime) -> JobRecord:
        """Fail an unfinished job and release its hold."""
        ...

    async def cancel_job(self, job_id: str, now: datetime) -> JobRecord:
        """Cancel an unfinished job and release its hold."""
        ...

    async def cancel_shard(self, job_id: str, index: int, now: datetime) -> JobRecord:
        """Cancel one shard of an unfinished job, unless it has ended. With the last one the job ends."""
        ...


class Store(
    AccountStore,
    ApiKeyStore,
    WalletStore,
    UsageStore,
    AlertStore,
    OutboxStore,
    JobStore,
    QuarantineStore,
    RepairStore,
    FileStore,
    LoraStore,
    SessionStore,
    JobSearchStore,
    OperatorEventStore,
    Protocol,
):
    """The whole store. No call may follow `close`."""

    @property
    def signals(self) -> StoreSignals:
        """Wake-ups by the changes of this process and, where the database can, of others."""
        ...

    async def check_available(self) -> None:
        """Raise ServiceUnavailable if new jobs could not be stored now, as far as the store knows."""
        ...

    async def close(self) -> None: ...
