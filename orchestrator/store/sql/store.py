"""The store on an SQL database; `store.sqlite` and `store.postgres` open one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial
from typing import TypeVar

from orchestrator.files.secret_box import SecretBox
from orchestrator.jobs import (
    Attempt,
    Job,
    JobError,
    JobRecord,
    JobStatus,
    Output,
    PendingResponse,
    Shard,
    Usage,
)
from orchestrator.jobs.loras import TrainedLora
from orchestrator.jobs.quarantine import QuarantinedShard
from orchestrator.store import operations, repair_operations
from orchestrator.store.signals import StoreSignals
from orchestrator.store.sql import (
    accounts,
    alerts,
    attempts,
    jobs,
    keys,
    quarantine,
    repairs,
    sessions,
    usage,
    wallet,
)
from orchestrator.store.sql.access import Databases
from orchestrator.store.sql.audit import audit_ledger
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.file_store import SqlFiles
from orchestrator.store.sql.job_search import SqlJobSearch
from orchestrator.store.sql.lora_store import SqlLoras
from orchestrator.store.sql.operator_events import SqlOperatorEvents
from orchestrator.store.sql.outbox_store import SqlOutbox
from orchestrator.store.sql.transaction import SqlTransaction
from orchestrator.store.values import (
    Account,
    ApiKey,
    ApiKeyLimits,
    AuditViolation,
    EntryPage,
    JobFilter,
    Page,
    UsageRow,
)
from pricing.alerts import Alert, AlertMetric
from pricing.costs import MeteredUsage
from pricing.ledger import Balance
from pricing.statement import Statement

NO_LIMITS = ApiKeyLimits()
T = TypeVar("T")


class SqlStore(SqlFiles, SqlLoras, SqlOutbox, SqlJobSearch, SqlOperatorEvents):
    """Implements `orchestrator.store.protocol.Store`, where each method is described."""

    def __init__(
        self, db: Databases, signals: StoreSignals, new_id: Callable[[str], str], secret_box: SecretBox
    ) -> None:
        """`secret_box` encrypts the secrets in the database."""
        self._db = db
        self._new_id = new_id
        self._secret_box = secret_box
        self._signals = signals

    @property
    def signals(self) -> StoreSignals:
        return self._signals

    async def check_available(self) -> None:
        await self._db.read(lambda db: db.execute("SELECT 1").fetchone())

    async def close(self) -> None:
        await self._db.close()

    # Accounts

    async def add_account(self, name: str, plan: str, now: datetime) -> Account:
        id = self._new_id("acct")
        account = Account(id=id, name=name, plan=plan, created_at=now, plan_since=now)
        return await self._db.write(accounts.add_account, account)

    async def list_accounts(self) -> list[Account]:
        return await self._db.read(accounts.list_accounts)

    async def resolve_account(self, account_or_key_id: str) -> Account:
        return await self._db.read(accounts.resolve_account, account_or_key_id)

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
        limits: ApiKeyLimits = NO_LIMITS,
        max_active: int | None = None,
    ) -> ApiKey:
        row = {"id": self._new_id("key"), "account_id": account_id, "digest": digest, "prefix": prefix}
        return await self._db.write(keys.add_key, {**row, "name": name}, limits, now, max_active)

    async def find_key(self, digest: str) -> ApiKey | None:
        return await self._db.read_rows(keys.find_key, digest)

    async def get_key(self, key_id: str) -> ApiKey:
        return await self._db.read(keys.get_key, key_id)

    async def list_keys(self, account_id: str | None = None) -> list[ApiKey]:
        return await self._db.read(keys.list_keys, account_id)

    async def set_key_limits(self, key_id: str, limits: ApiKeyLimits) -> ApiKey:
        return await self._db.write(keys.set_key_limits, key_id, limits)

    async def revoke_key(self, key_id: str, now: datetime) -> ApiKey:
        return await self._db.write(keys.revoke_key, key_id, now)

    async def rotate_key(self, key_id: str, digest: str, prefix: str, now: datetime) -> ApiKey:
        row = {"id": self._new_id("key"), "digest": digest, "prefix": prefix}
        return await self._db.write(keys.rotate_key, key_id, row, now)

    # Wallets

    async def credit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        return await self._change(operations.credit, account_id, micros, reference, now)

    async def grant(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        return await self._change(operations.grant, account_id, micros, reference, now)

    async def debit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        return await self._change(operations.debit, account_id, micros, reference, now)

    async def refund(self, job_id: str, micros: int | None, reference: str, now: datetime) -> Balance:
        return await self._change(operations.refund, job_id, micros, reference, now)

    async def renew_allowance(
        self, account_id: str, micros: int, period_start: datetime, now: datetime
    ) -> Balance:
        return await self._change(operations.renew_allowance, account_id, micros, period_start, now)

    async def remaining_allowance(self, account_id: str) -> int:
        return await self._read(operations.remaining_allowance, account_id)

    async def get_balance(self, account_id: str) -> Balance:
        return await self._db.read(wallet.get_balance, account_id)

    async def list_ledger_entries(
        self, account_id: str, limit: int = 50, cursor: str | None = None, *, changes_only: bool = False
    ) -> EntryPage:
        return await self._db.read(wallet.list_entries, account_id, limit, cursor, changes_only)

    async def get_statement(self, account_id: str, since: datetime, until: datetime) -> Statement:
        return await self._db.read_long(wallet.get_statement, account_id, since, until)

    async def audit_ledger(self) -> list[AuditViolation]:
        return await self._db.read_long(audit_ledger)

    # Usage and alerts

    async def list_usage(
        self, since: date | None = None, until: date | None = None, account_id: str | None = None
    ) -> list[UsageRow]:
        return await self._db.read_long(usage.list_usage, since, until, account_id)

    async def list_metered_usage(
        self, since: date | None = None, until: date | None = None
    ) -> list[MeteredUsage]:
        return await self._db.read(usage.list_metered_usage, since, until)

    async def record_bytes_sent(self, job_id: str, size: int, now: datetime) -> None:
        await self._change_deferred(operations.record_bytes_sent, job_id, size, now)

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
        alert = Alert(
            id=self._new_id("alert"),
            account_id=account_id,
            watched=watched,
            threshold=threshold,
            url=url,
            created_at=now,
        )

        def add(db: Database) -> Alert:
            tx = SqlTransaction(db)
            operations.check_new_alert(tx, account_id, max_alerts)
            alerts.insert_alert(db, alert)
            operations.check_alerts(tx, account_id, now)
            return alerts.get_alert(db, account_id, alert.id)

        return await self._db.write(add)

    async def list_alerts(self, account_id: str) -> list[Alert]:
        return await self._db.read(alerts.list_alerts, account_id)

    async def update_alert(
        self, account_id: str, alert_id: str, threshold: int, url: str | None, now: datetime
    ) -> Alert:
        def update(db: Database) -> Alert:
            alerts.update_alert_terms(db, account_id, alert_id, threshold, url)
            operations.check_alerts(SqlTransaction(db), account_id, now)
            return alerts.get_alert(db, account_id, alert_id)

        return await self._db.write(update)

    async def delete_alert(self, account_id: str, alert_id: str) -> None:
        await self._db.write(alerts.delete_alert, account_id, alert_id)

    # Sessions

    async def end_session(self, session_id: str, expires_at: datetime, now: datetime) -> None:
        await self._db.write(sessions.end_session, session_id, expires_at, now)

    async def is_session_ended(self, session_id: str) -> bool:
        return await self._db.read(sessions.is_session_ended, session_id)

    # Jobs

    async def add_job(
        self,
        job: Job,
        shards: Sequence[Shard],
        input_keys: Sequence[str] = (),
        attempts: Sequence[Attempt] = (),
    ) -> tuple[JobRecord, bool]:
        return await self._change(operations.add_job, job, shards, input_keys, attempts)

    async def add_rejected_job(self, job: Job, shards: Sequence[Shard]) -> JobRecord:
        return await self._change(operations.add_rejected_job, job, shards)

    async def find_job_by_idempotency_key(self, job: Job) -> JobRecord | None:
        return await self._read(operations.find_job_by_idempotency_key, job)

    async def find_job(self, job_id: str) -> JobRecord | None:
        return await self._read(SqlTransaction.find_job, job_id)

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
        wanted = JobFilter(account_id=account_id, status=status, models=models, oldest_first=oldest_first)
        return await self.search_jobs(wanted, limit, cursor)

    async def list_unfinished_jobs(self) -> list[JobRecord]:
        return await self._db.read(jobs.list_unfinished_jobs)

    async def list_newest_unfinished(self, limit: int) -> list[str]:
        return await self._db.read(jobs.list_newest_unfinished, limit)

    async def find_finished(self, job_ids: Sequence[str]) -> list[str]:
        return await self._db.read(jobs.find_finished, job_ids)

    async def count_unfinished_jobs(self, account_id: str) -> int:
        return await self._db.read(jobs.count_unfinished_jobs, account_id)

    async def list_open_attempts(self) -> list[Attempt]:
        return await self._db.read(attempts.list_open_attempts)

    async def start_attempt(self, attempt: Attempt) -> bool:
        return await self._change(operations.start_attempt, attempt)

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
        end = partial(operations.end_attempt, retry=retry, has_run=has_run)
        await self._change(end, prompt_id, outcome, detail, now)

    async def finish_shard(
        self,
        prompt_id: str,
        outputs: Sequence[Output],
        usage: Usage,
        now: datetime,
        *,
        trained: TrainedLora | None = None,
    ) -> JobRecord:
        finish = partial(operations.finish_shard, trained=trained)
        return await self._change(finish, prompt_id, outputs, usage, now)

    async def fail_job(self, job_id: str, error: JobError, now: datetime) -> JobRecord:
        return await self._change(operations.fail_job, job_id, error, now)

    async def cancel_job(self, job_id: str, now: datetime) -> JobRecord:
        return await self._change(operations.cancel_job, job_id, now)

    async def cancel_shard(self, job_id: str, index: int, now: datetime) -> JobRecord:
        return await self._change(operations.cancel_shard, job_id, index, now)

    async def quarantine_shard(
        self, quarantined: QuarantinedShard, error: JobError, now: datetime
    ) -> JobRecord:
        return await self._change(operations.quarantine_shard, quarantined, error, now)

    async def list_quarantined_shards(self, limit: int = 100) -> list[QuarantinedShard]:
        return await self._db.read(quarantine.list_quarantined_shards, limit)

    async def get_quarantined_shard(self, shard_id: str) -> QuarantinedShard:
        return await self._db.read(quarantine.get_quarantined_shard, shard_id)

    async def delete_quarantined_shard(self, shard_id: str) -> None:
        await self._db.write(quarantine.delete_quarantined_shard, shard_id)

    # Repairs

    async def record_response(self, job_id: str, pending: PendingResponse | None) -> None:
        await self._change_deferred(repair_operations.record_response, job_id, pending)

    async def find_undelivered_jobs(self, job: Job, since: datetime) -> list[JobRecord]:
        return await self._db.read(repairs.find_undelivered_jobs, job, since)

    async def list_unsent_results(self, before: datetime) -> list[JobRecord]:
        return await self._db.read(repairs.list_unsent_results, before)

    async def refund_unsent_result(self, job_id: str, now: datetime) -> JobRecord:
        return await self._change(repair_operations.refund_unsent_result, job_id, now)

    async def find_attempts(self, prompt_ids: Sequence[str]) -> list[Attempt]:
        return await self._db.read(repairs.find_attempts, prompt_ids)

    async def list_defects(self) -> list[tuple[str, str]]:
        def find(db: Database) -> list[tuple[str, str]]:
            tx = SqlTransaction(db)
            found = ((repair_operations.find_defect(tx, id), id) for id in repairs.list_suspects(db))
            return [(defect, id) for defect, id in found if defect is not None]

        return await self._db.read(find)

    async def mend_job(self, job_id: str, now: datetime) -> JobRecord:
        return await self._change(repair_operations.mend_job, job_id, now)
