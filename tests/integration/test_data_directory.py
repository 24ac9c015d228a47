"""The data directory: one service at a time, private, its secrets encrypted, ended sessions remembered."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from orchestrator.files.data_directory import DataDirectoryInUse, locked_data_directory
from orchestrator.files.secret_box import KEY_FILE_NAME, SecretUnreadable
from orchestrator.settings import SettingsError
from orchestrator.store.sqlite import SqliteStore
from tests.support.service import ServiceProcess, pixelfactory, running

NOW = datetime(2026, 11, 26, tzinfo=UTC)

HOLDER = """
import pathlib, sys, time
sys.argv[1:] = ["up", "--instances", "http://user:password@host:1"]
from orchestrator.files.data_directory import locked_data_directory
with locked_data_directory(pathlib.Path(sys.stdin.readline().strip())):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of `tmp_path / "data"`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{tmp_path / 'data'}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_second_service_is_refused_and_told_who_holds_the_directory(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    # An external S3 server: nothing else keeps the second service from the database.
    external = {
        "PIXELFACTORY_S3_ENDPOINT": "http://127.0.0.1:1",
        "PIXELFACTORY_S3_ACCESS_KEY": "access",
        "PIXELFACTORY_S3_SECRET_KEY": "secret-of-the-test",
    }
    arguments = ("up", "--port", "0", "--simulate", "1")
    done = pixelfactory(*arguments, data_dir=data_dir, check=False, **external)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert f"process {holder.pid} (" in line
    assert " up " in line
    assert re.search(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line)
    assert "password" not in line
    assert not (data_dir / "pixelfactory.db").exists(), "the lock is taken first"


@pytest.mark.slow
def test_a_second_service_with_another_directory_is_refused_the_same_database(tmp_path: Path) -> None:
    database = tmp_path / "first" / "pixelfactory.db"
    link = tmp_path / "linked.db"
    with running(ServiceProcess(tmp_path / "first", ("--simulate", "1"))) as service:
        assert service.process is not None
        link.symlink_to(database)
        for path in (database, link):
            done = pixelfactory(
                *("up", "--port", "0", "--simulate", "1"),
                data_dir=tmp_path / "second",
                check=False,
                PIXELFACTORY_DATABASE_URL=f"sqlite:///{path}",
            )
            assert done.returncode == 1
            assert (
                f"the database {path} is in use by another service: process {service.process.pid}"
                in " ".join(done.stderr.split())
            )
        assert service.command("keys", "list").returncode == 0, "commands work beside the service"


def test_commands_work_beside_the_holder_and_kill_9_frees_the_directory(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    pixelfactory("keys", "create", "--credit", "1.00", data_dir=data_dir)
    pixelfactory("wallet", "audit", data_dir=data_dir)
    with pytest.raises(DataDirectoryInUse, match=str(holder.pid)), locked_data_directory(data_dir):
        pass
    holder.kill()
    with locked_data_directory(data_dir):
        pass
    with locked_data_directory(data_dir):  # it is free again when the block ends
        pass


def test_a_directory_that_all_users_share_is_refused_and_left_alone(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(SettingsError, match="shared by all users"), locked_data_directory(shared):
        pass
    assert shared.stat().st_mode & 0o7777 == 0o1777


def accessible(directory: Path) -> list[str]:
    """Return what other users can access in a directory."""
    found = [directory, *(path for path in directory.rglob("*") if not path.is_symlink())]
    return [
        str(path)
        for path in found
        if path.exists() and path.name != "service.log" and path.stat().st_mode & 0o077
    ]


@pytest.fixture
def open_umask() -> Iterator[None]:
    """What is created without a mode is for everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_everything_is_private_also_what_an_earlier_version_left(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data", options=("--simulate", "1"), embedded_s3=True)
    service.start()
    try:
        made = service.run("keys", "create", "--credit", "1.00")
        assert made["key"]
        assert {"pixelfactory.db", "pixelfactory.db-wal", "s3", "instances", KEY_FILE_NAME} <= {
            path.name for path in service.data_dir.iterdir()
        }
        assert accessible(service.data_dir) == []
        service.kill()
        for path in [service.data_dir, *service.data_dir.rglob("*")]:
            path.chmod(0o777)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text("of somebody else")
        elsewhere.chmod(0o644)
        (service.data_dir / "instances" / "link").symlink_to(elsewhere)
        service.start()
        assert accessible(service.data_dir) == []
        assert elsewhere.stat().st_mode & 0o777 == 0o644, "links are not followed"
    finally:
        service.kill()


@pytest.mark.usefixtures("open_umask")
def test_a_command_creates_a_private_database_and_leaves_the_folder_of_one_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "databases"
    folder.mkdir()
    url = f"sqlite:///{folder / 'mine.db'}"
    pixelfactory("keys", "create", data_dir=tmp_path / "data", PIXELFACTORY_DATABASE_URL=url)
    assert (folder / "mine.db").stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o777 == 0o777
    assert accessible(tmp_path / "data") == []
    assert (tmp_path / "data" / KEY_FILE_NAME).is_file()


def bytes_of(path: Path) -> bytes:
    """Return the database with its log."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


async def test_signing_secrets_are_encrypted_and_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "pixelfactory.db"
    secrets: list[str] = []
    for _ in range(2):
        store = SqliteStore(path)
        accounts = await store.list_accounts() or [await store.add_account("Ada", "free", NOW)]
        secret = f"whsec_{'x' * 30}{len(secrets)}"
        await store.add_signing_secret(accounts[0].id, secret, NOW, NOW.replace(year=2027))
        secrets.insert(0, secret)
        assert await store.list_signing_secrets(accounts[0].id, NOW) == secrets
        assert await store.get_or_create_signing_secrets(accounts[0].id, "another", NOW) == secrets
        assert b"whsec_" not in bytes_of(path)
        await store.close()
    assert b"whsec_" not in bytes_of(path)


async def test_secrets_that_an_earlier_version_stored_in_clear_are_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "pixelfactory.db"
    store = SqliteStore(path)
    account = await store.add_account("Ada", "free", NOW)
    await store.close()
    with closing(sqlite3.connect(path)) as db, db:
        for number in range(50):
            db.execute(
                "INSERT INTO signing_secrets (account_id, secret) VALUES (?, ?)",
                (account.id, f"whsec_{number:032}"),
            )
    assert b"whsec_" in bytes_of(path)
    for _ in range(2):
        store = SqliteStore(path)
        found = await store.list_signing_secrets(account.id, NOW)
        assert found == [f"whsec_{number:032}" for number in reversed(range(50))]
        assert b"whsec_" not in bytes_of(path), "not in freed pages or the log either"
        await store.close()


async def test_an_encrypted_secret_of_one_account_is_none_of_another(tmp_path: Path) -> None:
    path = tmp_path / "pixelfactory.db"
    store = SqliteStore(path)
    ada, bob = [await store.add_account(name, "free", NOW) for name in ("Ada", "Bob")]
    await store.add_signing_secret(ada.id, "whsec_of_ada", NOW, NOW)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE signing_secrets SET account_id = ?", (bob.id,))
    with pytest.raises(SecretUnreadable):
        await store.list_signing_secrets(bob.id, NOW)
    await store.close()


async def test_a_lost_key_file_stops_the_start_and_the_old_one_helps(tmp_path: Path) -> None:
    path, key_file = tmp_path / "pixelfactory.db", tmp_path / KEY_FILE_NAME
    store = SqliteStore(path)
    account = await store.add_account("Ada", "free", NOW)
    await store.add_signing_secret(account.id, "whsec_of_ada", NOW, NOW)
    await store.close()
    key_file.rename(tmp_path / "kept")
    done = pixelfactory("wallet", "audit", data_dir=tmp_path, check=False)
    assert done.returncode == 1
    assert str(key_file) in done.stderr
    assert "Traceback" not in done.stderr
    shutil.copy(tmp_path / "kept", key_file)
    store = SqliteStore(path)
    assert await store.list_signing_secrets(account.id, NOW) == ["whsec_of_ada"]
    await store.close()


async def answer(service: ServiceProcess, cookies: dict[str, str], method: str, path: str) -> int:
    """Return the status of a request with this cookie."""
    async with (
        aiohttp.ClientSession(service.url, cookies=cookies) as http,
        http.request(method, path, headers={"Sec-Fetch-Site": "same-origin"}) as response,
    ):
        return response.status


async def sign_in(service: ServiceProcess, credential: str) -> dict[str, str]:
    async with (
        aiohttp.ClientSession(service.url) as http,
        http.post(
            "/session", json={"credential": credential}, headers={"Sec-Fetch-Site": "same-origin"}
        ) as response,
    ):
        assert response.status == 204
        return {name: morsel.value for name, morsel in response.cookies.items()}


@pytest.mark.slow
async def test_ended_sessions_and_those_of_revoked_keys_stay_ended_after_a_restart(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data", options=("--simulate", "1"))
    service.start()
    try:
        keys = [service.run("keys", "create", "--credit", "1.00") for _ in range(2)]
        ended, kept = [await sign_in(service, keys[0]["key"]) for _ in range(2)]
        revoked = await sign_in(service, keys[1]["key"])
        operator = await sign_in(service, service.admin_token)
        assert await answer(service, ended, "DELETE", "/session") == 204
        assert await answer(service, operator, "DELETE", "/session") == 204
        service.run("keys", "revoke", keys[1]["id"])
        service.kill()
        service.start()
        account = "/dashboard/api/account"
        assert await answer(service, kept, "GET", account) == 200
        for cookies in (ended, revoked):
            assert await answer(service, cookies, "GET", account) == 401
        assert await answer(service, operator, "GET", "/dashboard/api/admin/v1/queue") == 401
    finally:
        service.kill()
