"""`pixelfactory db migrate`: an installation moves from SQLite to PostgreSQL, and proves it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from orchestrator.files.data_directory import DataDirectoryInUse, locked_database
from orchestrator.files.secret_box import KEY_FILE_NAME, SecretBox
from orchestrator.store import Store
from orchestrator.store.postgres.locks import SERVICE_LOCK, AdvisoryLock
from orchestrator.store.postgres.store import PostgresStore
from orchestrator.store.postgres.transfer import TABLES, TransferError, move_to_postgres
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite.migrations import MIGRATION_NAMES
from pricing.alerts import AlertMetric
from tests.contract.test_store_migrations import build
from tests.support.postgres import database_url, shared_cluster
from tests.support.service import pixelfactory
from tests.support.store_harness import PICTURE, START, USAGE, StoreHarness, populate


def digest_of(directory: Path) -> dict[str, str]:
    """Return the digests of the database's files, to see whether something has changed."""
    paths = (path for path in directory.iterdir() if path.suffix != ".db-shm")
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


async def describe(store: Store) -> list[object]:
    """Return what a store says of everything that it keeps."""
    facts: list[object] = [await store.get_installation_id(), await store.list_quarantined_shards()]
    facts += [await store.list_usage(), await store.list_metered_usage(), await store.list_open_attempts()]
    facts += [await store.list_jobs(limit=1000), await store.list_due_deletions(START, 1000)]
    for account in await store.list_accounts():
        facts += [account, await store.list_keys(account.id), await store.list_alerts(account.id)]
        facts += [await store.get_balance(account.id), await store.list_ledger_entries(account.id, 1000)]
        facts += [await store.list_messages(account.id, 1000), await store.list_loras(account.id)]
        facts += [await store.list_signing_secrets(account.id, START)]
        facts += [await store.remaining_allowance(account.id)]
    return facts


async def fill(directory: Path) -> StoreHarness:
    """Make an installation with secrets, jobs in all states and texts that are hard to move."""
    world = await populate(SqliteStore(directory / "store.db"), 1_000_000)
    store, account = world.store, world.account
    await store.get_or_create_signing_secrets(account.id, "whsec_" + "s" * 40, START)
    await store.add_account("Zoë \U0001f98a \t\\N\n\"'", "free", START)
    await store.rotate_key(world.key.id, "1" * 64, "pk-Zz9", world.later())
    await world.succeed(
        2, params={"prompt": "a \x00 fox \udcff", "seed": 2**53}, webhook_url="https://a.example/"
    )
    attempt = world.attempt(await world.add())
    assert await store.start_attempt(replace(attempt, prompt_id="p", instance_id="gpu \\. 0"))
    await store.cancel_job((await world.add(idempotency_key="k")).job.id, world.later())
    await store.add_alert(account.id, AlertMetric.BALANCE, 5, None, world.later())
    return world


async def test_an_installation_moves_whole_and_goes_on(tmp_path: Path) -> None:
    world = await fill(tmp_path)
    before = await describe(world.store)
    await world.store.close()
    files, url = digest_of(tmp_path), database_url(tmp_path)
    moved = move_to_postgres(tmp_path / "store.db", url)
    assert digest_of(tmp_path) == files
    assert [table.name for table in moved.tables] == list(TABLES)
    assert {table.name: table.rows for table in moved.tables}["jobs"] == 3
    world.store = PostgresStore(url, SecretBox(tmp_path / KEY_FILE_NAME), max_connections=4)
    try:
        assert await describe(world.store) == before
        assert await world.store.audit_ledger() == []
        (unfinished,) = await world.store.list_unfinished_jobs()
        await world.store.finish_shard("p", [PICTURE], USAGE, world.later())
        assert (await world.again(unfinished)).job.is_finished
        await world.succeed(webhook_url="https://a.example/")
        assert await world.store.audit_ledger() == []
    finally:
        await world.store.close()


@pytest.mark.parametrize("last", [MIGRATION_NAMES[-1], "0016_pending_responses"])
async def test_databases_of_earlier_versions_move(last: str, tmp_path: Path) -> None:
    build(tmp_path / "store.db", last, filled=True)
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("DELETE FROM signing_secrets")
    files = digest_of(tmp_path)
    moved = move_to_postgres(tmp_path / "store.db", database_url(tmp_path))
    assert digest_of(tmp_path) == files
    assert all(table.rows for table in moved.tables if table.name in ("jobs", "entries", "outbox"))


def test_nul_in_texts_is_replaced_and_counted(tmp_path: Path) -> None:
    build(tmp_path / "store.db", MIGRATION_NAMES[-1], filled=True)
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("DELETE FROM signing_secrets")
        db.execute("UPDATE accounts SET name = 'A' || char(0) || 'da'")
        (number,) = db.execute("SELECT count(*) FROM accounts").fetchone()
    assert move_to_postgres(tmp_path / "store.db", database_url(tmp_path)).replaced_texts == number


async def test_refuses_a_target_with_rows_and_changes_nothing(tmp_path: Path) -> None:
    world = await fill(tmp_path)
    await world.store.close()
    url = database_url(tmp_path)
    target = await populate(PostgresStore(url, SecretBox(tmp_path / KEY_FILE_NAME), max_connections=2), 5)
    try:
        with pytest.raises(TransferError, match="has rows already"):
            move_to_postgres(tmp_path / "store.db", url)
        assert await target.wallet() == (5, 0)
    finally:
        await target.store.close()


async def test_refuses_while_a_service_uses_either_database(tmp_path: Path) -> None:
    world = await fill(tmp_path)
    await world.store.close()
    source, url = tmp_path / "store.db", database_url(tmp_path)
    with locked_database(source), pytest.raises(DataDirectoryInUse, match="in use by another service"):
        move_to_postgres(source, url)
    lock = AdvisoryLock(url, SERVICE_LOCK)
    assert lock.try_acquire()
    with pytest.raises(TransferError, match="in use by a service"):
        move_to_postgres(source, url)
    lock.release()
    move_to_postgres(source, url)


async def test_refuses_books_that_do_not_balance(tmp_path: Path) -> None:
    world = await fill(tmp_path)
    await world.store.close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE balances SET micros = micros + 1 WHERE account = 'revenue'")
    url = database_url(tmp_path)
    with pytest.raises(TransferError, match="breaks"):
        move_to_postgres(tmp_path / "store.db", url)
    assert shared_cluster().query("SELECT count(*) FROM accounts", url.rpartition("/")[2]) == [(0,)]


def test_secrets_in_clear_are_refused(tmp_path: Path) -> None:
    build(tmp_path / "store.db", MIGRATION_NAMES[-1], filled=True)
    with pytest.raises(TransferError, match="secrets in clear"):
        move_to_postgres(tmp_path / "store.db", database_url(tmp_path))


async def test_the_command_reports_each_table(tmp_path: Path) -> None:
    world = await fill(tmp_path)
    await world.store.close()
    url = database_url(tmp_path)
    arguments = ("db", "migrate", "--from", f"sqlite:///{tmp_path / 'store.db'}", "--to", url)
    report = json.loads(pixelfactory(*arguments, "--json").stdout)
    assert {row["table"]: row["rows"] for row in report["tables"]}["jobs"] == 3
    again = pixelfactory(*arguments, check=False)
    assert again.returncode == 1
    assert "nothing was moved" in again.stderr
    for wrong in (("--from", url, "--to", url), ("--from", "sqlite:///x", "--to", "mysql://x/y")):
        refused = pixelfactory("db", "migrate", *wrong, check=False)
        assert refused.returncode == 1
        assert "has to be a URL of the other kind" in refused.stderr
