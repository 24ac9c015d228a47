"""How a service starts, is found, reads its settings again, and stops."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import aiohttp
import pytest

from comfy_instances.process.child import find_free_port
from orchestrator.cli.terminal.process_signals import SAME_SIGNAL_SECONDS
from tests.support.callers import new_key
from tests.support.cli import command
from tests.support.polling import poll, wait_until, wait_until_sync
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess

SETTINGS = 'log_level = "INFO"\nlog_format = "json"\nplans_file = "plans.toml"\n'
SIMULATE = ("--simulate", "1")
ADDED_PLAN = """
[plans.added]
price = "1"
monthly_credits = 1
requests_per_minute = 1000
concurrency = 1
priority = 1
"""


@asynccontextmanager
async def relay(port: int, target: int) -> AsyncIterator[None]:
    """A server on `port` that passes everything on to `target`."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(copy(reader, to_writer), copy(to_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


async def test_listens_while_object_storage_is_unreachable(tmp_path: Path, s3: S3Server) -> None:
    config, port = s3.access("waited-for"), find_free_port()
    storage = int(config.endpoint.rpartition(":")[2])
    environment = {
        "PIXELFACTORY_S3_ENDPOINT": f"http://127.0.0.1:{port}",
        "PIXELFACTORY_S3_ACCESS_KEY": config.access_key,
        "PIXELFACTORY_S3_SECRET_KEY": config.secret_key,
        "PIXELFACTORY_S3_BUCKET": config.bucket,
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0",
    }
    service = ServiceProcess(tmp_path / "data", options=SIMULATE, environment=environment)
    service.data_dir.mkdir()
    service.process = service.launch(environment)
    try:
        async with aiohttp.ClientSession(service.url) as http:
            _, body = await poll(lambda: _get(http, "/readyz"), lambda found: found[0] == 503)
            assert f"object storage at http://127.0.0.1:{port} does not respond" in body["missing"]
            assert (body["status"], body["object_store"]) == ("not ready", False)
            assert (await _get(http, "/healthz"))[0] == 200
            async with http.post("/api/v1/images/generations", json={"prompt": "a cat"}) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "2")
                assert "starting" in (await response.json())["error"]["message"]
            async with relay(port, storage):
                _, body = await poll(lambda: _get(http, "/readyz"), lambda found: found[0] == 200)
                assert body["missing"] == []
                assert await asyncio.to_thread(service.stop) == 0
    finally:
        service.process.kill()


async def test_ctrl_c_ends_a_start_that_waits(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{find_free_port()}"
    secrets = dict.fromkeys(("PIXELFACTORY_S3_ACCESS_KEY", "PIXELFACTORY_S3_SECRET_KEY"), "any-secret")
    environment = {"PIXELFACTORY_S3_ENDPOINT": nowhere, **secrets}
    service = ServiceProcess(tmp_path / "data", options=SIMULATE, environment=environment)
    service.data_dir.mkdir()
    service.process = service.launch(environment)
    try:
        log = service.data_dir / "service.log"
        await wait_until(lambda: log.exists() and "object storage is unavailable, retrying" in service.log)
        service.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(service.process.wait, 60) == 0
        assert "stopped before the service was ready" in service.log
    finally:
        service.process.kill()


async def _get(http: aiohttp.ClientSession, path: str) -> tuple[int, dict[str, Any]]:
    """Return status and body; (0, {}) while no process listens."""
    try:
        async with http.get(path) as response:
            return response.status, await response.json()
    except aiohttp.ClientConnectionError:
        return 0, {}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with a configuration file, whose runtime file is in a state directory of its own."""
    place = tmp_path_factory.mktemp("configured")
    shipped = Path(__file__).resolve().parents[2] / "pricing" / "plans.toml"
    (place / "plans.toml").write_text(shipped.read_text())
    (place / "settings.toml").write_text(SETTINGS.replace('"plans.toml"', f'"{place / "plans.toml"}"'))
    environment = {"XDG_STATE_HOME": str(place / "state"), "PIXELFACTORY_SIMULATOR_TIME_SCALE": "1000"}
    options = (*SIMULATE, "--config", str(place / "settings.toml"))
    service = ServiceProcess(place / "data", options=options, environment=environment)
    service.start()
    yield service
    assert service.process is not None
    service.process.kill()


def test_commands_find_the_service_that_runs(
    configured: ServiceProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", configured.environment["XDG_STATE_HOME"])
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    listed = command("instances", "list", "--json")
    assert [row["id"] for row in json.loads(listed.stdout)] == ["sim-0"], listed.stderr
    assert f"using {configured.data_dir.resolve()}" in listed.stderr
    key = json.loads(command("keys", "create", "--credit", "1", "--json").stdout)["key"]
    assert json.loads(command("jobs", "list", "--json", PIXELFACTORY_API_KEY=key).stdout) == []
    assert not (tmp_path / "home").exists(), "a command has made a data directory beside the one in use"


def test_a_file_of_a_service_that_has_ended_is_ignored(
    configured: ServiceProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running = tmp_path / "state" / "pixelfactory" / "running"
    running.mkdir(parents=True)
    (running / "dead.json").write_text(json.dumps({"url": configured.url, "data_dir": "/", "pid": 1}))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    assert configured.url not in command("instances", "list").stderr
    assert list(running.iterdir()) == []


def test_probes_are_not_logged(configured: ServiceProcess) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession(configured.url) as http:
            for path in ("/healthz", "/readyz", "/metrics", "/api/v1/models/after-the-probes"):
                async with http.get(path) as response:
                    await response.read()

    asyncio.run(ask())
    wait_until_sync(lambda: "after-the-probes" in configured.log)
    messages = [json.loads(line)["message"] for line in configured.log.splitlines()]
    assert not [message for message in messages if "/healthz" in message or "/readyz" in message]
    assert not [message for message in messages if "/metrics" in message]


def test_hangup_reads_settings_and_files_again(configured: ServiceProcess) -> None:
    place = configured.data_dir.parent
    settings, plans = place / "settings.toml", place / "plans.toml"
    assert configured.process is not None
    before = settings.read_text()
    settings.write_text(before.replace('"INFO"', '"DEBUG"') + "max_attempts = 7\n")
    with pytest.raises(HTTPError):
        new_key(configured, plan="added")
    plans.write_text(plans.read_text() + ADDED_PLAN)
    configured.process.send_signal(signal.SIGHUP)
    wait_until_sync(lambda: "take effect at the next start: max_attempts" in configured.log)
    assert "reloaded log settings, models, price lists, plans and word lists" in configured.log
    assert new_key(configured, plan="added").startswith("pk-")
    settings.write_text("max_atempts = 7\n")
    configured.process.send_signal(signal.SIGHUP)
    wait_until_sync(lambda: "nothing was reloaded" in configured.log)
    assert "did you mean `max_attempts`?" in configured.log
    settings.write_text(before)
    assert configured.process.poll() is None


def test_fatal_errors_are_json_too_if_the_log_is(configured: ServiceProcess, tmp_path: Path) -> None:
    done = command(
        *("up", "--port", str(configured.port), "--data-dir", str(tmp_path / "other")),
        PIXELFACTORY_LOG_FORMAT="json",
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert (lines[-1]["level"], "is in use" in lines[-1]["message"]) == ("CRITICAL", True)


def test_second_ctrl_c_stops_at_once(configured: ServiceProcess) -> None:
    """Runs last: it ends the service of this file, whose instance takes long for everything."""
    assert configured.process is not None
    submit(configured, new_key(configured))
    configured.process.send_signal(signal.SIGINT)
    wait_until_sync(lambda: "a second Ctrl-C stops at once" in configured.log)
    stopping = time.monotonic()
    while time.monotonic() < stopping + 2 * SAME_SIGNAL_SECONDS:
        time.sleep(0.05)
    configured.process.send_signal(signal.SIGINT)
    assert configured.process.wait(60) == 130
    assert "stopping at once" in configured.log


def submit(service: ServiceProcess, key: str) -> None:
    """Submit a job and see it running."""
    headers = {
        "Authorization": f"Bearer {key}",
        "Prefer": "respond-async",
        "Content-Type": "application/json",
    }
    body = json.dumps({"model": "flux-1-schnell", "prompt": "a cat"}).encode()
    request = Request(f"{service.url}/api/v1/images/generations", body, headers)
    with urlopen(request, timeout=60) as response:
        job = json.load(response)

    def runs() -> bool:
        with urlopen(Request(f"{service.url}/api/v1/jobs/{job['jobId']}", headers=headers)) as response:
            return bool(json.load(response)["status"] == "processing")

    wait_until_sync(runs)
