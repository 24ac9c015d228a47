"""`pixelfactory up` on PostgreSQL: the same service, which outlives restarts and refusals of its database."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.api import submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.polling import poll, wait_until
from tests.support.postgres import PostgresCluster
from tests.support.service import DATABASE_URL, ServiceProcess, pixelfactory, running
from tests.support.webhook_receiver import receiving

PATH = "/api/v1/images/generations"
IMAGE = {"model": "sdxl-1.0", "prompt": "a red fox", "width": 512, "height": 512, "response_format": "url"}
PASSWORD = "sesame-of-the-test"


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    cluster = PostgresCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="module")
def service(cluster: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    url = cluster.url().replace("pixel@", f"pixel:{PASSWORD}@")
    environment = {
        DATABASE_URL: url,
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.02",
        "PIXELFACTORY_RECONCILE_SECONDS": "0.5",
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
    }
    with running(ServiceProcess(tmp_path_factory.mktemp("service"), ("--simulate", "1"), environment)) as one:
        yield one
    assert PASSWORD not in one.log


async def readiness(service: ServiceProcess) -> tuple[int, bool]:
    """Return the status of /readyz, and what it says of the database."""
    async with service.client() as http, http.get("/readyz") as response:
        return response.status, (await response.json())["database"]


async def test_serves_requests_and_commands(service: ServiceProcess, cluster: PostgresCluster) -> None:
    key = new_key(service)
    async with service.client(key) as http:
        done = await wait_for_job(http, await submit_job(http, IMAGE))
        assert done["status"] == "completed"
    assert await readiness(service) == (200, True)
    assert service.audit() == []
    assert len(service.run("keys", "list")) >= 1
    assert cluster.query("SELECT count(*) FROM jobs WHERE status = 'succeeded'") == [(1,)]
    assert not (service.data_dir / "pixelfactory.db").exists()


async def test_a_webhook_is_delivered_as_soon_as_its_job_ends(service: ServiceProcess) -> None:
    async with receiving(200) as receiver, service.client(new_key(service)) as http:
        job = await submit_job(http, {**IMAGE, "webhook_url": receiver.url})
        assert (await receiver.next()).data["jobId"] == job


def test_a_second_service_is_refused_and_told_why(service: ServiceProcess, tmp_path: Path) -> None:
    options = ("up", "--simulate", "1", "--port", "0")
    url = service.environment[DATABASE_URL]
    done = pixelfactory(*options, data_dir=tmp_path / "other", check=False, **{DATABASE_URL: url})
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert re.match(r"error: the database postgresql://127\.0\.0\.1:\d+/postgres is in use by another", line)
    assert PASSWORD not in done.stderr


@pytest.mark.parametrize("command", [("backup", "copy"), ("restore", "copy")])
def test_backup_and_restore_name_the_way_out(
    service: ServiceProcess, command: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    done = service.command(command[0], str(tmp_path / command[1]))
    assert done.returncode == 1
    assert "pg_dump" in done.stderr
    assert "database-key" in done.stderr
    assert PASSWORD not in done.stderr


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://pixel:{password}@127.0.0.1:1/x", "cannot be used now"),
        ("mysql://pixel:{password}@127.0.0.1/x", "must be sqlite:///PATH or postgresql://"),
        (
            "postgresql://127.0.0.1:{port}/nowhere?user=pixel&password={password}",
            'database "nowhere" does not',
        ),
    ],
)
def test_an_unusable_url_is_an_error_without_the_password(
    cluster: PostgresCluster, tmp_path: Path, url: str, message: str
) -> None:
    given = url.format(password=PASSWORD, port=cluster.port)
    done = pixelfactory("wallet", "audit", data_dir=tmp_path, check=False, **{DATABASE_URL: given})
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr


async def test_a_read_only_database_refuses_new_jobs_and_takes_them_again(
    service: ServiceProcess, cluster: PostgresCluster
) -> None:
    """As after a failover to a standby: what is read is served, what is written is refused."""
    key = new_key(service)
    name = "postgres"
    disconnect = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    disconnect += " AND pid <> pg_backend_pid()"
    set_read_only = f"ALTER DATABASE {name} SET default_transaction_read_only = {{}}"
    cluster.execute(set_read_only.format("on"), disconnect)
    try:
        async with service.client(key) as http:
            async with http.post(PATH, json=IMAGE) as response:
                body = await response.json()
                assert (response.status, body["error"]["code"]) == (503, "store_unavailable")
                assert int(response.headers["Retry-After"]) > 0
            async with http.get("/api/v1/jobs") as response:
                assert response.status == 200
        assert await readiness(service) == (503, False)
    finally:
        cluster.execute("SET default_transaction_read_only = off", set_read_only.format("off"), disconnect)
    async with service.client(key) as http:
        assert (await wait_for_job(http, await submit_job(http, IMAGE)))["status"] == "completed"


@pytest.mark.slow
async def test_restarts_of_the_database_under_load_lose_no_job(
    service: ServiceProcess, cluster: PostgresCluster
) -> None:
    """Restarts in order and by a crash, while callers submit: each accepted job ends and is charged once."""
    key, stopped = new_key(service, "50.00"), asyncio.Event()
    accepted: dict[str, str] = {}
    refusals: Counter[tuple[int, str]] = Counter()

    async def call(http: aiohttp.ClientSession, caller: int) -> None:
        number = 0
        while not stopped.is_set():
            headers = {"Prefer": "respond-async", "Idempotency-Key": f"{caller}-{number}"}
            async with http.post(PATH, json=IMAGE, headers=headers) as response:
                body = await response.json()
                if response.status == 202:
                    accepted[headers["Idempotency-Key"]] = body["jobId"]
                    number += 1
                else:
                    refusals[response.status, body["error"]["code"]] += 1
                    await asyncio.sleep(0.1)

    async with service.client(key) as http:
        callers = [asyncio.create_task(call(http, number)) for number in range(3)]
        for how in (signal.SIGINT, signal.SIGQUIT):
            before = len(accepted)
            await wait_until(lambda before=before: len(accepted) >= before + 4)  # type: ignore[misc]
            await asyncio.to_thread(cluster.stop, how)
            failures = refusals.total()
            await wait_until(lambda failures=failures: refusals.total() > failures)  # type: ignore[misc]
            assert await readiness(service) == (503, False)
            await asyncio.to_thread(cluster.start)
        before = len(accepted)
        await wait_until(lambda: len(accepted) >= before + 4)
        stopped.set()
        await asyncio.gather(*callers)
        jobs = [await wait_for_job(http, job_id, seconds=90) for job_id in accepted.values()]
        assert Counter(job["status"] for job in jobs) == {"completed": len(accepted)}
        assert set(refusals) == {(503, "store_unavailable")}
        # No job is left over: what was not accepted was not kept either, or was found by its key.
        unfinished = "SELECT count(*) FROM jobs WHERE finished_at IS NULL"
        await poll(lambda: asyncio.to_thread(cluster.query, unfinished), lambda rows: rows == [(0,)])
        assert await poll(lambda: readiness(service), lambda found: found == (200, True))
    keys = "SELECT count(*), count(DISTINCT idempotency_key) FROM jobs WHERE idempotency_key IS NOT NULL"
    assert cluster.query(keys) == [(len(accepted), len(accepted))]
    assert service.audit() == []


@pytest.mark.slow
def test_a_service_on_sqlite_does_not_import_the_driver_of_postgresql() -> None:
    """The driver is an extra, and takes a tenth of a second and some megabytes."""
    program = (
        "import sys; from orchestrator.cli.main import build_app; build_app();"
        " import orchestrator.cli.commands.up, orchestrator.cli.terminal.user_errors;"
        " import orchestrator.store.sqlite;"
        " sys.exit(any(name.startswith('psycopg') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
