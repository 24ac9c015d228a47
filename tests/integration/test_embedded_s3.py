"""The embedded S3 server: started, watched, stopped, killed; nothing that was stored is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from orchestrator.media.errors import S3ServerNotStarted
from orchestrator.storage import seaweedfs
from orchestrator.storage.embedded_server import EmbeddedS3
from orchestrator.storage.object_store import ObjectStore
from tests.support.polling import wait_until_sync
from tests.support.s3_server import S3Server

BUCKET = "outputs-of-a-test"
PNG = "image/png"

#: A service that starts the server, tells where it is, and never ends by itself.
SERVICE = """
import asyncio, json, pathlib, sys
from orchestrator.storage.embedded_server import EmbeddedS3

async def main():
    server = EmbeddedS3(pathlib.Path(sys.argv[1]))
    await server.start()
    print(json.dumps({"pid": server.pid, "endpoint": server.endpoint}), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedS3]:
    server = EmbeddedS3(tmp_path / "s3")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def store(server: EmbeddedS3) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(server.bucket_config(BUCKET)) as store:
        await store.ensure_bucket({"outputs/": 7})
        yield store


@pytest.fixture
def service(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SERVICE, str(tmp_path / "s3")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def said(service: subprocess.Popen[str]) -> dict[str, object]:
    assert service.stdout is not None
    found = json.loads(service.stdout.readline())
    assert isinstance(found, dict)
    return found


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_an_outage_of_seconds_delays_and_loses_nothing(server: EmbeddedS3, store: ObjectStore) -> None:
    before = {f"outputs/before-{number}": os.urandom(50_000) for number in range(5)}
    during = {f"outputs/during-{number}": os.urandom(50_000) for number in range(12)}
    for key, data in before.items():
        await store.put(key, data, PNG)
    endpoint = server.endpoint
    await server.stop()
    assert not await store.is_healthy()
    uploads = [
        asyncio.create_task(store.put_with_retry(key, data, PNG, timeout=60)) for key, data in during.items()
    ]
    await asyncio.sleep(1.5)
    assert not any(upload.done() for upload in uploads)
    await server.start()
    assert server.endpoint == endpoint
    await asyncio.gather(*uploads)
    for key, data in (before | during).items():
        assert await store.get(key) == data


async def test_restarts_a_killed_server_on_the_same_ports(server: EmbeddedS3, store: ObjectStore) -> None:
    data = os.urandom(300_000)
    await store.put("outputs/kept", data, PNG)
    first, endpoint = server.pid, server.endpoint
    assert first
    os.kill(first, signal.SIGKILL)
    await store.put_with_retry("outputs/new", data, PNG, timeout=60)
    assert (server.endpoint, server.pid != first) == (endpoint, True)
    assert await store.get("outputs/kept") == data
    assert await store.get("outputs/new") == data


async def test_the_server_dies_with_a_killed_service_and_the_next_one_goes_on(
    service: subprocess.Popen[str], tmp_path: Path
) -> None:
    started = await asyncio.to_thread(said, service)
    assert isinstance(started["pid"], int)
    service.send_signal(signal.SIGKILL)
    pid = started["pid"]
    await asyncio.to_thread(wait_until_sync, lambda: not is_running(pid))
    successor = EmbeddedS3(tmp_path / "s3")
    await successor.start()
    assert successor.endpoint == started["endpoint"]
    await successor.stop()


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server that nothing ties to us, as its predecessor left it where the kernel has no such tie."""
    home = seaweedfs.SeaweedFSDirectory(tmp_path / "s3")
    home.prepare()
    ports = home.allocate_ports()
    command = home.command_line(seaweedfs.find_binary(), ports)
    with subprocess.Popen(
        command, env=home.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        home.pid_file.write_text(str(process.pid))
        wait_until_sync(lambda: not seaweedfs.are_ports_free(ports))
        yield process
        process.kill()


async def test_an_orphan_is_removed(orphan: subprocess.Popen[bytes], tmp_path: Path) -> None:
    server = EmbeddedS3(tmp_path / "s3")
    await server.start()
    assert orphan.poll() is not None
    assert server.pid != orphan.pid
    await server.stop()


async def test_two_services_do_not_share_a_directory(s3: S3Server) -> None:
    pid = s3.embedded.pid
    with pytest.raises(S3ServerNotStarted, match="in use"):
        await EmbeddedS3(s3.directory).start()
    assert s3.embedded.pid == pid
    async with ObjectStore(s3.access(BUCKET)) as store:
        await store.ensure_bucket()


async def test_everything_listens_on_the_loopback_only(s3: S3Server) -> None:
    listening = [
        found.laddr.ip
        for found in psutil.Process(s3.embedded.pid).net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 8
    assert set(listening) == {"127.0.0.1"}


async def test_internal_servers_reject_requests_without_credentials(s3: S3Server) -> None:
    async with ObjectStore(s3.access(BUCKET)) as store:
        await store.ensure_bucket()
        await store.put("outputs/secret", b"secret", PNG)
    port = json.loads((s3.directory / "ports.json").read_text())["filer"]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        for path in (f"/buckets/{BUCKET}/outputs/secret", f"/buckets/{BUCKET}/", "/"):
            async with http.get(path) as answer:
                assert answer.status == 401


def test_secrets_are_private(s3: S3Server) -> None:
    assert s3.directory.stat().st_mode & 0o777 == 0o700
    for name in ("identities.json", "security.toml", "weed.log"):
        assert (s3.directory / name).stat().st_mode & 0o777 == 0o600
    secret = s3.embedded.secret_key
    assert secret in (s3.directory / "identities.json").read_text()
    assert secret not in " ".join(psutil.Process(s3.embedded.pid).cmdline())
    assert secret not in (s3.directory / "weed.log").read_text()


async def test_stop_leaves_nothing_running_and_the_next_life_has_the_same_secrets(tmp_path: Path) -> None:
    server = EmbeddedS3(tmp_path)
    await server.stop()  # never started: nothing to do
    await server.start()
    pid, known = server.pid, (server.access_key, server.secret_key)
    assert pid
    await server.stop()
    await server.stop()
    assert server.pid is None
    assert not is_running(pid)
    assert sockets_of(server) == []
    await server.start()
    assert (server.access_key, server.secret_key) == known
    await server.stop()


def sockets_of(server: EmbeddedS3) -> list[Path]:
    return list(Path("/tmp").glob(f"seaweedfs-*-{server.endpoint.rpartition(':')[2]}.sock"))


async def test_a_port_that_was_taken_meanwhile_is_replaced(server: EmbeddedS3, store: ObjectStore) -> None:
    await store.put("outputs/kept", b"kept", PNG)
    await server.stop()
    old = server.endpoint
    with socket.create_server(("127.0.0.1", int(old.rpartition(":")[2]))):
        await server.start()
    assert server.endpoint != old
    async with ObjectStore(server.bucket_config(BUCKET)) as moved:
        assert await moved.get("outputs/kept") == b"kept"


async def test_reports_why_the_server_cannot_start_and_recovers(tmp_path: Path) -> None:
    identities = tmp_path / "identities.json"
    keys = [{"accessKey": "a", "secretKey": "b" * 8}]
    identities.write_text(json.dumps({"identities": [{"credentials": keys, "actions": 7}]}))
    with pytest.raises(S3ServerNotStarted, match="unexpected token 7"):
        await EmbeddedS3(tmp_path).start()
    identities.unlink()
    repaired = EmbeddedS3(tmp_path)
    await repaired.start()
    await repaired.stop()


async def test_unreadable_secrets_are_reported(tmp_path: Path) -> None:
    (tmp_path / "identities.json").write_text('{"identities": []}')
    with pytest.raises(S3ServerNotStarted, match=r"identities\.json"):
        await EmbeddedS3(tmp_path).start()


def test_a_server_that_was_never_started_has_no_address(tmp_path: Path) -> None:
    server = EmbeddedS3(tmp_path)
    for asked in ("endpoint", "access_key", "secret_key"):
        with pytest.raises(S3ServerNotStarted):
            getattr(server, asked)


