"""Backups of a data directory, damaged and broken-off ones, and restores that are interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backup.creating import create_backup
from orchestrator.backup.location import DataLocation
from orchestrator.backup.manifest import BackupError
from orchestrator.backup.restoring import LedgerInconsistent, RestoreOptions, restore_backup
from orchestrator.backup.unfinished import RestoreUnfinished, unfinished_mark
from orchestrator.execution.results.thumbnails import Thumbnails
from orchestrator.store.schema import UnknownSchema
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.sqlite.snapshot import (
    DatabaseInUse,
    copy_database,
    find_installation_id,
    list_named_objects,
    summarize_database,
)
from tests.support.cli import command, start_command
from tests.support.service import COMMAND
from tests.support.store_harness import START, populate

NOW = datetime(2026, 3, 2, tzinfo=UTC)
#: Counters, and the id that a restored copy gets.
NOT_COMPARED = (
    'INSERT INTO "sqlite_sequence"',
    'DELETE FROM "sqlite_sequence"',
    'INSERT INTO "installation"',
)
TICK = timedelta(seconds=1)
REPLACE = RestoreOptions(replace=True)
#: Adds and finishes jobs until it is killed, and says so after each.
WRITER = f"""
import asyncio, sys
from pathlib import Path
from typing import Any
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from orchestrator.store.sqlite import SqliteStore
from tests.support.store_harness import populate

async def main():
    world = await populate(SqliteStore(Path(sys.argv[1])), 10**12)
    while True:
        await world.succeed(n=2)
        print("done", flush=True)

asyncio.run(main())
"""
#: Restores into one directory after the other, and is killed -9 before the file change of each one's number.
KILLED_RESTORE = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from orchestrator.backup.location import DataLocation
from orchestrator.backup.restoring import RestoreOptions, restore_backup

CHANGES = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"}

def run(backup, data_dir, fatal):
    seen = iter(range(1_000_000))
    def before_event(event, arguments):
        if event in CHANGES and next(seen) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
    target = DataLocation(data_dir=data_dir, database=data_dir / "pixelfactory.db")
    options, now = RestoreOptions(replace=True), datetime(2026, 3, 3, tzinfo=UTC)
    sys.addaudithook(before_event)
    asyncio.run(restore_backup(backup, target, now, options=options))

for number, path in enumerate(sys.argv[2:]):
    child = os.fork()
    if not child:
        run(Path(sys.argv[1]), Path(path), number)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def location(data_dir: Path) -> DataLocation:
    return DataLocation(data_dir=data_dir, database=data_dir / "pixelfactory.db")


def make_secrets(data_dir: Path, name: str) -> None:
    data_dir.mkdir(parents=True)
    for secret in ("admin-token", "session-secret"):
        (data_dir / secret).write_text(f"{secret} of {name}, long enough")


async def make_data(data_dir: Path, name: str, credit: int = 1_000_000) -> None:
    """A data directory with an account's jobs and with secrets that name the directory."""
    make_secrets(data_dir, name)
    store = SqliteStore(data_dir / "pixelfactory.db")
    world = await populate(store, credit)
    await world.succeed()
    await world.start(await world.add())
    await store.close()


async def make_backup(root: Path, name: str = "one") -> Path:
    """Make a data directory `root/name` and return its backup."""
    await make_data(root / name, name)
    await create_backup(location(root / name), root / f"backup-{name}", NOW)
    return root / f"backup-{name}"


def content(data_dir: Path) -> dict[str, str]:
    """The database as SQL, and the secrets."""
    with closing(sqlite3.connect(data_dir / "pixelfactory.db")) as db:
        dump = "\n".join(line for line in db.iterdump() if not line.startswith(NOT_COMPARED))
    return {
        "database": dump,
        **{path.name: path.read_text() for path in location(data_dir).secrets},
    }


async def test_a_restored_backup_has_the_same_rows_and_secrets(tmp_path: Path) -> None:
    backup = await make_backup(tmp_path)
    report = await restore_backup(backup, location(tmp_path / "new"), NOW)
    assert content(tmp_path / "new") == content(tmp_path / "one")
    assert (report.violations, report.replaced, report.objects) == ([], None, None)
    assert report.manifest.counts["unfinished_jobs"] == 1
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "admin-token",
        "database-key",
        "pixelfactory.db",
        "service.lock",
        "session-secret",
    ]


async def test_only_the_owner_may_read_a_backup_and_what_is_restored_from_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        backup = await make_backup(tmp_path)
        await restore_backup(backup, location(tmp_path / "new"), NOW)
    finally:
        os.umask(before)
    for root in (backup, tmp_path / "new"):
        for path in (root, *root.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def copy_beside_a_writer(source: Path, copies: list[Path]) -> None:
    """Make the copies while another process writes to the database all the time."""
    program = [sys.executable, "-c", WRITER, str(source)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            for copy in copies:
                writer.stdout.readline()
                copy_database(source, copy)
            assert writer.stdout.readline() == "done\n"
        finally:
            writer.kill()


@pytest.mark.slow
async def test_a_database_is_copied_while_another_process_never_stops_writing(tmp_path: Path) -> None:
    source = tmp_path / "pixelfactory.db"
    store = SqliteStore(source)
    account = await store.add_account("Large", "free", START)
    # Several steps of the copy.
    for number in range(6):
        name = f"{number}" * 3_000_000
        await store.add_key(account.id, f"{number}", "pk-Ab3d", name, START)
    await store.close()
    copies = [tmp_path / f"copy-{number}.db" for number in range(5)]
    await asyncio.to_thread(copy_beside_a_writer, source, copies)
    jobs = []
    for copy in copies:
        copied = SqliteStore(copy)
        assert await copied.audit_ledger() == []
        await copied.close()
        jobs.append(summarize_database(copy).counts["jobs"])
    assert jobs == sorted(jobs)
    assert 0 < jobs[0] < jobs[-1]


async def test_lists_objects_that_jobs_need_with_their_digests(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "pixelfactory.db")
    world = await populate(store, 1_000_000)
    image, owned = f"inputs/5e/5e{'0' * 62}.png", f"inputs/21/job_4321-{'7' * 64}.zip"
    await world.succeed()
    await world.add(params={"prompt": "inputs/5e/not-a-key", "image": [image], "data": owned})
    finished = await world.add(params={"image": f"inputs/5f/5f{'0' * 62}.png", "seed": 1})
    await store.cancel_job(finished.job.id, world.later())
    await store.remove_job(finished.job.id, world.later())
    await store.close()
    found = {one.key: (one.sha256, one.size) for one in list_named_objects(tmp_path / "pixelfactory.db")}
    assert found == {
        "outputs/ab/abcd.png": ("ab" * 32, 9),
        image: (f"5e{'0' * 62}", None),
        owned: ("7" * 64, None),
    }


async def test_does_not_list_thumbnails_whose_keys_have_the_digest_of_the_result(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "pixelfactory.db")
    world = await populate(store, 1_000_000)
    record = await world.succeed()
    keys = [Thumbnails.key_of(record.job.id, output) for output in record.outputs]
    for key in keys:
        await store.add_job_file(record.job.id, key)
    await store.close()
    assert keys
    found = [one.key for one in list_named_objects(tmp_path / "pixelfactory.db")]
    assert found == [output.key for output in record.outputs]


async def test_refuses_a_directory_that_is_not_empty(tmp_path: Path) -> None:
    backup = await make_backup(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in backup.rglob("*")}
    with pytest.raises(BackupError, match="already holds a backup"):
        await create_backup(location(tmp_path / "one"), backup, NOW)
    assert {path: path.stat().st_mtime_ns for path in backup.rglob("*")} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(BackupError, match="choose a new or an empty directory"):
        await create_backup(location(tmp_path / "one"), tmp_path / "mine", NOW)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter"]


def flip(path: Path) -> None:
    """Change one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_manifest(backup: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    change(manifest)
    (backup / "manifest.json").write_text(json.dumps(manifest))


def link_to(path: Path, target: Path) -> None:
    shutil.copy(path, target)
    path.unlink()
    path.symlink_to(target)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "database": (lambda backup: flip(backup / "pixelfactory.db"), "pixelfactory.db has another content"),
    "short": (lambda backup: os.truncate(backup / "pixelfactory.db", 4096), "has 4096 bytes instead of"),
    "secret": (lambda backup: flip(backup / "secrets/admin-token"), "admin-token has another content"),
    "gone": (lambda backup: (backup / "secrets/session-secret").unlink(), "session-secret is missing"),
    "list": (lambda backup: flip(backup / "objects.jsonl"), "objects.jsonl has another content"),
    "link": (
        lambda backup: link_to(backup / "secrets/admin-token", backup.parent / "elsewhere"),
        "admin-token is missing",
    ),
    "no manifest": (lambda backup: (backup / "manifest.json").unlink(), "no complete backup"),
    "cut manifest": (lambda backup: os.truncate(backup / "manifest.json", 300), "manifest.json is damaged"),
    "outside": (
        lambda backup: change_manifest(
            backup, lambda found: found["files"][0].update(path="../one/pixelfactory.db")
        ),
        "must be a path inside the backup",
    ),
    "nothing listed": (
        lambda backup: change_manifest(backup, lambda found: found.update(files=[])),
        "pixelfactory.db is not in the manifest",
    ),
    "format": (
        lambda backup: change_manifest(backup, lambda found: found.update(format=2)),
        "this version reads format 1",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_refuses_a_damaged_backup_and_touches_nothing(damage: str, tmp_path: Path) -> None:
    backup = await make_backup(tmp_path)
    await make_data(tmp_path / "two", "two")
    before = content(tmp_path / "two")
    break_it, message = DAMAGES[damage]
    break_it(backup)
    for name in ("two", "new"):
        with pytest.raises(BackupError, match=message):
            await restore_backup(backup, location(tmp_path / name), NOW, options=REPLACE)
    assert content(tmp_path / "two") == before
    assert not (tmp_path / "new").exists()


async def test_refuses_a_backup_of_a_newer_version(tmp_path: Path) -> None:
    await make_data(tmp_path / "one", "one")
    with closing(sqlite3.connect(tmp_path / "one" / "pixelfactory.db")) as db, db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('pixel_factory', '9999_tomorrow', '')"
        )
    await create_backup(location(tmp_path / "one"), tmp_path / "backup", NOW)
    with pytest.raises(UnknownSchema, match="9999_tomorrow"):
        await restore_backup(tmp_path / "backup", location(tmp_path / "new"), NOW)
    assert not (tmp_path / "new").exists()


async def test_refuses_to_replace_data_unless_asked_and_keeps_them_then(tmp_path: Path) -> None:
    backup = await make_backup(tmp_path)
    await make_data(tmp_path / "two", "two", credit=7_000_000)
    before = content(tmp_path / "two")
    with pytest.raises(BackupError, match=r"holds data already \(pixelfactory\.db, admin-token"):
        await restore_backup(backup, location(tmp_path / "two"), NOW)
    assert content(tmp_path / "two") == before
    report = await restore_backup(backup, location(tmp_path / "two"), NOW, options=REPLACE)
    assert content(tmp_path / "two") == content(tmp_path / "one")
    assert report.replaced is not None
    assert content(report.replaced) == before


async def test_replaces_a_destroyed_database(tmp_path: Path) -> None:
    backup = await make_backup(tmp_path)
    await make_data(tmp_path / "two", "two")
    (tmp_path / "two" / "pixelfactory.db").write_bytes(b"no database " * 1000)
    (tmp_path / "two" / "pixelfactory.db-wal").write_bytes(b"of a crash")
    report = await restore_backup(backup, location(tmp_path / "two"), NOW, options=REPLACE)
    assert content(tmp_path / "two") == content(tmp_path / "one")
    assert report.replaced is not None
    assert (report.replaced / "pixelfactory.db").read_bytes().startswith(b"no database")


async def test_refuses_to_replace_a_database_that_is_open(tmp_path: Path) -> None:
    backup = await make_backup(tmp_path)
    await make_data(tmp_path / "two", "two")
    store = SqliteStore(tmp_path / "two" / "pixelfactory.db")
    before = await store.list_jobs()
    with pytest.raises(DatabaseInUse, match="in use by another process; stop the service"):
        await restore_backup(backup, location(tmp_path / "two"), NOW, options=REPLACE)
    assert await store.list_jobs() == before
    await store.close()
    await restore_backup(backup, location(tmp_path / "two"), NOW, options=REPLACE)


async def test_refuses_a_ledger_that_violates_the_rules_unless_asked(tmp_path: Path) -> None:
    await make_data(tmp_path / "one", "one")
    with closing(sqlite3.connect(tmp_path / "one" / "pixelfactory.db")) as db, db:
        db.execute("UPDATE balances SET micros = micros + 1 WHERE account = 'revenue'")
    await create_backup(location(tmp_path / "one"), tmp_path / "backup", NOW)
    with pytest.raises(LedgerInconsistent, match=r"balances_sum_to_zero \(ledger: .*--ignore-audit"):
        await restore_backup(tmp_path / "backup", location(tmp_path / "new"), NOW)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["service.lock"]
    data_dir = str(tmp_path / "new")
    options = ("--data-dir", data_dir, "--skip-objects", "--ignore-audit", "--json")
    done = command("restore", str(tmp_path / "backup"), *options)
    assert done.returncode == 1
    assert {row["rule"] for row in json.loads(done.stdout)["violations"]} >= {"balances_sum_to_zero"}
    assert content(tmp_path / "new") == content(tmp_path / "one")


async def test_brings_an_older_database_up_to_date(tmp_path: Path) -> None:
    await make_data(tmp_path / "one", "one")
    with closing(sqlite3.connect(tmp_path / "one" / "pixelfactory.db")) as db, db:
        db.execute("DELETE FROM _sqlite_migrations WHERE name = '0019_metered_refunds'")
    await create_backup(location(tmp_path / "one"), tmp_path / "backup", NOW)
    report = await restore_backup(tmp_path / "backup", location(tmp_path / "new"), NOW)
    assert "0019_metered_refunds" not in report.manifest.schema_
    assert "0019_metered_refunds" in report.schema
    assert summarize_database(tmp_path / "new" / "pixelfactory.db").schema == report.schema


def test_a_backup_without_the_files_of_the_embedded_server_warns(tmp_path: Path) -> None:
    asyncio.run(make_data(tmp_path / "one", "one"))
    data_dir = ("--data-dir", str(tmp_path / "one"))
    done = command("backup", str(tmp_path / "backup"), *data_dir)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "1 file(s) of jobs are not in the backup" in done.stderr
    assert "add --objects" in done.stderr


def test_a_backup_that_was_killed_is_refused_everywhere(tmp_path: Path) -> None:
    asyncio.run(make_data(tmp_path / "one", "one"))
    backup = tmp_path / "backup"
    # An S3 server that accepts connections and never responds keeps the backup busy.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            "PIXELFACTORY_DATA_DIR": str(tmp_path / "one"),
            "PIXELFACTORY_S3_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "PIXELFACTORY_S3_ACCESS_KEY": "key",
            "PIXELFACTORY_S3_SECRET_KEY": "secret",
        }
        log = tmp_path / "log"
        running = start_command(
            *("backup", str(backup), "--objects"),
            environment={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            running.kill()
            assert running.wait(60) == -signal.SIGKILL
    assert (backup / "pixelfactory.db").exists()
    data_dir = ("--data-dir", str(tmp_path / "one"))
    for refused, message in (
        (("restore", str(backup), "--replace"), "is no complete backup: it has no manifest.json"),
        (("backup", str(backup)), "holds files, but no complete backup"),
    ):
        done = command(*refused, *data_dir)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert message in done.stderr


def run_with_small_files(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that can write no file of more than 64 KiB, as on a disk that is almost full."""

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))

    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=limit_files,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.slow
def test_a_full_disk_leaves_an_incomplete_backup_and_data_that_were_not_touched(tmp_path: Path) -> None:
    backup = asyncio.run(make_backup(tmp_path))
    asyncio.run(make_data(tmp_path / "two", "two"))
    before = content(tmp_path / "two")
    data_dir = ("--data-dir", str(tmp_path / "two"))
    done = run_with_small_files("backup", str(tmp_path / "short"), *data_dir)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the backup in {tmp_path / 'short'} is not complete" in " ".join(done.stderr.split())
    assert not (tmp_path / "short" / "manifest.json").exists()
    done = run_with_small_files("restore", str(backup), "--replace", "--skip-objects", *data_dir)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert content(tmp_path / "two") == before
    assert not list((tmp_path / "two").glob("*restore*"))


async def test_a_copy_is_another_installation_unless_it_replaces_the_one_that_was_backed_up(
    tmp_path: Path,
) -> None:
    """Two databases that believe to own one bucket would delete each other's objects."""
    backup = await make_backup(tmp_path)
    original = find_installation_id(tmp_path / "one" / "pixelfactory.db")
    assert original is not None
    elsewhere = await restore_backup(backup, location(tmp_path / "new"), NOW)
    again = await restore_backup(backup, location(tmp_path / "one"), NOW, options=REPLACE)
    over_another = await restore_backup(backup, location(tmp_path / "new"), NOW + TICK, options=REPLACE)
    assert (elsewhere.is_new_installation, again.is_new_installation) == (True, False)
    assert over_another.is_new_installation
    assert find_installation_id(tmp_path / "one" / "pixelfactory.db") == original
    assert find_installation_id(tmp_path / "new" / "pixelfactory.db") not in (None, original)


@pytest.mark.slow
async def test_kill_9_within_a_restore_leaves_the_old_data_or_the_new_ones(tmp_path: Path) -> None:
    backup = await make_backup(tmp_path)
    await make_data(tmp_path / "two", "two")
    old, new = content(tmp_path / "two"), content(tmp_path / "one")
    places = [tmp_path / f"place-{number}" for number in range(40)]
    for place in places:
        shutil.copytree(tmp_path / "two", place)
    program = [sys.executable, "-c", KILLED_RESTORE, str(backup), *map(str, places)]
    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, check=True)
    codes = [int(line) for line in done.stdout.split()]
    assert codes == sorted(codes)
    assert (codes[0], codes[-1]) == (-signal.SIGKILL, 0)
    unfinished = 0
    for place, code in zip(places, codes, strict=True):
        if unfinished_mark(place).exists():
            unfinished += 1
            with pytest.raises(RestoreUnfinished, match=f"pixelfactory restore --replace {backup}"):
                await create_backup(location(place), tmp_path / "never", NOW)
            await restore_backup(backup, location(place), NOW, options=REPLACE)
            assert content(place) == new
        else:
            assert content(place) in ((old, new) if code else (new,))
        assert code or not list(place.glob(".restore-*"))
    assert unfinished >= 5


async def test_commands_and_services_refuse_data_of_an_interrupted_restore(tmp_path: Path) -> None:
    await make_data(tmp_path / "one", "one")
    unfinished_mark(tmp_path / "one").write_text("/backups/monday\n")
    for refused in (("wallet", "audit"), ("up", "--simulate", "1", "--port", "0")):
        done = command(*refused, PIXELFACTORY_DATA_DIR=str(tmp_path / "one"))
        assert done.returncode == 1
        assert "finish it with `pixelfactory restore --replace /backups/monday`" in done.stderr


def test_says_that_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    done = command("backup", str(tmp_path / "backup"), "--data-dir", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is nothing to back up" in done.stderr
    assert not (tmp_path / "backup").exists()
