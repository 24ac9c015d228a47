"""The schema on PostgreSQL: the same as SQLite's, with the same rules, and migrated once."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.settings import SettingsError
from orchestrator.store.postgres.connections import connect
from orchestrator.store.postgres.database import to_postgres
from orchestrator.store.postgres.migrations import MIGRATION_NAMES
from orchestrator.store.postgres.store import prepare_database
from orchestrator.store.schema import UnknownSchema
from orchestrator.store.sqlite import SqliteStore
from tests.support.postgres import database_url, shared_cluster
from tests.support.store_harness import StoreHarness, open_world

#: SQLite's type and column names -> PostgreSQL's types. Times and days are text in SQLite.
TIMES = re.compile(r".*_at|at|plan_since|renewed|ended?s?_at|claimed_until")
JSON_COLUMNS = {("jobs", "params"), ("shards", "params"), ("shards", "outputs")}
JSON_COLUMNS |= {("outbox", "payload"), ("quarantined_shards", "graph")}
JSON_COLUMNS |= {("operator_events", "detail")}


#: Tables of what only several processes share.
ONLY_IN_POSTGRES = {"scheduler_leader", "request_counts", "published_models", "published_files"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreHarness]:
    async with open_world("postgres", tmp_path) as world:
        yield world


def sqlite_schema(directory: Path) -> dict[str, dict[str, Any]]:
    """Return tables with their columns, keys and references, as a new SQLite database has them."""
    asyncio.run(SqliteStore(directory / "new.db").close())
    with closing(sqlite3.connect(directory / "new.db")) as db:
        names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = [name for (name,) in names if not name.startswith(("sqlite_", "_sqlite"))]
        return {table: describe_sqlite_table(db, table) for table in tables}


def describe_sqlite_table(db: sqlite3.Connection, table: str) -> dict[str, Any]:
    columns = db.execute(f"PRAGMA table_info({table})").fetchall()
    # SQLite's primary keys of STRICT tables without NOT NULL may be null; PostgreSQL's never are.
    types = {
        name: (postgres_type(table, name, type), bool(required or key))
        for _, name, type, required, _, key in columns
    }
    primary = tuple(name for *_, name in sorted((key, name) for _, name, *_, key in columns if key))
    indexes = db.execute(f"PRAGMA index_list({table})").fetchall()
    described = [
        (bool(unique), bool(partial), tuple(row[2] for row in db.execute(f"PRAGMA index_info({name})")))
        for _, name, unique, origin, partial in indexes
        if origin != "pk"
    ]
    if table == "outbox":
        # SQLite's indexes end with the number of the row by themselves.
        described = [(*one[:2], ("due_at", "id") if one[2] == ("due_at",) else one[2]) for one in described]
    references = {(row[3], row[2], row[4]) for row in db.execute(f"PRAGMA foreign_key_list({table})")}
    return {"columns": types, "primary": primary, "indexes": sorted(described), "references": references}


def postgres_type(table: str, column: str, type: str) -> str:
    if (table, column) in JSON_COLUMNS:
        return "json"
    if column == "simulated":
        return "boolean"
    if type == "TEXT" and column == "day":
        return "date"
    if type == "TEXT" and TIMES.fullmatch(column):
        return "timestamp with time zone"
    return {"TEXT": "text", "INTEGER": "bigint", "REAL": "double precision"}[type]


def postgres_schema() -> dict[str, dict[str, Any]]:
    """Return the same of the PostgreSQL schema, without `rowid`, which SQLite has by itself."""
    query = shared_cluster().query
    tables: dict[str, dict[str, Any]] = {}
    for table, column, type, nullable in query(
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'migrations' AND column_name <> 'rowid'",
        "template",
    ):
        entry = tables.setdefault(
            str(table), {"columns": {}, "primary": (), "indexes": [], "references": set()}
        )
        entry["columns"][column] = (type, nullable == "NO")
    for table, primary, unique, partial, columns in query(
        """SELECT c.relname, i.indisprimary, i.indisunique, i.indpred IS NOT NULL,
            array_agg(a.attname::text ORDER BY k.n)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace s ON s.oid = c.relnamespace,
            unnest(i.indkey::int[]) WITH ORDINALITY AS k(number, n), pg_attribute a
        WHERE s.nspname = 'public' AND c.relname <> 'migrations'
            AND a.attrelid = c.oid AND a.attnum = k.number
        GROUP BY i.indexrelid, c.relname, 2, 3, 4""",
        "template",
    ):
        assert isinstance(columns, list)
        if primary:
            tables[str(table)]["primary"] = tuple(columns)
        else:
            tables[str(table)]["indexes"].append((unique, partial, tuple(columns)))
    for table, column, target, referred in query(
        "SELECT conrelid::regclass::text, a.attname::text, confrelid::regclass::text, b.attname::text"
        " FROM pg_constraint JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1]"
        " JOIN pg_attribute b ON b.attrelid = confrelid AND b.attnum = confkey[1] WHERE contype = 'f'",
        "template",
    ):
        tables[str(table)]["references"].add((column, target, referred))
    for entry in tables.values():
        entry["indexes"].sort()
    return tables


def test_both_databases_have_the_same_schema(tmp_path: Path) -> None:
    expected, found = sqlite_schema(tmp_path), postgres_schema()
    assert found.keys() - ONLY_IN_POSTGRES == expected.keys()
    for table in expected:
        assert found[table] == expected[table], table


def checks_of_sqlite(directory: Path) -> dict[str, int]:
    """Return how many CHECKs each table has, without those that PostgreSQL's JSON type makes."""
    with closing(sqlite3.connect(directory / "new.db")) as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL")
        return {name: len(re.findall(r"CHECK \((?!.*json_valid)", sql)) for name, sql in rows.fetchall()}


def test_both_databases_have_as_many_checks(tmp_path: Path) -> None:
    asyncio.run(SqliteStore(tmp_path / "new.db").close())
    query = (
        "SELECT conrelid::regclass::text, count(*) FROM pg_constraint"
        " WHERE contype = 'c' AND conrelid > 0 GROUP BY 1"
    )
    found = {str(table): number for table, number in shared_cluster().query(query, "template")}
    expected = {name: number for name, number in checks_of_sqlite(tmp_path).items() if number}
    assert {table: found.get(table) for table in expected} == expected


COPY = (
    "INSERT INTO entries (key, kind, account_id, source, target, micros, at, reference)"
    " SELECT {}, account_id, {}, at, '' FROM entries LIMIT 1"
)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE entries SET micros = 1", "never changed"),
        ("DELETE FROM entries", "never removed"),
        ("TRUNCATE entries", "never removed"),
        ("UPDATE balances SET micros = -1 WHERE account LIKE 'wallet:%'", "check"),
        ("UPDATE jobs SET status = 'succeeded'", "check"),
        ("UPDATE jobs SET status = 'lost'", "check"),
        ("UPDATE shards SET status = 'succeeded'", "check"),
        ("UPDATE shards SET job_id = 'job-0'", "foreign key"),
        ("UPDATE shards SET outputs = 'no JSON'", "json"),
        (COPY.format("key, kind", "source, target, micros"), "unique"),
        (COPY.format("'k', 'theft'", "source, target, micros"), "check"),
        (COPY.format("'k', kind", "source, source, micros"), "check"),
        (COPY.format("'k', kind", "source, target, -micros"), "check"),
        (COPY.format("'k', kind", "target, source, 990001"), "check"),
    ],
)
async def test_database_refuses_tampering(
    world: StoreHarness, tmp_path: Path, statement: str, reason: str
) -> None:
    await world.add()
    with closing(connect(database_url(tmp_path))) as connection, pytest.raises(psycopg.Error, match=reason):
        connection.execute(statement.encode())


def test_a_schema_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    url = database_url(tmp_path)
    with closing(connect(url)) as connection:
        connection.execute("INSERT INTO migrations (name) VALUES ('9999_tomorrow')")
        try:
            with pytest.raises(UnknownSchema, match=f"9999_tomorrow.*{MIGRATION_NAMES[-1]}"):
                prepare_database(url)
        finally:
            connection.execute("DELETE FROM migrations WHERE name = '9999_tomorrow'")


async def test_processes_that_open_a_new_database_at_once_migrate_it_once() -> None:
    url = shared_cluster().create_database("migrated_at_once")
    await asyncio.gather(*(asyncio.to_thread(prepare_database, url) for _ in range(5)))
    names = shared_cluster().query("SELECT name FROM migrations ORDER BY name", "migrated_at_once")
    assert names == [(name,) for name in MIGRATION_NAMES]


def test_a_database_with_another_encoding_is_refused() -> None:
    options = "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
    shared_cluster().execute(f"CREATE DATABASE latin {options}")
    with pytest.raises(SettingsError, match=r"encoding LATIN1.*createdb --encoding=UTF8"):
        prepare_database(shared_cluster().url("latin"))


def test_queries_are_written_for_the_driver() -> None:
    query = "SELECT a::text FROM t WHERE b = ? AND c LIKE 'wallet:%?' AND d = :key AND e % 2 = 0"
    expected = "SELECT a::text FROM t WHERE b = %s AND c LIKE 'wallet:%%?' AND d = %(key)s AND e %% 2 = 0"
    assert to_postgres(query, True) == expected.encode()
    assert to_postgres(query, False) == query.encode()
