"""Databases of every earlier schema, with data in them, are brought up to date.

`schema_rows/NNNN_name.sql` has rows as the service of that schema wrote them. A database of schema N has
lived through all of them: each migration up to N was applied to the rows of the ones before.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from orchestrator.jobs import Attempt, FailureKind, Job, JobStatus, Usage
from orchestrator.jobs.objects import DeletionReason
from orchestrator.store import Store
from orchestrator.store.schema import UnknownSchema
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite.migrations import MIGRATION_NAMES, load_migrations
from tests.support.service import pixelfactory
from tests.support.store_harness import PICTURE

ROWS = Path(__file__).with_name("schema_rows")
FIRST_MIGRATION = datetime(2026, 1, 9, 12, 0, tzinfo=UTC)
EDIT_INPUT = f"inputs/5e/5e{'1'.zfill(62)}.png"
NOW = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)
#: Migrates a database and is killed -9 before the statement of this number; statements are counted from 0.
KILLED_MIGRATION = """
import os, signal, sqlite3, sys
from orchestrator.store.sqlite.migrations import migrate

def run(path, fatal):
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    seen = iter(range(1_000_000))
    def before_statement(statement):
        if next(seen) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
    db.set_trace_callback(before_statement)
    migrate(db)

for number, path in enumerate(sys.argv[2:]):
    child = os.fork()
    if not child:
        run(path, number * int(sys.argv[1]))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def build(path: Path, last: str, *, filled: bool) -> None:
    """Create the database of the schema that ends with the migration `last`."""
    path.write_bytes(_database_after(MIGRATION_NAMES.index(last), filled=filled))


@cache
def _database_after(place: int, *, filled: bool) -> bytes:
    """Return the file of the database after the migration at that place, from that after the one before."""
    name = MIGRATION_NAMES[place]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "old.db"
        if place > 0:
            path.write_bytes(_database_after(place - 1, filled=filled))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            load_migrations().apply(Database(connection), stop_before=MIGRATION_NAMES[place + 1 :])
            # A day apart, and the rows are dated accordingly.
            day = (FIRST_MIGRATION + timedelta(days=place)).isoformat(" ")
            connection.execute("UPDATE _sqlite_migrations SET applied_at = ? WHERE name = ?", (day, name))
            rows = ROWS / f"{name}.sql"
            if filled and rows.exists():
                connection.executescript(f"BEGIN; {rows.read_text('utf-8')} COMMIT;")
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return path.read_bytes()


def read(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none if the database has no such table yet."""
    with closing(sqlite3.connect(path)) as db:
        try:
            return db.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return []


def schema_of(path: Path) -> dict[str, str]:
    """Return the definitions of all tables, indexes and triggers, without comments and spaces."""
    rows = read(path, "SELECT type || ' ' || name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {str(name): "".join(str(sql).split()) for name, sql in rows}


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    """Open the store, which migrates it; its ledger is consistent then and afterwards."""
    store = SqliteStore(path)
    try:
        assert await store.audit_ledger() == []
        yield store
        assert await store.audit_ledger() == []
    finally:
        await store.close()


async def list_all_jobs(store: Store) -> dict[str, tuple[str, str, int]]:
    page = await store.list_jobs(limit=1000)
    return {one.job.id: (one.job.account_id, one.job.status.value, one.job.price) for one in page.items}


#: The oldest, every tenth, and the latest two; the others take half a minute of CPU.
ORDINARY = {*MIGRATION_NAMES[::10], *MIGRATION_NAMES[-2:]}


@pytest.fixture(
    params=[
        pytest.param(name, marks=[] if name in ORDINARY else pytest.mark.slow) for name in MIGRATION_NAMES
    ]
)
def schema(request: pytest.FixtureRequest) -> str:
    """The name of the last migration of a schema."""
    return str(request.param)


def test_rows_belong_to_migrations() -> None:
    names = {path.stem for path in ROWS.glob("*.sql")}
    assert names <= set(MIGRATION_NAMES)
    assert len(names) >= 12


async def test_an_empty_database_of_every_schema_becomes_a_working_store(schema: str, tmp_path: Path) -> None:
    build(tmp_path / "old.db", schema, filled=False)
    async with opened(tmp_path / "old.db") as store:
        assert await store.list_accounts() == []
        account = await store.add_account("Ada", "free", NOW)
        key = await store.add_key(account.id, "0" * 64, "pk-Ab3d", "laptop", NOW)
        assert (await store.credit(account.id, 5, "first", NOW)).available == 5
        assert await store.find_key("0" * 64) == key


async def test_the_log_names_the_schema_that_was_brought_up_to_date(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "orchestrator.store")
    build(tmp_path / "old.db", MIGRATION_NAMES[-2], filled=False)
    for name in ("new.db", "old.db", "old.db"):
        async with opened(tmp_path / name):
            pass
    message = f"schema {MIGRATION_NAMES[-1]} instead of {MIGRATION_NAMES[-2]}"
    assert [message in record.getMessage() for record in caplog.records] == [True]


async def test_every_schema_ends_as_a_new_database_begins(schema: str, tmp_path: Path) -> None:
    build(tmp_path / "old.db", schema, filled=True)
    for name in ("old.db", "new.db"):
        async with opened(tmp_path / name):
            pass
    assert schema_of(tmp_path / "old.db") == schema_of(tmp_path / "new.db")


async def test_jobs_accounts_and_balances_of_every_schema_are_kept(schema: str, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    build(path, schema, filled=True)
    jobs = {id: tuple(row) for id, *row in read(path, "SELECT id, account_id, status, price FROM jobs")}
    balances = {str(name): micros for name, micros in read(path, "SELECT account, micros FROM balances")}
    entries = read(path, "SELECT account_id, key, micros FROM entries ORDER BY id DESC")
    shards = read(path, "SELECT id, status, gpu_seconds FROM shards ORDER BY id")
    accounts = dict(read(path, "SELECT id, name FROM accounts"))
    keys = {str(id) for (id,) in read(path, "SELECT id FROM keys")}
    async with opened(path) as store:
        assert {account.id: account.name for account in await store.list_accounts()} == accounts
        assert {key.id for key in await store.list_keys()} == keys
        assert await list_all_jobs(store) == jobs
        records = [record for id in jobs if (record := await store.find_job(id))]
        found = sorted(
            (shard.id, shard.status.value, shard.usage.gpu_seconds)
            for record in records
            for shard in record.shards
        )
        assert found == shards
        for account in accounts:
            balance = await store.get_balance(account)
            booked = (balances.get(f"wallet:{account}", 0), balances.get(f"held:{account}", 0))
            assert (balance.available, balance.held) == booked
            page = await store.list_ledger_entries(account, 1000)
            mine = [(key, micros) for owner, key, micros in entries if owner == account]
            assert [(entry.key, entry.micros) for entry in page.items] == mine


async def test_every_list_of_every_schema_can_be_read(schema: str, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    build(path, schema, filled=True)
    counted = {
        table: len(read(path, f"SELECT 1 FROM {table}"))
        for table in ("alerts", "outbox", "usage_days", "deliveries", "loras")
    }
    async with opened(path) as store:
        accounts = [account.id for account in await store.list_accounts()]
        alerts = [alert for account in accounts for alert in await store.list_alerts(account)]
        assert len(alerts) == counted["alerts"]
        loras = [lora for account in accounts for lora in (await store.list_loras(account)).items]
        assert len(loras) == counted["loras"]
        messages = [one for account in accounts for one in await store.list_messages(account, 100)]
        assert len(messages) == counted["outbox"]
        read_one_by_one = [await store.get_message(one.account_id, one.id) for one in messages]
        assert sum(len(one.delivery_attempts) for one in read_one_by_one) == counted["deliveries"]
        assert len(await store.list_usage()) == counted["usage_days"]
        revenue = read(path, "SELECT micros FROM balances WHERE account = 'revenue'")
        metered = await store.list_metered_usage()
        assert sum(row.revenue for row in metered) == sum(micros for (micros,) in revenue)
        for account in accounts:
            statement = await store.get_statement(account, datetime(2026, 1, 1, tzinfo=UTC), NOW)
            balance = await store.get_balance(account)
            assert statement.closing == balance.total
            assert await store.remaining_allowance(account) >= 0
        unfinished = {record.job.id for record in await store.list_unfinished_jobs()}
        assert {attempt.prompt_id for attempt in await store.list_open_attempts()} == (
            {"p-running"} if "job_running" in unfinished else set()
        )


async def test_work_of_every_schema_goes_on(schema: str, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    build(path, schema, filled=True)
    async with opened(path) as store:
        unfinished = await store.list_unfinished_jobs()
        for record in unfinished:
            if record.job.id != "job_running":
                await store.cancel_job(record.job.id, NOW)
        if any(record.job.id == "job_running" for record in unfinished):
            await store.end_attempt("p-running", FailureKind.ABANDONED, "lost", NOW, retry=True)
            done = await finish(store, "job_running")
            assert done.status is JobStatus.SUCCEEDED
            assert (await store.refund("job_running", None, "all", NOW)).held == 0
            assert set(await store.remove_job("job_running", NOW)) == {
                "outputs/zz/job_running-0.png",
                "outputs/zz/job_running-1.png",
            }
        assert await store.list_unfinished_jobs() == []
        for account in await store.list_accounts():
            assert (await store.get_balance(account.id)).held == 0
        expired = datetime(2028, 1, 1, tzinfo=UTC)
        condemned = await store.expire_files(expired, 100, NOW)
        jobs = await list_all_jobs(store)
        assert ("outputs/bb/bb01.png" in condemned) == ("job_paid" in jobs)
        assert (EDIT_INPUT in condemned) == ("job_edit" in jobs)
        assert await store.expire_files(expired, 100, NOW) == []
        assert set(condemned) <= {one.key for one in await store.list_due_deletions(NOW, 100)}


async def test_input_files_of_earlier_versions_are_needed_by_their_jobs(tmp_path: Path) -> None:
    path, shared, kept = tmp_path / "old.db", f"inputs/ab/{'ab' * 32}.png", f"inputs/cd/{'cd' * 32}.zip"
    build(path, "0012_job_origins", filled=True)
    jobs: dict[str, dict[str, object]] = {
        "one": {"image": shared},
        "two": {"image": [shared], "dataset": kept},
        "removed": {"image": kept},
    }
    with closing(sqlite3.connect(path)) as db, db:
        for id, params in jobs.items():
            given = json.dumps({"prompt": "inputs/ab/no key.png", **params})
            removed = "2026-02-01T00:00:00.000000+00:00" if id == "removed" else None
            db.execute(
                "INSERT INTO jobs (id, account_id, key_id, model, params, price, status, created_at,"
                " finished_at, removed_at)"
                " VALUES (?, 'acct_ada', 'key_ada', 'm', ?, 0, 'cancelled', ?, ?, ?)",
                (id, given, *["2026-02-01T00:00:00.000000+00:00"] * 2, removed),
            )
            db.execute(
                "INSERT INTO shards (id, job_id, position, params, status) VALUES (?, ?, 0, ?, 'cancelled')",
                (f"{id}-0", id, given),
            )
    async with opened(path) as store:
        assert await store.discard_files([shared, kept], DeletionReason.ORPHAN, NOW) == []
        assert await store.remove_job("one", NOW) == []
        assert await store.remove_job("two", NOW) == [shared, kept]
        assert await store.get_installation_id()
    assert read(path, "SELECT key FROM output_files WHERE key LIKE '%no key%'") == []


async def test_deletions_of_an_earlier_process_are_due(tmp_path: Path) -> None:
    build(tmp_path / "old.db", "0014_object_deletions", filled=True)
    async with opened(tmp_path / "old.db") as store:
        due = await store.list_due_deletions(NOW, 100)
        assert [(one.key, one.reason, one.attempts) for one in due] == [
            ("outputs/cc/cc01.png", DeletionReason.REMOVED, 2)
        ]


async def finish(store: Store, job_id: str) -> Job:
    """Run all shards of a job, and return the job."""
    record = await store.find_job(job_id)
    assert record is not None
    for shard in record.shards:
        attempt = Attempt(
            prompt_id=f"p-again-{shard.id}",
            shard_id=shard.id,
            number=shard.attempts + 1,
            instance_id="gpu-0",
            started_at=NOW,
        )
        assert await store.start_attempt(attempt)
        output = replace(PICTURE, key=f"outputs/zz/{shard.id}.png")
        record = await store.finish_shard(attempt.prompt_id, [output], Usage(gpu_seconds=1.0), NOW)
    return record.job


async def test_refunds_before_metering_lower_the_metered_revenue_of_their_day(tmp_path: Path) -> None:
    build(tmp_path / "old.db", "0004_keys", filled=True)
    async with opened(tmp_path / "old.db") as store:
        rows = {(row.day.isoformat(), row.device): row.revenue for row in await store.list_metered_usage()}
    assert rows == {("2026-01-10", "simulated"): 0, ("2026-01-11", ""): 20_000, ("2026-01-12", ""): -5_000}


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "pixelfactory.db"
    build(path, MIGRATION_NAMES[-1], filled=True)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('pixel_factory', '9999_tomorrow', '2030-01-01 00:00:00')"
        )
    before = read(path, "SELECT * FROM entries"), schema_of(path)
    with pytest.raises(UnknownSchema, match=f"9999_tomorrow.*{MIGRATION_NAMES[-1]}"):
        SqliteStore(path)
    for command in (("wallet", "audit"), ("up", "--simulate", "1", "--port", "0")):
        done = pixelfactory(*command, data_dir=tmp_path, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("error: The database has schema 9999_tomorrow")
        assert "Traceback" not in done.stderr
    assert (read(path, "SELECT * FROM entries"), schema_of(path)) == before


@pytest.mark.slow
async def test_kill_9_within_a_migration_leaves_the_old_schema_or_the_new_one(tmp_path: Path) -> None:
    build(tmp_path / "old.db", "0003_ledger", filled=True)
    old = {name for (name,) in read(tmp_path / "old.db", "SELECT name FROM _sqlite_migrations")}
    old_schema, jobs = schema_of(tmp_path / "old.db"), read(tmp_path / "old.db", "SELECT id FROM jobs")
    step, copies = 8, [tmp_path / f"copy-{number}.db" for number in range(40)]
    for copy in copies:
        shutil.copyfile(tmp_path / "old.db", copy)
    command = [sys.executable, "-c", KILLED_MIGRATION, str(step), *map(str, copies)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    codes = [int(line) for line in done.stdout.split()]
    assert codes[0] == codes[1] == -signal.SIGKILL
    # The last ones were to be killed after their end, so every statement before was in the range.
    assert codes[-1] == 0
    assert codes == sorted(codes)
    for copy, code in zip(copies, codes, strict=True):
        names = {name for (name,) in read(copy, "SELECT name FROM _sqlite_migrations")}
        assert names == (set(MIGRATION_NAMES) if code == 0 else old)
        assert (schema_of(copy) == old_schema) == (code != 0)
    for copy in copies[:: len(copies) // 4]:
        async with opened(copy) as store:
            assert set(await list_all_jobs(store)) == {id for (id,) in jobs}
