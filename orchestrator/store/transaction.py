"""What the store's operations need of an implementation: facts to decide on, and one atomic write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from orchestrator.billing.changes import Changes
from orchestrator.billing.values import Account, ApiKeyLimits
from orchestrator.jobs import Attempt, JobRecord
from orchestrator.jobs.loras import Lora
from pricing.alerts import Alert
from pricing.ledger import Balance, LedgerEntry


class Transaction(Protocol):
    """A view of the store in which locked facts stay true until the changes are written.

    An operation that decides on what a job, an account or an object is locks it before it loads its facts.
    Where one transaction has the whole store for itself, the locks do nothing; elsewhere other transactions
    wait for them. All operations lock in the same order: job, objects, account.
    """

    def lock_job(self, job_id: str) -> None:
        """Keep the job, its shards and attempts, its entries and its refunds; an unknown id locks nothing."""
        ...

    def lock_job_of_shard(self, shard_id: str) -> None:
        """Lock the job that has this shard."""
        ...

    def lock_job_of_attempt(self, prompt_id: str) -> None:
        """Lock the job that this attempt belongs to."""
        ...

    def lock_objects(self, keys: Sequence[str]) -> None:
        """Keep which jobs need these objects, and whether they are condemned."""
        ...

    def lock_account(self, account_id: str) -> None:
        """Keep the account's balance, spending, allowance, alerts, keys and idempotency keys."""
        ...

    def get_account(self, account_id: str) -> Account:
        """Raise NotFound for an unknown id."""
        ...

    def find_job(self, job_id: str) -> JobRecord | None: ...

    def find_job_with_idempotency_key(self, account_id: str, idempotency_key: str) -> JobRecord | None: ...

    def find_job_of_shard(self, shard_id: str) -> JobRecord | None: ...

    def find_attempt(self, prompt_id: str) -> Attempt | None: ...

    def list_open_attempts_of(self, job_id: str) -> list[Attempt]:
        """Return the attempts of a job that have not ended."""
        ...

    def find_key_limits(self, key_id: str) -> ApiKeyLimits | None: ...

    def find_entry(self, key: str) -> LedgerEntry | None:
        """Return the ledger entry with this key."""
        ...

    def get_balance(self, account_id: str) -> Balance:
        """Raise NotFound for an unknown account."""
        ...

    def sum_refunds(self, job_id: str) -> int: ...

    def sum_net_charges_after(self, entry: LedgerEntry) -> int:
        """Return the account's captures less its refunds that were booked after `entry`."""
        ...

    def find_period_start(self, account_id: str) -> datetime | None:
        """Return the start of the billing month that the account's allowance was last renewed for."""
        ...

    def sum_key_spend(self, key_id: str, since: date) -> int:
        """Return the usage of a key from a day on, plus the price of all its unfinished jobs.

        The keys that it replaced by rotation, and those that replaced it, are included.
        """
        ...

    def sum_account_spend(self, account_id: str, since: date) -> int:
        """Return the usage of an account from a day on."""
        ...

    def list_alerts(self, account_id: str) -> list[Alert]:
        """Return the account's budget alerts, oldest first."""
        ...

    def find_referenced_keys(self, keys: Sequence[str]) -> set[str]:
        """Return those of the objects that some job needs."""
        ...

    def find_condemned_keys(self, keys: Sequence[str]) -> set[str]:
        """Return those of the objects that have to be deleted, or were deleted lately."""
        ...

    def list_unshared_keys(self, job_id: str) -> list[str]:
        """Return the keys of objects that this job needs and no other."""
        ...

    def list_unused_keys(self, before: datetime, limit: int) -> list[str]:
        """Return keys of objects that only jobs finished before `before` need, longest unneeded first.

        Those of LoRAs are left out. There may be more even where there are less than `limit`, unless there
        are none."""
        ...

    def list_old_loras(self, before: datetime, limit: int) -> list[Lora]:
        """Return LoRAs that were trained before `before`, oldest first."""
        ...

    def apply_changes(self, changes: Changes) -> None:
        """Write everything, or nothing if it fails."""
        ...


class SerialTransaction:
    """The locks of a store whose transactions run one after the other: none."""

    def lock_job(self, job_id: str) -> None:
        """Nothing can change meanwhile."""

    def lock_job_of_shard(self, shard_id: str) -> None:
        """Nothing can change meanwhile."""

    def lock_job_of_attempt(self, prompt_id: str) -> None:
        """Nothing can change meanwhile."""

    def lock_objects(self, keys: Sequence[str]) -> None:
        """Nothing can change meanwhile."""

    def lock_account(self, account_id: str) -> None:
        """Nothing can change meanwhile."""
