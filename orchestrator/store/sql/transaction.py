"""`Transaction` on one connection: loads the facts of the rules and writes their changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from orchestrator.billing.changes import Changes
from orchestrator.billing.values import Account, ApiKeyLimits
from orchestrator.jobs import Attempt, JobRecord, Shard
from orchestrator.jobs.loras import Lora
from orchestrator.store.signals import events_of
from orchestrator.store.sql import (
    accounts,
    alerts,
    files,
    jobs,
    keys,
    loras,
    outbox,
    quarantine,
    repairs,
    usage,
    wallet,
)
from orchestrator.store.sql.database import Database
from orchestrator.store.sql.rows import (
    attempt_to_row,
    entry_to_row,
    format_time,
    insert_row,
    job_status_to_row,
    job_to_row,
    parse_optional_time,
    row_to_attempt,
    shard_result_to_row,
    shard_to_row,
    update_row,
)
from pricing.alerts import Alert
from pricing.ledger import Balance, LedgerEntry


class SqlTransaction:
    """Implements `orchestrator.store.transaction.Transaction`; the connection is within a transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._locked_accounts: set[str] = set()

    def lock_account(self, account_id: str) -> None:
        if account_id not in self._locked_accounts:
            accounts.lock_account(self._db, account_id)
            self._locked_accounts.add(account_id)

    def lock_job(self, job_id: str) -> None:
        self._db.lock_rows("SELECT id FROM jobs WHERE id = ?", (job_id,))

    def lock_job_of_shard(self, shard_id: str) -> None:
        query = "SELECT id FROM jobs WHERE id = (SELECT job_id FROM shards WHERE id = ?)"
        self._db.lock_rows(query, (shard_id,))

    def lock_job_of_attempt(self, prompt_id: str) -> None:
        query = """SELECT id FROM jobs WHERE id = (
            SELECT job_id FROM shards JOIN attempts ON shard_id = shards.id WHERE prompt_id = ?)"""
        self._db.lock_rows(query, (prompt_id,))

    def lock_objects(self, keys: Sequence[str]) -> None:
        self._db.lock_names(keys)

    def get_account(self, account_id: str) -> Account:
        return accounts.get_account(self._db, account_id)

    def find_job(self, job_id: str) -> JobRecord | None:
        return jobs.find_job(self._db, "id = ?", job_id)

    def find_job_with_idempotency_key(self, account_id: str, idempotency_key: str) -> JobRecord | None:
        condition = "account_id = ? AND idempotency_key = ?"
        return jobs.find_job(self._db, condition, account_id, idempotency_key)

    def find_job_of_shard(self, shard_id: str) -> JobRecord | None:
        return jobs.find_job(self._db, "id = (SELECT job_id FROM shards WHERE id = ?)", shard_id)

    def find_attempt(self, prompt_id: str) -> Attempt | None:
        row = self._db.execute("SELECT * FROM attempts WHERE prompt_id = ?", (prompt_id,)).fetchone()
        return None if row is None else row_to_attempt(row)

    def list_open_attempts_of(self, job_id: str) -> list[Attempt]:
        return repairs.list_open_attempts_of(self._db, job_id)

    def find_key_limits(self, key_id: str) -> ApiKeyLimits | None:
        return keys.find_key_limits(self._db, key_id)

    def find_entry(self, key: str) -> LedgerEntry | None:
        return wallet.find_entry(self._db, key)

    def get_balance(self, account_id: str) -> Balance:
        return wallet.get_balance(self._db, account_id)

    def sum_refunds(self, job_id: str) -> int:
        query = "SELECT coalesce(sum(micros), 0) AS total FROM entries WHERE job_id = ? AND kind = 'refund'"
        return self._sum(query, job_id)

    def sum_net_charges_after(self, entry: LedgerEntry) -> int:
        return self._sum(
            """SELECT coalesce(sum(CASE kind WHEN 'refund' THEN -micros ELSE micros END), 0) AS total
            FROM entries
            WHERE account_id = ? AND kind IN ('capture', 'refund')
                AND id > (SELECT id FROM entries WHERE key = ?)""",
            entry.account_id,
            entry.key,
        )

    def find_period_start(self, account_id: str) -> datetime | None:
        row = self._db.execute("SELECT renewed FROM accounts WHERE id = ?", (account_id,)).fetchone()
        return parse_optional_time(row["renewed"]) if row else None

    def sum_key_spend(self, key_id: str, since: date) -> int:
        return self._sum(
            """WITH chain AS (SELECT coalesce(first_key_id, id) AS id FROM keys WHERE id = ?),
                members AS (SELECT id FROM chain
                    UNION SELECT keys.id FROM keys JOIN chain ON keys.first_key_id = chain.id)
            SELECT
                (SELECT coalesce(sum(micros), 0) FROM usage_days
                 WHERE key_id IN (SELECT id FROM members) AND day >= ?)
                + (SELECT coalesce(sum(price), 0) FROM jobs
                   WHERE key_id IN (SELECT id FROM members) AND finished_at IS NULL) AS total""",
            key_id,
            since.isoformat(),
        )

    def sum_account_spend(self, account_id: str, since: date) -> int:
        query = "SELECT coalesce(sum(micros), 0) AS total FROM usage_days WHERE account_id = ? AND day >= ?"
        return self._sum(query, account_id, since.isoformat())

    def _sum(self, query: str, *values: str) -> int:
        return int(self._db.execute(query, values).fetchone()["total"])

    def list_alerts(self, account_id: str) -> list[Alert]:
        return alerts.list_alerts(self._db, account_id)

    def find_referenced_keys(self, keys: Sequence[str]) -> set[str]:
        return files.find_referenced_keys(self._db, keys)

    def find_condemned_keys(self, keys: Sequence[str]) -> set[str]:
        return files.find_condemned_keys(self._db, keys)

    def list_unshared_keys(self, job_id: str) -> list[str]:
        return files.list_unshared_keys(self._db, job_id)

    def list_unused_keys(self, before: datetime, limit: int) -> list[str]:
        return files.list_unused_keys(self._db, before, limit)

    def list_old_loras(self, before: datetime, limit: int) -> list[Lora]:
        return loras.list_old_loras(self._db, before, limit)

    def apply_changes(self, changes: Changes) -> None:
        """The transaction of the connection, or its savepoint, makes this atomic.

        Rows that transactions of all accounts add to come last, so that they are locked for a short time. All
        transactions write tables in the same order, so that two do not wait for each other.
        """
        for account_id in sorted({entry.account_id for entry in changes.entries}):
            self.lock_account(account_id)
        with self._db.batch():
            self._write_changes(changes)
        self._db.signal(events_of(changes))

    def _write_changes(self, changes: Changes) -> None:
        self._write_job(changes)
        if changes.quarantined is not None:
            quarantine.add_quarantined_shard(self._db, changes.quarantined)
        for used in changes.usage:
            usage.add_usage(self._db, used)
        for alert in changes.alerts:
            update_row(self._db, "alerts", alert.id, {"fired": alert.fired})
        for message in changes.messages:
            outbox.add_message(self._db, message)
        if (renewal := changes.renewal) is not None:
            row = {"renewed": format_time(renewal.period_start)}
            update_row(self._db, "accounts", renewal.account_id, row)
        if (removed := changes.removed_job) is not None:
            removed_at = removed.removed_at and format_time(removed.removed_at)
            update_row(self._db, "jobs", removed.id, {"removed_at": removed_at})
        if changes.new_lora is not None:
            loras.add_lora(self._db, changes.new_lora)
        loras.delete_loras(self._db, changes.deleted_loras)
        files.write_file_changes(self._db, changes.files)
        for entry in changes.entries:
            insert_row(self._db, "entries", entry_to_row(entry))
        usage.add_metered_usage(self._db, changes.metered)

    def _write_job(self, changes: Changes) -> None:
        if changes.freed_key_of is not None:
            update_row(self._db, "jobs", changes.freed_key_of, {"idempotency_key": None})
        if changes.new_job is not None:
            insert_row(self._db, "jobs", job_to_row(changes.new_job.job))
            for shard in changes.new_job.shards:
                insert_row(self._db, "shards", shard_to_row(shard))
        for attempt in changes.new_attempts:
            insert_row(self._db, "attempts", attempt_to_row(attempt))
        if (ended := changes.ended_attempt) is not None:
            self._db.execute(
                "UPDATE attempts SET ended_at = ?, outcome = ?, detail = ? WHERE prompt_id = ?",
                (
                    ended.ended_at and format_time(ended.ended_at),
                    ended.outcome,
                    ended.detail,
                    ended.prompt_id,
                ),
            )
        for shard in changes.shards:
            self._update_shard(shard)
        if changes.job is not None:
            update_row(self._db, "jobs", changes.job.id, job_status_to_row(changes.job))

    def _update_shard(self, shard: Shard) -> None:
        update_row(self._db, "shards", shard.id, shard_result_to_row(shard))
