"""The embedded S3 server: started, watched, stopped, killed; nothing that was stored is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
async def test_an_orphan_is_removed(orphan: subprocess.Popen[bytes], tmp_path: Path) -> None:
    server = EmbeddedS3(tmp_path / "s3")
    await server.start()
    assert orphan.poll() is not None
    assert server.pid != orphan.pid
    await server.stop()


async def test_what_is_stored_at_once_is_there_after_a_stop(server: EmbeddedS3, store: ObjectStore) -> None:
    """The server then waits for connections that nothing uses, until it is killed."""
    stored = {f"outputs/{number}": os.urandom(1000) for number in range(8)}
    await asyncio.gather(*(store.put(key, data, PNG) for key, data in stored.items()))
    await server.stop()
    await server.start()
    for key, data in stored.items():
        assert await store.get(key) == data


async def test_has_room_for_more_volumes_than_the_disk_had_space_for(s3: S3Server) -> None:
    identity = ssl.create_default_context(cafile=s3.directory / "authority.pem")
    identity.load_cert_chain(s3.directory / "service.pem", s3.directory / "service.key")
    ports = json.loads((s3.directory / "ports.json").read_text())
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"https://127.0.0.1:{ports['master']}/dir/status", ssl=identity) as answer,
    ):
        assert (await answer.json())["Topology"]["Max"] >= 10_000


async def test_two_services_do_not_share_a_directory(s3: S3Server) -> None:
    pid = s3.pid
    with pytest.raises(S3ServerNotStarted, match="in use"):
        await EmbeddedS3(s3.directory).start()
    assert s3.pid == pid
    async with ObjectStore(s3.access(BUCKET)) as store:
        await store.ensure_bucket()


async def test_everything_listens_on_the_loopback_only(s3: S3Server) -> None:
    listening = [
        found.laddr.ip
        for found in psutil.Process(s3.pid).net_connections("inet")
        if found.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 8
    assert set(listening) == {"127.0.0.1"}


#: What an internal service answers to a request by HTTP or HTTPS without a client certificate.
REFUSED = (aiohttp.ClientConnectionError, aiohttp.ClientResponseError)


async def answer_of(url: str) -> str | None:
    """Return the text of a successful answer; None if the request is refused."""
    try:
        async with (
            aiohttp.ClientSession(raise_for_status=True) as http,
            http.get(url, ssl=False) as answer,
        ):
            return await answer.text()
    except REFUSED:
        return None


async def test_internal_services_answer_nothing_without_the_certificate(s3: S3Server) -> None:
    async with ObjectStore(s3.access(BUCKET)) as store:
        await store.ensure_bucket()
        await store.put("outputs/secret", b"secret", PNG)
    ports = json.loads((s3.directory / "ports.json").read_text())
    paths = {
        "filer": (f"buckets/{BUCKET}/outputs/secret", f"buckets/{BUCKET}/?pretty=y", ""),
        "master": ("dir/lookup?volumeId=1&fileId=1,01637037d6&read=yes", "dir/assign", "dir/status", ""),
        "volume": ("status", "1,01637037d6", "ui/index.html"),
    }
    for service in ("filer", "master", "volume"):
        for scheme, path in itertools.product(("http", "https"), paths[service]):
            assert await answer_of(f"{scheme}://127.0.0.1:{ports[service]}/{path}") is None
    async with aiohttp.ClientSession() as http:
        for method, path in (
            ("GET", ""),
            ("GET", f"{BUCKET}/outputs/secret"),
            ("DELETE", f"{BUCKET}/outputs/secret"),
        ):
            async with http.request(method, f"{s3.endpoint}/{path}") as answer:
                assert answer.status == 403
        async with http.post(s3.endpoint, data={"Action": "ListUsers"}) as answer:
            assert answer.status in (400, 403)
    async with ObjectStore(s3.access(BUCKET)) as store:
        assert await store.get("outputs/secret") == b"secret"


def shell(s3: S3Server, commands: str, *, config: Path) -> str:
    """Return what `weed shell` prints, or did until it was stopped, as a user with these files."""
    ports = json.loads((s3.directory / "ports.json").read_text())
    arguments = [f"-{name}=127.0.0.1:{ports[name]}.{ports[name] + 10_000}" for name in ("master", "filer")]
    command = [str(seaweedfs.find_binary()), f"-config_dir={config}", "shell", *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=config,
        env={"HOME": str(config)},
        text=True,
    ) as process:
        try:
            return process.communicate(commands, timeout=20)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0]


@pytest.mark.slow
async def test_a_shell_of_another_user_lists_and_deletes_nothing(s3: S3Server, tmp_path: Path) -> None:
    async with ObjectStore(s3.access(BUCKET)) as store:
        await store.ensure_bucket()
        await store.put("outputs/treasure", b"secret", PNG)
        folder = f"/buckets/{BUCKET}/outputs"
        ours = await asyncio.to_thread(shell, s3, f"fs.ls {folder}\n", config=s3.directory)
        assert "treasure" in ours, "the shell finds the server and its files"
        commands = f"fs.ls {folder}\nlock\nfs.rm -rf {folder}\ns3.bucket.delete -name {BUCKET}\n"
        theirs = await asyncio.to_thread(shell, s3, commands, config=tmp_path)
        assert "treasure" not in theirs
        assert await store.get("outputs/treasure") == b"secret"


def open_to_others(directory: Path) -> list[Path]:
    """Return what other users can access. The server removes files of its own meanwhile."""
    found = []
    for path in (directory, *directory.rglob("*")):
        with suppress(FileNotFoundError):
            if path.lstat().st_mode & 0o077:
                found.append(path)
    return found


async def test_access_of_earlier_versions_is_closed_at_the_next_start(tmp_path: Path) -> None:
    directory = tmp_path / "s3"
    (directory / "data").mkdir(parents=True)
    (directory / "security.toml").write_text('[jwt.signing]\nkey = "of an earlier version"\n')
    (directory / "data" / "1.dat").touch()
    for path in (directory, directory / "data", directory / "data" / "1.dat"):
        path.chmod(0o777)
    server = EmbeddedS3(directory)
    await server.start()
    try:
        assert await asyncio.to_thread(open_to_others, directory) == []
        assert "[grpc.filer]" in (directory / "security.toml").read_text()
        sockets = [path.stat() for path in sockets_of(directory)]
        assert sockets
        assert [socket for socket in sockets if socket.st_mode & 0o077] == []
    finally:
        await server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_ports_whose_sockets_another_user_holds_are_not_used(tmp_path: Path) -> None:
    home = seaweedfs.SeaweedFSDirectory(tmp_path)
    ports = home.allocate_ports()
    squatter = Path("/tmp", f"seaweedfs-filer-grpc-{ports['filer'] + 10_000}.sock")
    squatter.touch()
    try:
        assert seaweedfs.are_ports_free(ports)
        os.chown(squatter, 65_534, 65_534)
        assert not seaweedfs.are_ports_free(ports)
        assert home.allocate_ports() != ports
    finally:
        squatter.unlink()


def test_secrets_are_private(s3: S3Server) -> None:
    assert s3.directory.stat().st_mode & 0o777 == 0o700
    for name in ("identities.json", "security.toml", "service.key", "weed.log", "pid", "lock"):
        assert (s3.directory / name).stat().st_mode & 0o777 == 0o600
    secret = s3.access(BUCKET).secret_key
    assert secret in (s3.directory / "identities.json").read_text()
    assert secret not in " ".join(psutil.Process(s3.pid).cmdline())
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
    assert sockets_of(tmp_path) == []
    await server.start()
    assert (server.access_key, server.secret_key) == known
    await server.stop()


def sockets_of(directory: Path) -> list[Path]:
    """The sockets of a server in /tmp. Another server's may have the same port, under another name."""
    ports = seaweedfs.SeaweedFSDirectory(directory).read_ports()
    assert ports
    paths = [path for name, port in ports.items() for path in seaweedfs.socket_paths(name, port)]
    return [path for path in paths if path.exists()]


@pytest.mark.slow
async def test_a_port_that_was_taken_meanwhile_is_replaced(server: EmbeddedS3, store: ObjectStore) -> None:
    await store.put("outputs/kept", b"kept", PNG)
    await server.stop()
    old = server.endpoint
    with socket.create_server(("127.0.0.1", int(old.rpartition(":")[2]))):
        await server.start()
    assert server.endpoint != old
    async with ObjectStore(server.bucket_config(BUCKET)) as moved:
        assert await moved.get("outputs/kept") == b"kept"


@pytest.mark.slow
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
