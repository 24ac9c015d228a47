"""The store in memory: for tests and short-lived processes. Nothing survives the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime

from orchestrator.billing.api_keys import check_active_keys
from orchestrator.errors import InvalidRequest
from orchestrator.jobs import Attempt, Job, JobError, JobRecord, JobStatus, Output, Shard, Usage
from orchestrator.jobs.loras import TrainedLora
from orchestrator.store import operations
from orchestrator.store.ids import new_id
from orchestrator.store.lookup import found
from orchestrator.store.memory import queries
from orchestrator.store.memory.audit import audit_ledger
from orchestrator.store.memory.files import MemoryFiles
from orchestrator.store.memory.job_search import MemoryJobSearch
from orchestrator.store.memory.loras import MemoryLoras
from orchestrator.store.memory.operator_events import MemoryOperatorEvents
from orchestrator.store.memory.outbox import MemoryOutbox
from orchestrator.store.memory.quarantine import MemoryQuarantine
from orchestrator.store.memory.repairs import MemoryRepairs
from orchestrator.store.memory.sessions import MemorySessions
from orchestrator.store.memory.tables import MemoryTables
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


class MemoryStore(
    MemoryOutbox,
    MemoryQuarantine,
    MemoryRepairs,
    MemoryFiles,
    MemoryLoras,
    MemorySessions,
    MemoryJobSearch,
    MemoryOperatorEvents,
):
    """Implements `orchestrator.store.protocol.Store`, where each method is described.

    A second store on the same `tables` finds what the first one wrote.
    """

    def __init__(self, tables: MemoryTables | None = None, new_id: Callable[[str], str] = new_id) -> None:
        super().__init__(tables or MemoryTables())
        self._new_id = new_id

    async def close(self) -> None:
        pass

    # Accounts

    async def add_account(self, name: str, plan: str, now: datetime) -> Account:
        _check_unicode(name, plan)
        account = Account(id=self._new_id("acct"), name=name, plan=plan, created_at=now, plan_since=now)
        self._tables.accounts[account.id] = account
        return account

    async def list_accounts(self) -> list[Account]:
        return sorted(self._tables.accounts.values(), key=lambda account: account.created_at)

    async def resolve_account(self, account_or_key_id: str) -> Account:
        key = self._tables.keys.get(account_or_key_id)
        account_id = account_or_key_id if key is None else key.account.id
        return found(self._tables.accounts.get(account_id), "account or API key", account_or_key_id)

    async def set_plan(self, account_id: str, plan: str, now: datetime) -> Account:
        _check_unicode(plan)
        account = self._tx.get_account(account_id)
        if account.plan != plan:
            account = replace(account, plan=plan, plan_since=now)
            self._tables.accounts[account_id] = account
        return account

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
        _check_unicode(name)
        check_active_keys(await self.list_keys(account_id), max_active, now)
        key = ApiKey(
            id=self._new_id("key"),
            account=self._tx.get_account(account_id),
            digest=digest,
            prefix=prefix,
            name=name,
            created_at=now,
            limits=limits,
        )
        self._tables.keys[key.id] = key
        return key

    async def find_key(self, digest: str) -> ApiKey | None:
        keys = self._tables.keys.values()
        return next((self._with_account(key) for key in keys if key.digest == digest), None)

    async def get_key(self, key_id: str) -> ApiKey:
        return self._with_account(found(self._tables.keys.get(key_id), "API key", key_id))

    async def list_keys(self, account_id: str | None = None) -> list[ApiKey]:
        keys = [key for key in self._tables.keys.values() if account_id in (None, key.account.id)]
        return sorted(map(self._with_account, keys), key=lambda key: key.created_at)

    async def set_key_limits(self, key_id: str, limits: ApiKeyLimits) -> ApiKey:
        self._tables.keys[key_id] = replace(await self.get_key(key_id), limits=limits)
        return self._tables.keys[key_id]

    async def revoke_key(self, key_id: str, now: datetime) -> ApiKey:
        key = await self.get_key(key_id)
        self._tables.keys[key_id] = replace(key, revoked_at=key.revoked_at or now)
        return self._tables.keys[key_id]

    async def rotate_key(self, key_id: str, digest: str, prefix: str, now: datetime) -> ApiKey:
        old = await self.get_key(key_id)
        operations.check_key_rotatable(old)
        await self.revoke_key(key_id, now)
        new = await self.add_key(old.account.id, digest, prefix, old.name, now, limits=old.limits)
        self._tables.keys[new.id] = replace(new, first_key_id=old.chain_id)
        return self._tables.keys[new.id]

    def _with_account(self, key: ApiKey) -> ApiKey:
        """Return the key with its account as it is now."""
        return replace(key, account=self._tables.accounts[key.account.id])

    # Wallets

    async def credit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        _check_unicode(reference)
        return operations.credit(self._tx, account_id, micros, reference, now)

    async def grant(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        _check_unicode(reference)
        return operations.grant(self._tx, account_id, micros, reference, now)

    async def debit(self, account_id: str, micros: int, reference: str, now: datetime) -> Balance:
        _check_unicode(reference)
        return operations.debit(self._tx, account_id, micros, reference, now)

    async def refund(self, job_id: str, micros: int | None, reference: str, now: datetime) -> Balance:
        _check_unicode(reference)
        return operations.refund(self._tx, job_id, micros, reference, now)

    async def renew_allowance(
        self, account_id: str, micros: int, period_start: datetime, now: datetime
    ) -> Balance:
        return operations.renew_allowance(self._tx, account_id, micros, period_start, now)

    async def remaining_allowance(self, account_id: str) -> int:
        return operations.remaining_allowance(self._tx, account_id)

    async def get_balance(self, account_id: str) -> Balance:
        return self._tx.get_balance(account_id)

    async def list_ledger_entries(
        self, account_id: str, limit: int = 50, cursor: str | None = None, *, changes_only: bool = False
    ) -> EntryPage:
        self._tx.get_account(account_id)
        return queries.list_entries(self._tables, account_id, limit, cursor, changes_only)

    async def get_statement(self, account_id: str, since: datetime, until: datetime) -> Statement:
        self._tx.get_account(account_id)
        return queries.get_statement(self._tables, account_id, since, until)

    async def audit_ledger(self) -> list[AuditViolation]:
        return audit_ledger(self._tables)

    # Usage and alerts

    async def list_usage(
        self, since: date | None = None, until: date | None = None, account_id: str | None = None
    ) -> list[UsageRow]:
        return queries.list_usage(self._tables, since, until, account_id)

    async def list_metered_usage(
        self, since: date | None = None, until: date | None = None
    ) -> list[MeteredUsage]:
        return queries.list_metered_usage(self._tables, since, until)

    async def record_bytes_sent(self, job_id: str, size: int, now: datetime) -> None:
        operations.record_bytes_sent(self._tx, job_id, size, now)

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
        operations.check_new_alert(self._tx, account_id, max_alerts)
        alert = Alert(
            id=self._new_id("alert"),
            account_id=account_id,
            watched=watched,
            threshold=threshold,
            url=url,
            created_at=now,
        )
        self._tables.alerts[alert.id] = alert
        operations.check_alerts(self._tx, account_id, now)
        return self._tables.alerts[alert.id]

    async def list_alerts(self, account_id: str) -> list[Alert]:
        return self._tx.list_alerts(account_id)

    async def update_alert(
        self, account_id: str, alert_id: str, threshold: int, url: str | None, now: datetime
    ) -> Alert:
        alert = self._get_alert(account_id, alert_id)
        self._tables.alerts[alert_id] = replace(alert, threshold=threshold, url=url, fired=None)
        operations.check_alerts(self._tx, account_id, now)
        return self._tables.alerts[alert_id]

    async def delete_alert(self, account_id: str, alert_id: str) -> None:
        del self._tables.alerts[self._get_alert(account_id, alert_id).id]

    def _get_alert(self, account_id: str, alert_id: str) -> Alert:
        alert = self._tables.alerts.get(alert_id)
        mine = alert if alert is not None and alert.account_id == account_id else None
        return found(mine, "alert", alert_id)

    # Jobs

    async def add_job(
        self,
        job: Job,
        shards: Sequence[Shard],
        input_keys: Sequence[str] = (),
        attempts: Sequence[Attempt] = (),
    ) -> tuple[JobRecord, bool]:
        return operations.add_job(self._tx, job, shards, input_keys, attempts)

    async def add_rejected_job(self, job: Job, shards: Sequence[Shard]) -> JobRecord:
        return operations.add_rejected_job(self._tx, job, shards)

    async def find_job_by_idempotency_key(self, job: Job) -> JobRecord | None:
        return operations.find_job_by_idempotency_key(self._tx, job)

    async def find_job(self, job_id: str) -> JobRecord | None:
        return self._tx.find_job(job_id)

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
        return queries.list_jobs(self._tables, wanted, limit, cursor)

    async def list_unfinished_jobs(self) -> list[JobRecord]:
        jobs = self._tables.jobs.values()
        return [self._tables.record(job.id) for job in jobs if job.finished_at is None]

    async def check_available(self) -> None:
        pass

    async def list_newest_unfinished(self, limit: int) -> list[str]:
        jobs = reversed(self._tables.jobs.values())
        return [job.id for job in jobs if job.finished_at is None][:limit]

    async def find_finished(self, job_ids: Sequence[str]) -> list[str]:
        jobs = (self._tables.jobs.get(job_id) for job_id in job_ids)
        return [job.id for job in jobs if job is not None and job.finished_at is not None]

    async def count_unfinished_jobs(self, account_id: str) -> int:
        jobs = self._tables.jobs.values()
        return sum(job.account_id == account_id and job.finished_at is None for job in jobs)

    async def list_open_attempts(self) -> list[Attempt]:
        running = [attempt for attempt in self._tables.attempts.values() if attempt.ended_at is None]
        return sorted(running, key=lambda attempt: (attempt.started_at, attempt.prompt_id))

    async def start_attempt(self, attempt: Attempt) -> bool:
        return operations.start_attempt(self._tx, attempt)

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
        operations.end_attempt(self._tx, prompt_id, outcome, detail, now, retry=retry, has_run=has_run)

    async def finish_shard(
        self,
        prompt_id: str,
        outputs: Sequence[Output],
        usage: Usage,
        now: datetime,
        *,
        trained: TrainedLora | None = None,
    ) -> JobRecord:
        return operations.finish_shard(self._tx, prompt_id, outputs, usage, now, trained=trained)

    async def fail_job(self, job_id: str, error: JobError, now: datetime) -> JobRecord:
        return operations.fail_job(self._tx, job_id, error, now)

    async def cancel_job(self, job_id: str, now: datetime) -> JobRecord:
        return operations.cancel_job(self._tx, job_id, now)

    async def cancel_shard(self, job_id: str, index: int, now: datetime) -> JobRecord:
        return operations.cancel_shard(self._tx, job_id, index, now)


def _check_unicode(*texts: str) -> None:
    """Raise InvalidRequest for lone surrogates, which no database stores."""
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        raise InvalidRequest("Text must be valid Unicode.", code="invalid_unicode")
