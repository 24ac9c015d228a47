"""What nobody can do to the books: the database refuses it, or the audit finds it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.store.sqlite.audit import AUDIT_QUERIES, audit_ledger
from tests.support.store_harness import StoreHarness, open_world


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
async def test_the_database_itself_refuses(
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

#: Rule -> what somebody with the file and no triggers could do to break it. job-1 has succeeded, job-2 waits.
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
async def test_the_audit_finds_fraud(world: StoreHarness, tmp_path: Path, rule: str) -> None:
    await world.succeed()
    await world.add()
    db = forged(tmp_path)
    assert audit_ledger(db) == []
    db.execute(FRAUD[rule])
    assert rule in {violation.rule for violation in audit_ledger(db)}
    db.close()


def forged(directory: Path) -> sqlite3.Connection:
    """A copy of the books without their locks."""
    source, copy = sqlite3.connect(directory / "store.db"), sqlite3.connect(":memory:", isolation_level=None)
    source.backup(copy)
    source.close()
    for (trigger,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        copy.execute(f"DROP TRIGGER {trigger}")
    copy.execute("PRAGMA ignore_check_constraints = ON")
    return copy
