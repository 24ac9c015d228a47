"""`Transaction` on the tables in memory: loads the facts of the rules and writes their changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime

from orchestrator.billing.changes import Changes, NewMessage
from orchestrator.billing.values import Account, ApiKeyLimits
from orchestrator.jobs import Attempt, Job, JobRecord, Shard
from orchestrator.jobs.loras import Lora
from orchestrator.store.lookup import found
from orchestrator.store.memory import file_tables
from orchestrator.store.memory.tables import MemoryTables
from orchestrator.store.signals import SignalHub, events_of
from orchestrator.store.transaction import SerialTransaction
from orchestrator.store.values import WebhookMessage
from pricing.alerts import Alert
from pricing.ledger import Balance, EntryKind, LedgerEntry, held_account, sum_balances, wallet_account


class MemoryTransaction(SerialTransaction):
    """Implements `orchestrator.store.transaction.Transaction`.

    Its methods do not await, so that no other coroutine can change the tables meanwhile.
    """

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self.signals = SignalHub()

    def get_account(self, account_id: str) -> Account:
        return found(self._tables.accounts.get(account_id), "account", account_id)

    def find_job(self, job_id: str) -> JobRecord | None:
        return self._tables.record(job_id) if job_id in self._tables.jobs else None

    def find_job_with_idempotency_key(self, account_id: str, idempotency_key: str) -> JobRecord | None:
        job_id = self._tables.idempotency_keys.get((account_id, idempotency_key))
        return None if job_id is None else self._tables.record(job_id)

    def find_job_of_shard(self, shard_id: str) -> JobRecord | None:
        job_id = self._tables.job_of_shard.get(shard_id)
        return None if job_id is None else self._tables.record(job_id)

    def find_attempt(self, prompt_id: str) -> Attempt | None:
        return self._tables.attempts.get(prompt_id)

    def list_open_attempts_of(self, job_id: str) -> list[Attempt]:
        attempts = self._tables.attempts.values()
        job_of_shard = self._tables.job_of_shard
        return [one for one in attempts if one.ended_at is None and job_of_shard[one.shard_id] == job_id]

    def find_key_limits(self, key_id: str) -> ApiKeyLimits | None:
        key = self._tables.keys.get(key_id)
        return None if key is None else key.limits

    def find_entry(self, key: str) -> LedgerEntry | None:
        return self._tables.entries.get(key)

    def get_balance(self, account_id: str) -> Balance:
        self.get_account(account_id)
        balances = self._tables.balances
        return Balance(
            available=balances[wallet_account(account_id)], held=balances[held_account(account_id)]
        )

    def sum_refunds(self, job_id: str) -> int:
        return sum(
            entry.micros
            for entry in self._tables.entries.values()
            if entry.job_id == job_id and entry.kind is EntryKind.REFUND
        )

    def sum_net_charges_after(self, entry: LedgerEntry) -> int:
        entries = list(self._tables.entries.values())
        signs = {EntryKind.CAPTURE: 1, EntryKind.REFUND: -1}
        return sum(
            later.micros * signs.get(later.kind, 0)
            for later in entries[entries.index(entry) + 1 :]
            if later.account_id == entry.account_id
        )

    def find_period_start(self, account_id: str) -> datetime | None:
        return self._tables.periods.get(account_id)

    def sum_key_spend(self, key_id: str, since: date) -> int:
        keys, jobs, usage = (self._tables.keys, self._tables.jobs.values(), self._tables.usage.values())
        chain = keys[key_id].chain_id
        members = {key.id for key in keys.values() if key.chain_id == chain}
        reserved = sum(job.price for job in jobs if job.key_id in members and job.finished_at is None)
        return reserved + sum(row.micros for row in usage if row.key_id in members and row.day >= since)

    def sum_account_spend(self, account_id: str, since: date) -> int:
        usage = self._tables.usage.values()
        return sum(row.micros for row in usage if row.account_id == account_id and row.day >= since)

    def list_alerts(self, account_id: str) -> list[Alert]:
        alerts = (alert for alert in self._tables.alerts.values() if alert.account_id == account_id)
        return sorted(alerts, key=lambda alert: alert.created_at)

    def find_referenced_keys(self, keys: Sequence[str]) -> set[str]:
        return {key for key, _ in self._tables.files} & set(keys)

    def find_condemned_keys(self, keys: Sequence[str]) -> set[str]:
        return self._tables.deletions.keys() & set(keys)

    def list_unshared_keys(self, job_id: str) -> list[str]:
        return file_tables.list_unshared_keys(self._tables, job_id)

    def list_unused_keys(self, before: datetime, limit: int) -> list[str]:
        return file_tables.list_unused_keys(self._tables, before, limit)

    def list_old_loras(self, before: datetime, limit: int) -> list[Lora]:
        old = [lora for lora in self._tables.loras.values() if lora.created_at < before]
        return sorted(old, key=lambda lora: (lora.created_at, lora.job_id))[:limit]

    def apply_changes(self, changes: Changes) -> None:
        """Check the ledger's constraints first: nothing may fail after the first write."""
        tables = self._tables
        balances = self._balances_after(changes)
        self._write_job(changes)
        if changes.quarantined is not None:
            tables.quarantined.setdefault(changes.quarantined.shard_id, changes.quarantined)
        tables.entries.update((entry.key, entry) for entry in changes.entries)
        tables.balances = balances
        for metered in changes.metered:
            tables.add_metered_usage(metered)
        for used in changes.usage:
            tables.add_usage(used)
        tables.alerts.update((alert.id, alert) for alert in changes.alerts)
        for message in changes.messages:
            self._add_message(message)
        if changes.renewal is not None:
            tables.periods[changes.renewal.account_id] = changes.renewal.period_start
        if changes.removed_job is not None:
            tables.jobs[changes.removed_job.id] = changes.removed_job
        if changes.new_lora is not None:
            tables.loras[changes.new_lora.job_id] = changes.new_lora
        for job_id in changes.deleted_loras:
            tables.loras.pop(job_id, None)
        file_tables.write_file_changes(tables, changes.files)
        self.signals.publish(events_of(changes))

    def _balances_after(self, changes: Changes) -> Counter[str]:
        """Return the new balances. Raises ValueError for a key booked twice or a wallet below zero."""
        keys = [entry.key for entry in changes.entries]
        if len(set(keys)) < len(keys) or any(key in self._tables.entries for key in keys):
            raise ValueError(f"a ledger entry is booked twice: {keys}")
        balances = Counter(self._tables.balances)
        for account, micros in sum_balances(changes.entries).items():
            balances[account] += micros
            if balances[account] < 0 and account.startswith(("wallet:", "held:")):
                raise ValueError(f"ledger account {account} would hold {balances[account]}")
        return balances

    def _write_job(self, changes: Changes) -> None:
        if changes.freed_key_of is not None:
            failed = self._tables.jobs[changes.freed_key_of]
            self._tables.jobs[failed.id] = replace(failed, idempotency_key=None)
        if changes.new_job is not None:
            self._insert_job(changes.new_job)
        ended = () if changes.ended_attempt is None else (changes.ended_attempt,)
        for attempt in (*changes.new_attempts, *ended):
            self._tables.attempts[attempt.prompt_id] = attempt
        for shard in changes.shards:
            self._update_shard(shard)
        if changes.job is not None:
            self._update_job(changes.job)

    def _insert_job(self, record: JobRecord) -> None:
        job, tables = record.job, self._tables
        tables.jobs[job.id] = job
        tables.shards[job.id] = tuple(record.shards)
        tables.job_of_shard.update((shard.id, job.id) for shard in record.shards)
        if job.idempotency_key is not None:
            tables.idempotency_keys[job.account_id, job.idempotency_key] = job.id

    def _update_shard(self, shard: Shard) -> None:
        shards = self._tables.shards[shard.job_id]
        if shard.outputs != shards[shard.index].outputs:
            for output in shard.outputs:
                self._tables.files.setdefault((output.key, shard.job_id), None)
        self._tables.shards[shard.job_id] = (*shards[: shard.index], shard, *shards[shard.index + 1 :])

    def _update_job(self, job: Job) -> None:
        files = self._tables.files
        if job.finished_at != self._tables.jobs[job.id].finished_at:
            files.update((file, job.finished_at) for file in files if file[1] == job.id)
        removed_at = self._tables.jobs[job.id].removed_at
        self._tables.jobs[job.id] = replace(job, removed_at=removed_at)

    def _add_message(self, message: NewMessage) -> None:
        id = len(self._tables.messages) + 1
        self._tables.messages[id] = WebhookMessage(
            id=id,
            account_id=message.account_id,
            topic=message.topic,
            payload=dict(message.payload),
            url=message.url,
            created_at=message.created_at,
            due_at=message.created_at if message.url else None,
            job_id=message.job_id,
        )
