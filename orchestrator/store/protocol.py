"""What the service asks of its store, in the words of the domain.

Every write is one transaction, on disk when the call returns, and safe to repeat: a replay gives the same
answer and changes nothing. `now` is always an argument. Unknown ids raise NotFound.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from orchestrator.jobs import Attempt, Job, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.store.outbox import OutboxStore
from orchestrator.store.values import Account, ApiKey, ApiKeyLimits, AuditViolation, Page, UsageRow
from pricing.alerts import Alert, AlertMetric
from pricing.costs import MeteredUsage
from pricing.ledger import Balance, LedgerEntry
from pricing.statement import Statement

NO_LIMITS = ApiKeyLimits()


class AccountStore(Protocol):
    """Customers."""

    async def add_account(self, name: str, plan: str, now: datetime) -> Account: ...

    async def list_accounts(self) -> list[Account]:
        """Oldest first."""
        ...

    async def resolve_account(self, account_or_key_id: str) -> Account:
        """The account with this id, or the account of the key with this id."""
        ...

    async def set_plan(self, account_id: str, plan: str, now: datetime) -> Account:
        """Another plan begins its billing months now; jobs that run keep their price."""
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
    ) -> ApiKey: ...

    async def find_key(self, digest: str) -> ApiKey | None:
        """Revoked and expired keys are found too."""
        ...

    async def get_key(self, key_id: str) -> ApiKey: ...

    async def list_keys(self, account_id: str | None = None) -> list[ApiKey]:
        """Oldest first; of all accounts when None."""
        ...

    async def set_key_limits(self, key_id: str, limits: ApiKeyLimits) -> ApiKey: ...

    async def revoke_key(self, key_id: str, now: datetime) -> ApiKey: ...

    async def rotate_key(self, key_id: str, digest: str, prefix: str, now: datetime) -> ApiKey:
        """A new key with the name and limits of an old one, which ends at once.

        Raises InvalidRequest for a key that was revoked before.
        """
        ...


class WalletStore(Protocol):
    """Money outside of jobs.

    Amounts are positive micro-dollars, else InvalidRequest. The same reference of the same account again
    books nothing; with another amount it is a Conflict.
    """

    async def credit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        """Book a payment."""
        ...

    async def grant(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        """Give something away: it counts as promotion and not as paid in."""
        ...

    async def debit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        """Pay back, or correct a payment downwards. Raises InsufficientBalance."""
        ...

    async def refund(self, job_id: str, micros: int | None, reference: str, now: datetime) -> Balance:
        """Give back some of what a job was charged; None: all that is left of it.

        Raises Conflict where nothing was charged, InvalidRequest for more than is left.
        """
        ...

    async def renew_allowance(
        self, account_id: str, micros: int, period_start: datetime, now: datetime
    ) -> Balance:
        """Begin a billing month: what is left of the last allowance goes, `micros` come (perhaps none).

        Once per period; a period that is not later than the last one changes nothing.
        """
        ...

    async def remaining_allowance(self, account_id: str) -> int:
        """Micro-dollars of this month's allowance that are not spent."""
        ...

    async def get_balance(self, account_id: str) -> Balance: ...

    async def list_ledger_entries(
        self, account_id: str, limit: int = 50, cursor: str | None = None
    ) -> Page[LedgerEntry]: ...

    async def get_statement(self, account_id: str, since: datetime, until: datetime) -> Statement: ...

    async def audit_ledger(self) -> list[AuditViolation]:
        """Every rule of the books that does not hold, from the first entry on. Empty when all is well."""
        ...


class UsageStore(Protocol):
    """What work came to. `until` is the first day (UTC) left out."""

    async def list_usage(
        self, since: date | None = None, until: date | None = None, account_id: str | None = None
    ) -> list[UsageRow]:
        """Succeeded jobs by day, account, key and model."""
        ...

    async def list_metered_usage(
        self, since: date | None = None, until: date | None = None
    ) -> list[MeteredUsage]:
        """Work and revenue by day, model and device: for operators."""
        ...

    async def record_bytes_sent(self, job_id: str, size: int, now: datetime) -> None:
        """So many bytes of a job's outputs were delivered. Not idempotent."""
        ...


class AlertStore(Protocol):
    """Budget alerts."""

    async def add_alert(
        self, account_id: str, watched: AlertMetric, threshold: int, url: str | None, now: datetime
    ) -> Alert:
        """What is crossed already fires at once."""
        ...

    async def list_alerts(self, account_id: str) -> list[Alert]: ...

    async def update_alert(
        self, account_id: str, alert_id: str, threshold: int, url: str | None, now: datetime
    ) -> Alert:
        """Other terms: it fires anew if they are crossed."""
        ...

    async def delete_alert(self, account_id: str, alert_id: str) -> None: ...


class JobStore(Protocol):
    """Jobs, their shards and attempts, and the money that moves with them."""

    async def add_job(self, job: Job, shards: Sequence[Shard]) -> tuple[JobRecord, bool]:
        """Keep a job, its shards and the hold of its price. True: it is new.

        The same idempotency key and request digest again give the job of the first time and False; another
        digest raises Conflict. Raises InsufficientBalance, also at a spend cap of the key (`key_spend_cap`).
        """
        ...

    async def add_rejected_job(self, job: Job, shards: Sequence[Shard]) -> JobRecord:
        """Keep a job that has failed before it began; nothing is held for it. Repeated as `add_job`."""
        ...

    async def find_job_by_idempotency_key(self, job: Job) -> JobRecord | None:
        """The earlier job that `job` repeats by its idempotency key. Raises Conflict as `add_job` does."""
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
        """Newest first, if not told otherwise. The cursor is the id of the last job seen.

        Removed jobs are left out where an account is named.
        """
        ...

    async def remove_job(self, job_id: str, now: datetime) -> list[str]:
        """The job's account does not see it any more; the books keep it.

        The keys of its files that no other job needs.
        """
        ...

    async def list_unfinished_jobs(self) -> list[JobRecord]:
        """Oldest first: what a restart has to take up again."""
        ...

    async def count_unfinished_jobs(self, account_id: str) -> int: ...

    async def list_open_attempts(self) -> list[Attempt]:
        """Attempts that nobody has ended, of finished jobs too."""
        ...

    async def start_attempt(self, attempt: Attempt) -> bool:
        """A waiting shard runs, and its job with it. False where the shard no longer waits."""
        ...

    async def end_attempt(
        self, prompt_id: str, outcome: str, detail: str | None, now: datetime, retry: bool
    ) -> None:
        """An attempt failed; with `retry` its shard waits again."""
        ...

    async def finish_shard(
        self, prompt_id: str, outputs: Sequence[Output], usage: Usage, now: datetime
    ) -> JobRecord:
        """A shard has its outputs; with the last one the job succeeds and its price is captured.

        A job that is already finished stays as it is.
        """
        ...

    async def fail_job(self, job_id: str, error: JobError, now: datetime) -> JobRecord:
        """An unfinished job fails and its hold is released."""
        ...

    async def cancel_job(self, job_id: str, now: datetime) -> JobRecord:
        """An unfinished job is given up and its hold released."""
        ...


class OutputFileStore(Protocol):
    """Files in the object store that jobs have made."""

    async def list_unused_files(self, before: datetime, limit: int) -> list[str]:
        """Keys of files that only jobs need which finished before `before`, longest unneeded first."""
        ...

    async def delete_file_records(self, keys: Sequence[str], before: datetime) -> None:
        """These files are deleted, as far as jobs made them that finished before `before`."""
        ...


class Store(
    AccountStore,
    ApiKeyStore,
    WalletStore,
    UsageStore,
    AlertStore,
    OutboxStore,
    JobStore,
    OutputFileStore,
    Protocol,
):
    """The whole store. Closed once; no call may follow."""

    async def close(self) -> None: ...
