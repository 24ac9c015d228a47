"""What only the SQLite store promises: durability, grouping, its own constraints, several processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from orchestrator.errors import InsufficientBalance, ServiceUnavailable
from orchestrator.jobs import JobRecord
from orchestrator.store import ApiKeyLimits
from orchestrator.store.signals import StoreEvent, StoreEventKind
from orchestrator.store.sql.rows import insert_row
from orchestrator.store.sqlite.connection import READER_COUNT, ConnectionPool
from orchestrator.store.sqlite.database import SqliteDatabase
from orchestrator.store.sqlite.migrations import load_migrations, split_statements
from tests.support.repeats import first_always
from tests.support.store_harness import (
    PICTURE,
    START,
    USAGE,
    StoreHarness,
    due_messages,
    open_store,
    open_world,
)

#: Submits and finishes jobs until it is killed, and says so after each answer of the store.
WORKER = f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.support.store_harness import keep_working, open_store, populate

async def main():
    world = await populate(open_store("sqlite", Path(sys.argv[1])), 10**12)
    await keep_working(world)

asyncio.run(main())
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreHarness]:
    async with open_world("sqlite", tmp_path) as world:
        yield world


def work_until_killed(directory: Path, lines: int) -> list[list[str]]:
    """Kill the worker -9 after so many answers of its store; all that it said until then."""
    command = [sys.executable, "-c", WORKER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        said = [worker.stdout.readline() for _ in range(lines)]
        worker.kill()
        said += [line for line in worker.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    assert worker.returncode == -signal.SIGKILL
    return [line.split() for line in said]


@pytest.mark.parametrize("lines", first_always([20, 1, 41]))
async def test_acknowledged_writes_survive_kill_9(tmp_path: Path, lines: int) -> None:
    said = await asyncio.to_thread(work_until_killed, tmp_path, lines)
    store = open_store("sqlite", tmp_path)
    try:
        for verb, job_id in said:
            record = await store.find_job(job_id)
            assert record is not None
            assert verb == "added" or record.job.is_finished
        assert await store.audit_ledger() == []
        for record in await store.list_unfinished_jobs():
            await store.cancel_job(record.job.id, START)
        (account,) = await store.list_accounts()
        captured = sum(row.micros for row in await store.list_usage())
        assert await store.get_balance(account.id) == await store.credit(account.id, 10**12, "opening", START)
        assert (await store.get_balance(account.id)).available == 10**12 - captured
    finally:
        await store.close()


async def test_two_processes_may_write_at_once(world: StoreHarness, tmp_path: Path) -> None:
    other = open_store("sqlite", tmp_path)
    try:
        credits = [
            store.credit(world.account.id, 1, f"{name} {number}", START)
            for number in range(50)
            for name, store in (("one", world.store), ("other", other))
        ]
        await asyncio.gather(*credits)
        assert await other.get_balance(world.account.id) == await world.store.get_balance(world.account.id)
        assert (await world.wallet())[0] == 1_000_100
    finally:
        await other.close()


async def test_a_write_that_fails_takes_nothing_of_its_group_with_it(world: StoreHarness) -> None:
    async def submit(price: int) -> bool:
        try:
            await world.add(price=price)
        except InsufficientBalance:
            return False
        return True

    prices = [10_000, 2_000_000] * 40
    assert await asyncio.gather(*map(submit, prices)) == [True, False] * 40
    assert await world.wallet() == (600_000, 400_000)


async def test_a_write_that_fails_alone_leaves_nothing(tmp_path: Path) -> None:
    published: list[StoreEvent] = []
    connections = ConnectionPool(tmp_path / "store.db", publish=published.extend)
    account = {"id": "a", "name": "", "plan": "", "created_at": ""}

    def fail_halfway(db: SqliteDatabase) -> None:
        insert_row(db, "accounts", account)
        db.signal([StoreEvent(StoreEventKind.JOB_CHANGED, "job")])
        raise ValueError("halfway")

    def count(db: SqliteDatabase) -> int:
        return int(db.execute("SELECT count(*) FROM accounts").fetchone()[0])

    with pytest.raises(ValueError, match="halfway"):
        await connections.write(fail_halfway)
    assert await connections.write(count) == 0
    assert published == []
    await connections.close()


async def test_a_commit_that_fails_fails_every_write_of_its_group(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")

    def orphan(db: SqliteDatabase) -> None:
        db.execute("PRAGMA defer_foreign_keys = ON")
        insert_row(
            db,
            "keys",
            {"id": "k", "account_id": "nobody", "digest": "", "prefix": "", "name": "", "created_at": ""},
        )

    def quiet(db: SqliteDatabase) -> None:
        insert_row(db, "accounts", {"id": "a", "name": "", "plan": "", "created_at": ""})

    def accounts(db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT count(*) FROM accounts").fetchone()[0])

    running, block = threading.Event(), threading.Event()

    def hold_up(db: sqlite3.Connection) -> None:
        running.set()
        block.wait()

    blocked = asyncio.create_task(connections.write(hold_up))
    await asyncio.to_thread(running.wait)
    group = [asyncio.create_task(connections.write(work)) for work in (quiet, orphan)]
    await asyncio.sleep(0)
    block.set()
    await blocked
    assert [type(error) for error in await asyncio.gather(*group, return_exceptions=True)] == [
        sqlite3.IntegrityError
    ] * 2
    assert await connections.read(accounts) == 0
    await connections.write(quiet)
    assert await connections.read(accounts) == 1
    await connections.close()


async def test_a_deferred_write_shares_the_transaction_of_the_next(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")
    made: list[str] = []

    def note(_: SqliteDatabase, name: str) -> None:
        made.append(name)

    deferred = [asyncio.create_task(connections.write_deferred(note, "deferred")) for _ in range(3)]
    await asyncio.sleep(0)
    assert not made
    await connections.write(note, "awaited")
    assert made == ["awaited", "deferred", "deferred", "deferred"]
    await asyncio.gather(*deferred)
    await connections.write_deferred(note, "alone")
    assert made[-1] == "alone", "no other write came, and it was made nevertheless"
    await connections.close()


async def test_what_a_write_may_roll_back_is_no_file(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")

    def fill(db: SqliteDatabase) -> None:
        db.execute("CREATE TABLE filled (number INTEGER PRIMARY KEY, text TEXT)")
        db.executemany("INSERT INTO filled VALUES (?, ?)", ((number, "x" * 500) for number in range(1000)))

    def change_and_list_files(db: SqliteDatabase) -> list[str]:
        db.execute("UPDATE filled SET text = text || 'y'")
        return [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]

    await connections.write(fill)
    files = await connections.write(change_and_list_files)
    assert str(tmp_path / "store.db") in files
    assert [file for file in files if "etilqs" in file] == []
    await connections.close()


async def test_searches_leave_readers_for_other_calls(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")
    end = threading.Event()
    searches = [
        asyncio.create_task(connections.read_long(lambda _: end.wait())) for _ in range(2 * READER_COUNT)
    ]
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            assert await connections.read(lambda _: "read") == "read"
    finally:
        end.set()
    assert all(await asyncio.gather(*searches))
    await connections.close()


async def test_closing_makes_the_deferred_writes(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")
    made: list[int] = []
    count = 200  # more than fit into one transaction
    deferred = [
        asyncio.create_task(connections.write_deferred(lambda _, number: made.append(number), number))
        for number in range(count)
    ]
    await asyncio.sleep(0)
    await connections.close()
    await asyncio.gather(*deferred)
    assert made == list(range(count))
    with pytest.raises(RuntimeError, match="closed"):
        await connections.write_deferred(lambda _: None)


async def test_a_lock_that_another_process_keeps_is_said_to_pass(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db", busy_timeout_seconds=0.05)
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceUnavailable) as caught:
        await connections.write(lambda db: None)
    assert caught.value.code == "store_unavailable"
    other.close()
    await connections.write(lambda db: None)
    await connections.close()


async def test_a_full_disk_refuses_jobs_and_breaks_none(world: StoreHarness, tmp_path: Path) -> None:
    held = await world.add()
    connections = world.store._db  # type: ignore[attr-defined]
    pages = await connections.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await connections.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall())
    large = {"prompt": "x" * 100_000}
    outcomes = await asyncio.gather(*(world.add(params=large) for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ServiceUnavailable] * 5
    assert [record.job.id for record in await world.store.list_unfinished_jobs()] == [held.job.id]
    await connections.write(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
    await world.add(params=large)


async def test_a_cancelled_caller_leaves_the_writer_at_work(world: StoreHarness) -> None:
    tasks = [asyncio.create_task(world.add()) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in outcomes] == [True, False] * 10
    last = await world.add()
    answered = {one.job.id for one in outcomes if isinstance(one, JobRecord)} | {last.job.id}
    stored = {record.job.id for record in await world.store.list_unfinished_jobs()}
    assert answered <= stored
    assert await world.wallet() == (1_000_000 - 10_000 * len(stored), 10_000 * len(stored))


async def test_closing_finishes_pending_writes_and_ends_its_thread(tmp_path: Path) -> None:
    def left() -> tuple[int, int]:
        files = len(list(Path("/proc/self/fd").iterdir()))
        return files, sum(thread.name.startswith("store") for thread in threading.enumerate())

    async with open_world("sqlite", tmp_path / "first") as world:
        await world.succeed()
    before = left()
    for number in range(10):
        async with open_world("sqlite", tmp_path / str(number)) as world:
            added = asyncio.gather(*(world.add() for _ in range(10)))
            await asyncio.sleep(0)
        assert len(await added) == 10
        await world.store.close()
        with pytest.raises(RuntimeError, match="closed"):
            await world.add()
    assert left() == before


async def test_readers_cannot_write(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await connections.read(lambda db: db.execute("DELETE FROM jobs"))
    await connections.close()


async def test_a_copy_of_the_files_is_a_whole_store(world: StoreHarness, tmp_path: Path) -> None:
    """What a power cut leaves: the file and its log, in the middle of writing."""
    added = asyncio.gather(*(world.succeed() for _ in range(5)))
    for number in range(20):
        await asyncio.sleep(0.002)
        copy = tmp_path / f"copy-{number}"
        copy.mkdir()
        for name in ("store.db", "store.db-wal"):
            shutil.copyfile(tmp_path / name, copy / name)
        store = open_store("sqlite", copy)
        assert await store.audit_ledger() == []
        await store.close()
    await added


def test_a_script_is_split_into_whole_statements() -> None:
    script = (
        "CREATE TABLE t (x);\n\nCREATE TRIGGER g AFTER INSERT ON t\nBEGIN\n SELECT 1;\n SELECT 2;\nEND;\n"
    )
    assert [statement.split()[1] for statement in split_statements(script)] == ["TABLE", "TRIGGER"]


async def test_earlier_webhook_errors_lose_internal_hosts_and_messages_get_receivers(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as old:
        load_migrations().apply(Database(old), stop_before="0017_fair_webhooks")
        old.execute("INSERT INTO accounts (id, name, plan, created_at) VALUES ('a', 'Ada', 'free', '2026')")
        moment = START.isoformat(timespec="microseconds")
        for id, error, status in (
            (1, "ClientConnectorError: Cannot connect to vm:8131", None),
            (2, "HTTP 500", 500),
        ):
            old.execute(
                "INSERT INTO outbox (id, account_id, topic, payload, url, created_at, due_at, error)"
                " VALUES (?, 'a', 'job.failed', '{}', 'http://vm:8131/', ?, ?, ?)",
                (id, moment, moment, error),
            )
            old.execute(
                "INSERT INTO deliveries (message_id, at, seconds, http_status, error) VALUES (?, ?, 1, ?, ?)",
                (id, moment, status, error),
            )
        old.commit()
    store = open_store("sqlite", tmp_path)
    try:
        for id, error in ((1, "The receiver could not be reached"), (2, "HTTP 500")):
            message = await store.get_message("a", id)
            assert [message.error, message.delivery_attempts[0].error] == [error, error]
        (due,) = await store.list_due_receivers(START)
        assert due.count == len(await due_messages(store, START, 9, due.receiver)) == 2
    finally:
        await store.close()


async def test_opening_twice_migrates_once(tmp_path: Path) -> None:
    for _ in range(2):
        connections = ConnectionPool(tmp_path / "store.db")
        names = await connections.read(
            lambda db: [row["name"] for row in db.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]
        )
        await connections.close()
        assert names[:3] == ["0001_accounts", "0002_jobs", "0003_ledger"]
        assert len(names) == len(set(names))


async def test_books_of_the_first_schema_are_brought_up_to_date(tmp_path: Path) -> None:
    db = Database(tmp_path / "store.db")
    load_migrations().apply(db, stop_before="0004_keys")
    moment = START.isoformat(timespec="microseconds")
    for statement in (
        "INSERT INTO accounts VALUES ('a', 'Ada', 'free', ?)",
        "INSERT INTO keys VALUES ('k', 'a', 'd', 'pk-Ab3d', 'laptop', ?, NULL)",
        "INSERT INTO entries VALUES (1, 'x', 'credit', 'a', 'funding', 'wallet:a', 70, ?, NULL, 'x')",
        "INSERT INTO entries VALUES (2, 'c', 'capture', 'a', 'wallet:a', 'revenue', 50, ?, NULL, NULL)",
    ):
        db.conn.execute(statement, (moment,))
    db.conn.execute("INSERT INTO usage_days VALUES ('2026-03-01', 'a', 'k', 'm', 1, 2, 3, 50, 4.5)")
    db.conn.commit()
    db.close()
    store = open_store("sqlite", tmp_path)
    try:
        key = await store.get_key("k")
        assert (key.limits, key.account.plan_since) == (ApiKeyLimits(), START)
        assert (await store.get_balance("a")).available == 20
        (row,) = await store.list_metered_usage()
        assert (row.device, row.revenue, row.gpu_seconds) == ("simulated", 50, 4.5)
        assert await store.audit_ledger() == []
    finally:
        await store.close()


async def test_every_commit_is_flushed_to_disk(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")

    def pragmas(db: sqlite3.Connection) -> tuple[str, int]:
        journal = db.execute("PRAGMA journal_mode").fetchone()[0]
        return str(journal), int(db.execute("PRAGMA synchronous").fetchone()[0])

    full = 2
    assert await connections.write(pragmas) == ("wal", full)
    await connections.close()


async def test_finishing_is_one_transaction(world: StoreHarness, tmp_path: Path) -> None:
    """The capture fails (the ledger refuses it): shard and job are as before."""
    record = await world.add()
    attempt = await world.start(record)
    db = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    db.execute(
        "CREATE TRIGGER no_capture BEFORE INSERT ON entries WHEN new.kind = 'capture'"
        " BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="refused"):
        await world.store.finish_shard(attempt.prompt_id, [PICTURE], USAGE, world.now)
    now = await world.again(record)
    assert (now.job.status.value, now.shards[0].status.value) == ("running", "running")
    assert await world.store.list_open_attempts() == [attempt]
    db.execute("DROP TRIGGER no_capture")
    db.close()
    assert (await world.finish(attempt)).job.is_finished


async def test_readers_survive_a_file_that_cannot_be_read_for_a_while(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")

    def fail(db: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    def count(db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT count(*) FROM accounts").fetchone()[0])

    for _ in range(5):
        with pytest.raises(ServiceUnavailable) as caught:
            await connections.read(fail)
        assert caught.value.code == "store_unavailable"
    assert await asyncio.gather(*(connections.read(count) for _ in range(5))) == [0] * 5
    await connections.close()


async def test_a_reader_or_writer_that_was_left_within_a_transaction_works_again(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")

    def count(db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT count(*) FROM accounts").fetchone()[0])

    # A rollback that fails leaves this behind.
    connections._writer.execute("BEGIN")
    readers = [connections._readers.get() for _ in range(connections._readers.qsize())]
    for reader in readers:
        reader.execute("BEGIN")
        connections._readers.put(reader)
    assert await connections.write(count) == 0
    assert [await connections.read(count) for _ in readers] == [0] * len(readers)
    await connections.close()


async def test_rows_are_read_at_once_and_a_locked_database_is_waited_for_in_a_thread(tmp_path: Path) -> None:
    connections = ConnectionPool(tmp_path / "store.db")
    threads: list[str] = []

    def read(db: SqliteDatabase, locked_for: int) -> int:
        threads.append(threading.current_thread().name)
        if len(threads) <= locked_for:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return int(db.execute("SELECT count(*) AS number FROM accounts").fetchone()["number"])

    try:
        assert await connections.read_rows(read, 0) == 0
        assert threads == [threading.current_thread().name]
        threads.clear()
        assert await connections.read_rows(read, 1) == 0
        assert [name.partition("_")[0] for name in threads] == [
            threading.current_thread().name,
            "store-reader",
        ]
    finally:
        await connections.close()
