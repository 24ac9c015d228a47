"""Tampering with the ledger: the database refuses it, or the audit reports it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.billing.changes import Changes
from orchestrator.jobs import JobRecord, JobStatus, ShardStatus, create_shards
from orchestrator.store.memory import MemoryStore, MemoryTables
from orchestrator.store.memory.audit import AUDIT_CHECKS
from orchestrator.store.memory.transaction import MemoryTransaction
from orchestrator.store.sql.audit import AUDIT_QUERIES, audit_ledger
from orchestrator.store.sqlite.database import SqliteDatabase, connect
from pricing.ledger import EntryKind, hold_entry
from tests.support.store_harness import START, StoreHarness, open_world, populate


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreHarness]:
    async with open_world("sqlite", tmp_path) as world:
        yield world


COPY = "INSERT INTO entries SELECT 99, {}, account_id, {}, at, NULL, '' FROM entries LIMIT 1"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE entries SET micros = 1", "never changed"),
        ("DELETE FROM entries", "never removed"),
        ("UPDATE balances SET micros = -1 WHERE account LIKE 'wallet:%'", "CHECK"),
        ("UPDATE jobs SET status = 'succeeded'", "CHECK"),
        ("UPDATE jobs SET status = 'lost'", "CHECK"),
        ("UPDATE shards SET status = 'succeeded'", "CHECK"),
        ("UPDATE shards SET job_id = 'job-0'", "FOREIGN"),
        (COPY.format("key, kind", "source, target, micros"), "UNIQUE"),
        (COPY.format("'k', 'theft'", "source, target, micros"), "CHECK"),
        (COPY.format("'k', kind", "source, source, micros"), "CHECK"),
        (COPY.format("'k', kind", "source, target, -micros"), "CHECK"),
        (COPY.format("'k', kind", "target, source, 990001"), "CHECK"),
    ],
)
async def test_database_refuses_tampering(
    world: StoreHarness, tmp_path: Path, statement: str, reason: str
) -> None:
    await world.add()
    db = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError, match=reason):
        db.execute(statement)
    db.close()


FORGE = (
    "INSERT INTO entries (key, kind, account_id, source, target, micros, at, job_id)"
    " SELECT 'forged', '{kind}', account_id, '{source}', '{target}', {micros}, at, job_id"
    " FROM entries WHERE key = 'hold:{job}'"
)

#: Rule -> statement that violates it, on a copy without triggers. job-1 has succeeded, job-2 waits.
FRAUD = {
    "balances_sum_to_zero": "UPDATE balances SET micros = micros + 5 WHERE account = 'revenue'",
    "balances_equal_entries": "UPDATE balances SET micros = micros + 5 WHERE account LIKE 'wallet:%'",
    "no_wallet_below_zero": "UPDATE balances SET micros = -5 WHERE account LIKE 'wallet:%'",
    "captured_at_most_held": FORGE.format(
        kind="capture", source="held:x", target="revenue", micros=5, job="job-1"
    ),
    "refunded_at_most_captured": FORGE.format(
        kind="refund", source="revenue", target="wallet:x", micros=10_001, job="job-1"
    ),
    "unfinished_job_is_held": "DELETE FROM entries WHERE key = 'hold:job-2'",
    "finished_job_has_no_open_hold": "UPDATE jobs SET status = 'failed', finished_at = '' WHERE id = 'job-2'",
    "only_success_is_charged": "UPDATE jobs SET status = 'failed' WHERE id = 'job-1'",
    "charged_job_has_outputs": "UPDATE shards SET outputs = '[]' WHERE job_id = 'job-1'",
    "job_has_shards": "DELETE FROM shards WHERE job_id = 'job-2'",
    "finished_job_has_no_open_shard": "UPDATE shards SET status = 'running' WHERE job_id = 'job-1'",
    "usage_equals_captures": "UPDATE usage_days SET micros = micros - 1",
    "meters_equal_revenue": "UPDATE meter_days SET revenue = revenue - 1",
}


@pytest.mark.parametrize("rule", AUDIT_QUERIES)
async def test_sqlite_audit_reports_tampering(world: StoreHarness, tmp_path: Path, rule: str) -> None:
    await world.succeed()
    await world.add()
    db = forged(tmp_path)
    assert audit_ledger(db) == []
    db.execute(FRAUD[rule])
    assert rule in {violation.rule for violation in audit_ledger(db)}
    db.close()


def forged(directory: Path) -> SqliteDatabase:
    """Return a copy of the database without triggers and checks."""
    source, copy = sqlite3.connect(directory / "store.db"), connect(":memory:")
    source.backup(copy)
    source.close()
    for (trigger,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        copy.execute(f"DROP TRIGGER {trigger}")
    copy.execute("PRAGMA ignore_check_constraints = ON")
    return copy


def tamper(tables: MemoryTables, rule: str) -> None:
    """Violate one rule. job-1 has succeeded, job-2 waits."""
    wallet = next(account for account in tables.balances if account.startswith("wallet:"))
    hold = tables.entries["hold:job-1"]
    match rule:
        case "balances_sum_to_zero" | "meters_equal_revenue":
            tables.balances["revenue"] += 5
        case "balances_equal_entries":
            tables.balances[wallet] += 5
        case "no_wallet_below_zero":
            tables.balances[wallet] = -5
        case "captured_at_most_held":
            tables.entries["forged"] = replace(hold, key="forged", kind=EntryKind.CAPTURE)
        case "refunded_at_most_captured":
            tables.entries["forged"] = replace(hold, key="forged", kind=EntryKind.REFUND, micros=10_001)
        case "unfinished_job_is_held":
            del tables.entries["hold:job-2"]
        case "finished_job_has_no_open_hold":
            tables.jobs["job-2"] = replace(tables.jobs["job-2"], status=JobStatus.FAILED, finished_at=START)
        case "only_success_is_charged":
            tables.jobs["job-1"] = replace(tables.jobs["job-1"], status=JobStatus.FAILED)
        case "charged_job_has_outputs":
            tables.shards["job-1"] = tuple(replace(one, outputs=()) for one in tables.shards["job-1"])
        case "job_has_shards":
            tables.shards["job-2"] = ()
        case "finished_job_has_no_open_shard":
            shards = tables.shards["job-1"]
            tables.shards["job-1"] = tuple(replace(one, status=ShardStatus.RUNNING) for one in shards)
        case "usage_equals_captures":
            tables.usage = {key: replace(row, micros=row.micros - 1) for key, row in tables.usage.items()}
        case _:
            raise ValueError(rule)


@pytest.mark.parametrize("rule", AUDIT_CHECKS)
async def test_memory_audit_reports_tampering(rule: str) -> None:
    tables = MemoryTables()
    world = await populate(MemoryStore(tables), 1_000_000)
    await world.succeed()
    await world.add()
    assert await world.store.audit_ledger() == []
    tamper(tables, rule)
    assert rule in {violation.rule for violation in await world.store.audit_ledger()}


def test_both_audits_check_the_same_rules() -> None:
    assert list(AUDIT_CHECKS) == list(AUDIT_QUERIES)


async def test_memory_store_writes_nothing_if_the_ledger_refuses() -> None:
    tables = MemoryTables()
    world = await populate(MemoryStore(tables), 1_000_000)
    job = world.job(price=2_000_000)
    shards = create_shards(job, 1)
    overdrawn = Changes(
        new_job=JobRecord(job=job, shards=shards),
        entries=(hold_entry(world.account.id, job.id, job.price, START),),
    )
    with pytest.raises(ValueError, match="would hold -1000000"):
        MemoryTransaction(tables).apply_changes(overdrawn)
    assert await world.store.find_job(job.id) is None
    assert await world.wallet() == (1_000_000, 0)
