"""The balance at an earlier entry or moment is what was booked before, wherever blocks of entries end."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest

from orchestrator.store.postgres.connections import connect as connect_postgres
from orchestrator.store.postgres.database import PostgresDatabase
from orchestrator.store.postgres.migrations import migrate
from orchestrator.store.postgres.store import prepare_database
from orchestrator.store.sql.audit import audit_ledger
from orchestrator.store.sql.wallet import BLOCK_SIZE
from orchestrator.store.sqlite.database import connect
from pricing.ledger import LedgerEntry, balance_change
from tests.support.postgres import database_url, shared_cluster
from tests.support.store_harness import START, StoreHarness, open_world

#: Ids between two entries: each third ends a block.
GAP = BLOCK_SIZE // 3


@pytest.fixture
async def world(store_kind: str, tmp_path: Path) -> AsyncIterator[StoreHarness]:
    """A store whose accounts have entries in several blocks, some booked by clocks that were set back."""
    async with open_world(store_kind, tmp_path) as world:
        other, rng = await world.store.add_account("Bob", "free", world.now), Random(7)
        for number in range(12):
            skip_ids(store_kind, tmp_path)
            await world.succeed(price=rng.randrange(1, 9_000))
            await world.store.credit(other.id, rng.randrange(1, 9_000), f"other {number}", world.now)
            await world.store.credit(world.account.id, rng.randrange(1, 9_000), f"more {number}", world.now)
            world.later(rng.choice((86_400, 3_600, -7_200, -200_000)))
        yield world


def skip_ids(store_kind: str, directory: Path) -> None:
    """Let the next entry have a much higher id, as if others had been booked. Memory has no ids."""
    if store_kind == "sqlite":
        with closing(sqlite3.connect(directory / "store.db")) as db, db:
            db.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'entries'", (GAP,))
    elif store_kind == "postgres":
        with psycopg.connect(database_url(directory)) as connection:
            sequence = "pg_get_serial_sequence('entries', 'id')"
            connection.execute(f"SELECT setval({sequence}, nextval({sequence}) + {GAP})")


async def list_booked(world: StoreHarness) -> Sequence[LedgerEntry]:
    """Return all entries of the account, in the order in which they were booked."""
    page = await world.store.list_ledger_entries(world.account.id, limit=1_000)
    assert page.cursor is None
    return page.items[::-1]


async def test_every_page_has_the_balance_after_its_newest_entry(world: StoreHarness) -> None:
    booked = await list_booked(world)
    assert len(booked) == 37
    for changes_only in (False, True):
        for number, entry in enumerate(booked):
            page = await world.store.list_ledger_entries(
                world.account.id, limit=2, cursor=entry.key, changes_only=changes_only
            )
            assert page.balance == sum(map(balance_change, booked[:number]))


async def test_every_statement_opens_with_what_was_booked_before(world: StoreHarness) -> None:
    booked = await list_booked(world)
    moments = [entry.at + timedelta(seconds=after) for entry in booked for after in (0, 0.5)]
    for since in moments:
        statement = await world.store.get_statement(world.account.id, since, max(moments))
        before = [entry for entry in booked if entry.at < since]
        assert statement.opening == sum(map(balance_change, before))
        assert statement.closing == sum(map(balance_change, booked))


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE entry_blocks SET micros = micros + 1 WHERE block = 0",
        "UPDATE entry_blocks SET last_at = '2030' WHERE block = 0",
        "DELETE FROM entry_blocks WHERE block = 0",
        "INSERT INTO entry_blocks SELECT account_id, 99, 5, first_at, last_at FROM entry_blocks",
    ],
)
async def test_the_audit_finds_wrong_blocks(tmp_path: Path, forgery: str) -> None:
    async with open_world("sqlite", tmp_path) as world:
        await world.succeed()
    with closing(connect(tmp_path / "store.db")) as db:
        assert audit_ledger(db) == []
        db.execute(forgery)
        (rule,) = {violation.rule for violation in audit_ledger(db)}
        assert rule == "balances_equal_entries"


def test_a_postgres_database_of_the_schema_before_gets_its_blocks() -> None:
    entry = """INSERT INTO entries (id, key, kind, account_id, source, target, micros, at)
        VALUES (?, ?, 'credit', 'a', 'funding', 'wallet:a', 5, ?)"""
    url = shared_cluster().create_database("before_blocks")
    with closing(connect_postgres(url)) as connection:
        migrate(connection, last="0005_growth")
        db = PostgresDatabase(connection)
        db.execute("INSERT INTO accounts (id, name, plan, created_at) VALUES ('a', 'Ada', 'free', now())")
        db.executemany(entry, [(id, str(id), START) for id in (1, BLOCK_SIZE - 1, BLOCK_SIZE)])
    prepare_database(url)
    with closing(connect_postgres(url)) as connection:
        db = PostgresDatabase(connection)
        assert audit_ledger(db) == []
        db.execute(entry, (BLOCK_SIZE + 1, "later", START))
        assert audit_ledger(db) == []
        blocks = db.execute("SELECT block, micros FROM entry_blocks ORDER BY block").fetchall()
        assert [tuple(row.values()) for row in blocks] == [(0, 10), (1, 10)]
