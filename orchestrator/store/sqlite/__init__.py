"""The store on one SQLite file: for one machine, with any number of processes on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path

from orchestrator.jobs import Attempt, Job, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.store.sqlite import (
    accounts,
    alerts,
    files,
    funds,
    jobs,
    keys,
    outbox,
    shards,
    usage,
    wallet,
)
from orchestrator.store.sqlite.audit import audit
from orchestrator.store.sqlite.connection import Connections
from orchestrator.store.values import (
    Account,
    DeliveryAttempt,
    Key,
    KeyLimits,
    Message,
    Page,
    UsageRow,
    Violation,
)
from pricing.alerts import Alert, Watched
from pricing.costs import Metered
from pricing.ledger import Balance, Entry
from pricing.statement import Statement

NO_LIMITS = KeyLimits()


def new_id(prefix: str) -> str:
    """`acct_5f2c...`: short enough to type, random enough never to meet another."""
    return f"{prefix}_{secrets.token_hex(8)}"


class SqliteStore:
    """Implements `orchestrator.store.protocol.Store`, where each method is described.

    Opening creates the file and brings its schema up to date; it may wait for another process that writes.
    """

    def __init__(self, path: Path, new_id: Callable[[str], str] = new_id) -> None:
        self._db = Connections(path)
        self._new_id = new_id

    async def close(self) -> None:
        await self._db.close()

    # Accounts

    async def add_account(self, name: str, plan: str, now: datetime) -> Account:
        id = self._new_id("acct")
        account = Account(id=id, name=name, plan=plan, created_at=now, plan_since=now)
        return await self._db.write(accounts.add_account, account)

    async def accounts(self) -> list[Account]:
        return await self._db.read(accounts.all_accounts)

    async def resolve_account(self, id: str) -> Account:
        return await self._db.read(accounts.resolve_account, id)

    async def set_plan(self, account_id: str, plan: str, now: datetime) -> Account:
        return await self._db.write(accounts.set_plan, account_id, plan, now)

    # Keys

    async def add_key(
        self,
        account_id: str,
        digest: str,
        prefix: str,
        name: str,
        now: datetime,
        *,
        limits: KeyLimits = NO_LIMITS,
    ) -> Key:
        row = {"id": self._new_id("key"), "account_id": account_id, "digest": digest, "prefix": prefix}
        return await self._db.write(keys.add_key, {**row, "name": name}, limits, now)

    async def find_key(self, digest: str) -> Key | None:
        return await self._db.read(keys.find_key, digest)

    async def get_key(self, key_id: str) -> Key:
        return await self._db.read(keys.get_key, key_id)

    async def list_keys(self, account_id: str | None = None) -> list[Key]:
        return await self._db.read(keys.list_keys, account_id)

    async def limit_key(self, key_id: str, limits: KeyLimits) -> Key:
        return await self._db.write(keys.limit_key, key_id, limits)

    async def revoke_key(self, key_id: str, now: datetime) -> Key:
        return await self._db.write(keys.revoke_key, key_id, now)

    async def rotate_key(self, key_id: str, digest: str, prefix: str, now: datetime) -> Key:
        row = {"id": self._new_id("key"), "digest": digest, "prefix": prefix}
        return await self._db.write(keys.rotate_key, key_id, row, now)

    # Wallets

    async def credit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        return await self._db.write(funds.credit, account_id, micros, reference, now)

    async def grant(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        return await self._db.write(funds.grant, account_id, micros, reference, now)

    async def debit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        return await self._db.write(funds.debit, account_id, micros, reference, now)

    async def refund(self, job_id: str, micros: int | None, reference: str, now: datetime) -> Balance:
        return await self._db.write(funds.refund, job_id, micros, reference, now)

    async def renew(self, account_id: str, micros: int, period_start: datetime, now: datetime) -> Balance:
        return await self._db.write(funds.renew, account_id, micros, period_start, now)

    async def allowance_left(self, account_id: str) -> int:
        return await self._db.read(funds.allowance_left, account_id)

    async def balance(self, account_id: str) -> Balance:
        return await self._db.read(wallet.balance, account_id)

    async def ledger(self, account_id: str, limit: int = 50, cursor: str | None = None) -> Page[Entry]:
        return await self._db.read(wallet.entries, account_id, limit, cursor)

    async def statement(self, account_id: str, since: datetime, until: datetime) -> Statement:
        return await self._db.read(funds.statement, account_id, since, until)

    async def audit(self) -> list[Violation]:
        return await self._db.read(audit)

    # Usage and alerts

    async def usage(
        self, since: date | None = None, until: date | None = None, account_id: str | None = None
    ) -> list[UsageRow]:
        return await self._db.read(usage.usage, since, until, account_id)

    async def metered(self, since: date | None = None, until: date | None = None) -> list[Metered]:
        return await self._db.read(usage.metered, since, until)

    async def count_sent(self, job_id: str, size: int, now: datetime) -> None:
        await self._db.write(usage.count_sent, job_id, size, now)

    async def add_alert(
        self, account_id: str, watched: Watched, threshold: int, url: str | None, now: datetime
    ) -> Alert:
        alert = Alert(
            id=self._new_id("alert"),
            account_id=account_id,
            watched=watched,
            threshold=threshold,
            url=url,
            created_at=now,
        )
        return await self._db.write(alerts.add_alert, alert)

    async def list_alerts(self, account_id: str) -> list[Alert]:
        return await self._db.read(alerts.list_alerts, account_id)

    async def change_alert(
        self, account_id: str, alert_id: str, threshold: int, url: str | None, now: datetime
    ) -> Alert:
        return await self._db.write(alerts.change_alert, account_id, alert_id, (threshold, url), now)

    async def remove_alert(self, account_id: str, alert_id: str) -> None:
        await self._db.write(alerts.remove_alert, account_id, alert_id)

    async def messages(self, account_id: str, limit: int = 50) -> list[Message]:
        return await self._db.read(outbox.messages, account_id, limit)

    async def job_message(self, job_id: str) -> Message | None:
        return await self._db.read(outbox.job_message, job_id)

    async def get_message(self, account_id: str, message_id: int) -> Message:
        return await self._db.read(outbox.get_message, account_id, message_id)

    async def replay_message(self, message_id: int, now: datetime) -> Message:
        return await self._db.write(outbox.replay_message, message_id, now)

    async def signing_secrets(self, account_id: str, now: datetime) -> list[str]:
        return await self._db.read(outbox.signing_secrets, account_id, now)

    async def first_signing_secret(self, account_id: str, secret: str, now: datetime) -> list[str]:
        return await self._db.write(outbox.first_signing_secret, account_id, secret, now)

    async def add_signing_secret(
        self, account_id: str, secret: str, now: datetime, others_until: datetime
    ) -> None:
        await self._db.write(outbox.add_signing_secret, account_id, secret, now, others_until)

    async def due_messages(self, now: datetime, limit: int = 50) -> list[Message]:
        return await self._db.read(outbox.due_messages, now, limit)

    async def note_delivery(self, attempt: DeliveryAttempt, again: datetime | None) -> None:
        await self._db.write(outbox.note_delivery, attempt, again)

    # Jobs

    async def add_job(self, job: Job, shards: Sequence[Shard]) -> tuple[JobRecord, bool]:
        return await self._db.write(jobs.add_job, job, shards)

    async def add_refused_job(self, job: Job, shards: Sequence[Shard]) -> JobRecord:
        return await self._db.write(jobs.add_refused_job, job, shards)

    async def find_repeated(self, job: Job) -> JobRecord | None:
        return await self._db.read(jobs.find_repeated, job)

    async def get_job(self, job_id: str) -> JobRecord | None:
        return await self._db.read(jobs.get_job, job_id)

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
        wanted = jobs.Wanted(account_id=account_id, status=status, models=models, oldest_first=oldest_first)
        return await self._db.read(jobs.list_jobs, wanted, limit, cursor)

    async def remove_job(self, job_id: str, now: datetime) -> list[str]:
        return await self._db.write(jobs.remove_job, job_id, now)

    async def unfinished(self) -> list[JobRecord]:
        return await self._db.read(jobs.unfinished)

    async def count_unfinished(self, account_id: str) -> int:
        return await self._db.read(jobs.count_unfinished, account_id)

    async def open_attempts(self) -> list[Attempt]:
        return await self._db.read(shards.open_attempts)

    async def start_attempt(self, attempt: Attempt) -> bool:
        return await self._db.write(shards.start_attempt, attempt)

    async def end_attempt(
        self, prompt_id: str, outcome: str, detail: str | None, now: datetime, retry: bool
    ) -> None:
        await self._db.write(shards.end_attempt, prompt_id, outcome, detail, now, retry)

    async def finish_shard(
        self, prompt_id: str, outputs: Sequence[Output], usage: Usage, now: datetime
    ) -> JobRecord:
        return await self._db.write(shards.finish_shard, prompt_id, outputs, usage, now)

    async def fail_job(self, job_id: str, error: JobError, now: datetime) -> JobRecord:
        return await self._db.write(jobs.fail_job, job_id, error, now)

    async def cancel_job(self, job_id: str, now: datetime) -> JobRecord:
        return await self._db.write(jobs.cancel_job, job_id, now)

    # Files

    async def unused_files(self, before: datetime, limit: int) -> list[str]:
        return await self._db.read(files.unused_files, before, limit)

    async def forget_files(self, keys: Sequence[str], before: datetime) -> None:
        await self._db.write(files.forget_files, keys, before)
