"""What the service asks of its store, in the words of the domain.

Every write is one transaction, on disk when the call returns, and safe to repeat: a replay gives the same
answer and changes nothing. `now` is always an argument. Unknown ids raise NotFound.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from orchestrator.jobs import Attempt, Job, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.store.values import Account, Key, Page, UsageRow, Violation
from pricing.ledger import Balance, Entry


class Accounts(Protocol):
    """Customers and their keys."""

    async def add_account(self, name: str, plan: str, now: datetime) -> Account: ...

    async def accounts(self) -> list[Account]: ...

    async def resolve_account(self, id: str) -> Account:
        """The account with this id, or the account of the key with this id."""
        ...

    async def add_key(self, account_id: str, digest: str, prefix: str, name: str, now: datetime) -> Key: ...

    async def find_key(self, digest: str) -> Key | None:
        """Revoked keys are found too."""
        ...

    async def get_key(self, key_id: str) -> Key: ...

    async def list_keys(self, account_id: str | None = None) -> list[Key]:
        """Oldest first; of all accounts when None."""
        ...

    async def revoke_key(self, key_id: str, now: datetime) -> Key: ...


class Wallets(Protocol):
    """Money outside of jobs."""

    async def credit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        """Book a payment. The same reference again books nothing; with another amount it is a Conflict."""
        ...

    async def balance(self, account_id: str) -> Balance: ...

    async def ledger(self, account_id: str, limit: int = 50, cursor: str | None = None) -> Page[Entry]: ...

    async def usage(
        self, since: date | None = None, until: date | None = None, account_id: str | None = None
    ) -> list[UsageRow]:
        """Succeeded jobs by day, account, key and model; `until` is the first day left out."""
        ...

    async def audit(self) -> list[Violation]:
        """Every rule of the books that does not hold, from the first entry on. Empty when all is well."""
        ...


class Jobs(Protocol):
    """Jobs, their shards and attempts, and the money that moves with them."""

    async def add_job(self, job: Job, shards: Sequence[Shard]) -> tuple[JobRecord, bool]:
        """Keep a job, its shards and the hold of its price. True: it is new.

        The same idempotency key and request digest again give the job of the first time and False; another
        digest raises Conflict. Raises InsufficientBalance.
        """
        ...

    async def find_repeated(self, job: Job) -> JobRecord | None:
        """The earlier job that `job` repeats by its idempotency key. Raises Conflict as `add_job` does."""
        ...

    async def get_job(self, job_id: str) -> JobRecord | None: ...

    async def list_jobs(
        self,
        account_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        status: JobStatus | None = None,
    ) -> Page[JobRecord]:
        """Newest first. The cursor is the id of the last job seen."""
        ...

    async def unfinished(self) -> list[JobRecord]:
        """Oldest first: what a restart has to take up again."""
        ...

    async def open_attempts(self) -> list[Attempt]:
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


class Store(Accounts, Wallets, Jobs, Protocol):
    """The whole store. Closed once; no call may follow."""

    async def close(self) -> None: ...
