"""A running service is backed up under load, killed -9, and restored elsewhere, with its object storage or an
empty one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.backup.location import SECRET_FILES
from orchestrator.storage.object_store import ObjectStore
from tests.support.api import get_job, submit_job, wait_for_job
from tests.support.cli import command
from tests.support.images import png
from tests.support.polling import poll
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess, running

CREDIT = 50.0
BODY = {"model": "flux-1-schnell", "size": "256x256"}
#: Longer than names of objects may be on some servers.
GRAPH_FILE = f"{'photo' * 50}.png"
EDITED = f"data:image/png;base64,{b64encode(png(256, 256)).decode()}"


@dataclass
class BackedUp:
    """What a service had when it was backed up, and its backups."""

    key: str
    #: Key of an account that has uploaded a file for its graphs.
    graph_key: str
    admin_token: str
    #: Digests of the outputs of jobs that were finished before the backup, by job.
    outputs: dict[str, str]
    with_objects: Path
    without_objects: Path
    reports: dict[str, Any] = field(default_factory=dict)
    #: Jobs that were accepted in all, also after the backups.
    accepted: int = 0


def s3_settings(s3: S3Server, bucket: str) -> dict[str, str]:
    access = s3.access(bucket)
    return {
        "PIXELFACTORY_S3_ENDPOINT": access.endpoint,
        "PIXELFACTORY_S3_ACCESS_KEY": access.access_key,
        "PIXELFACTORY_S3_SECRET_KEY": access.secret_key,
        "PIXELFACTORY_S3_BUCKET": bucket,
    }


def run(*arguments: str, environment: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Run a command with --json; its document and its stderr."""
    done = command(*arguments, "--json", **environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)), done.stderr


def new_bucket() -> str:
    return f"backup-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def bucket() -> str:
    return new_bucket()


@pytest.fixture(scope="module")
def backed_up(s3: S3Server, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> BackedUp:
    """The backups of a service that was at work, and was then killed -9 and removed."""
    root = tmp_path_factory.mktemp("backup")
    environment = {**s3_settings(s3, bucket), "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.02"}
    service = ServiceProcess(root / "data", ("--simulate", "2"), environment)
    with running(service):
        made = asyncio.run(back_up_under_load(service, root, environment))
        service.kill()
    shutil.rmtree(service.data_dir)
    return made


async def back_up_under_load(service: ServiceProcess, root: Path, environment: dict[str, str]) -> BackedUp:
    made = BackedUp(
        key=service.key(f"{CREDIT:.2f}"),
        graph_key=service.run("keys", "create", "--scope", "graphs", "--scope", "read")["key"],
        admin_token=service.admin_token,
        outputs={},
        with_objects=root / "with-objects",
        without_objects=root / "without-objects",
    )
    async with service.client(made.graph_key) as http:
        form = aiohttp.FormData()
        form.add_field("image", png(64, 48), filename=GRAPH_FILE, content_type="image/png")
        async with http.post("/upload/image", data=form) as response:
            assert response.status == 200, await response.text()
    async with service.client(made.key) as http:
        for number in range(4):
            job = await wait_for_job(http, await submit(http, number))
            made.outputs[job["jobId"]] = await digest(job)
        async with load(http, made):
            await poll(lambda: count_accepted(made), lambda accepted: accepted >= 8)
            for name, options in (("without_objects", ()), ("with_objects", ("--objects",))):
                directory = getattr(made, name)
                arguments = ("backup", str(directory), "--data-dir", str(service.data_dir), *options)
                made.reports[name], stderr = await asyncio.to_thread(run, *arguments, environment=environment)
                assert stderr == ""
            # The service goes on meanwhile and afterwards.
            enough = made.accepted + 4
            await poll(lambda: count_accepted(made), lambda accepted: accepted >= enough)
    return made


async def count_accepted(made: BackedUp) -> int:
    return made.accepted


@asynccontextmanager
async def load(http: aiohttp.ClientSession, made: BackedUp) -> AsyncIterator[None]:
    """Keep some jobs unfinished all the time, one of them with an input image."""

    async def submit_and_wait(worker: int) -> None:
        for number in range(1000):
            job = await submit(http, 1000 * worker + number, upload=worker == 1)
            made.accepted += 1
            await wait_for_job(http, job)

    workers = [asyncio.create_task(submit_and_wait(worker)) for worker in range(1, 5)]
    try:
        yield
        assert not any(worker.done() for worker in workers)
    finally:
        for worker in workers:
            worker.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*workers)


async def submit(http: aiohttp.ClientSession, number: int, upload: bool = False) -> str:
    body: dict[str, Any] = {**BODY, "prompt": f"cat {number}", "seed": number}
    if upload:
        body |= {"model": "qwen-image-edit", "image": EDITED}
    return await submit_job(http, body)


async def digest(job: dict[str, Any]) -> str:
    """The SHA-256 of the only output of a job, read by its URL."""
    (url,) = job["output"]["images"]
    async with aiohttp.request("GET", url) as response:
        assert response.status == 200
        return hashlib.sha256(await response.read()).hexdigest()


async def check_restored(service: ServiceProcess, backed_up: BackedUp) -> None:
    """All promises of the backup are kept: jobs finish, files are there, the wallet is right."""
    assert service.admin_token == backed_up.admin_token
    async with service.client(backed_up.key) as http:

        async def list_jobs() -> list[dict[str, Any]]:
            async with http.get("/api/v1/jobs", params={"limit": "100"}) as response:
                assert response.status == 200
                return list((await response.json())["jobs"])

        jobs = await poll(list_jobs, all_finished)
        assert {job["status"] for job in jobs} == {"completed"}
        assert backed_up.outputs.keys() < {job["jobId"] for job in jobs}
        assert len(jobs) < len(backed_up.outputs) + backed_up.accepted
        for job_id, expected in backed_up.outputs.items():
            assert await digest(await get_job(http, job_id)) == expected
        for job in jobs:
            await digest(await get_job(http, job["jobId"]))
        async with http.get("/api/v1/billing/balance") as response:
            wallet = await response.json()
        assert wallet["held_usd"] == 0
        assert wallet["balance_usd"] == pytest.approx(CREDIT - sum(job["costCents"] for job in jobs) / 100)
        finished = await wait_for_job(http, await submit(http, 99_999))
        assert finished["status"] == "completed"


def all_finished(jobs: list[dict[str, Any]]) -> bool:
    return not any(job["status"] in ("pending", "processing") for job in jobs)


def test_reports_what_a_backup_holds(backed_up: BackedUp) -> None:
    plain, full = (backed_up.reports[name] for name in ("without_objects", "with_objects"))
    assert plain["objects"]["copied"] == 0
    assert plain["objects"]["named"] >= len(backed_up.outputs)
    of_jobs = full["objects"]["copied"] - full["objects"]["caller_files"]
    assert of_jobs == full["objects"]["named"] - full["objects"]["deleted"]
    # The bytes of the file, what is known of it, and its name.
    assert full["objects"]["caller_files"] == 3
    assert full["objects"]["missing"] == full["objects"]["damaged"] == []
    assert full["counts"]["jobs"] >= plain["counts"]["jobs"] >= 8
    listed = [
        json.loads(line) for line in (backed_up.with_objects / "objects.jsonl").read_text().splitlines()
    ]
    for one in listed:
        data = (backed_up.with_objects / "objects" / one["key"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one["size"], one["sha256"])


@pytest.mark.slow
def test_is_restored_with_the_same_object_storage(
    backed_up: BackedUp, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    environment = s3_settings(s3, bucket)
    service = ServiceProcess(tmp_path / "data", ("--simulate", "2"), environment)
    arguments = ("restore", str(backed_up.without_objects), "--data-dir", str(service.data_dir))
    report, stderr = run(*arguments, environment=environment)
    assert stderr == ""
    assert (report["objects"]["uploaded"], report["objects"]["missing"]) == (0, [])
    assert report["objects"]["present"] == backed_up.reports["without_objects"]["objects"]["named"]
    with running(service):
        asyncio.run(check_restored(service, backed_up))
        # A service holds the data directory.
        done = command(*arguments, "--replace", **environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert "in use by another" in done.stderr


@pytest.mark.slow
def test_is_restored_with_an_empty_object_storage(backed_up: BackedUp, s3: S3Server, tmp_path: Path) -> None:
    environment = s3_settings(s3, new_bucket())
    service = ServiceProcess(tmp_path / "data", ("--simulate", "2"), environment)
    arguments = ("restore", str(backed_up.with_objects), "--data-dir", str(service.data_dir))
    report, stderr = run(*arguments, environment=environment)
    assert stderr == ""
    assert (report["objects"]["present"], report["objects"]["missing"]) == (0, [])
    assert report["objects"]["uploaded"] == backed_up.reports["with_objects"]["objects"]["copied"]
    with running(service):
        asyncio.run(check_restored(service, backed_up))
        asyncio.run(check_graph_file(service, backed_up))


async def check_graph_file(service: ServiceProcess, backed_up: BackedUp) -> None:
    async with service.client(backed_up.graph_key) as http:
        query = {"type": "input", "filename": GRAPH_FILE}
        async with http.get("/view", params=query) as response:
            assert (response.status, await response.read()) == (200, png(64, 48))


def test_reports_objects_that_nobody_has(backed_up: BackedUp, s3: S3Server, tmp_path: Path) -> None:
    environment = s3_settings(s3, new_bucket())
    arguments = ("restore", str(backed_up.without_objects), "--data-dir", str(tmp_path / "data"))
    report, stderr = run(*arguments, environment=environment)
    named = backed_up.reports["without_objects"]["objects"]["named"]
    assert len(report["objects"]["missing"]) == named
    assert f"{named} object(s) are missing" in stderr


async def test_names_lost_and_damaged_objects(backed_up: BackedUp, s3: S3Server, tmp_path: Path) -> None:
    environment = s3_settings(s3, new_bucket())
    data_dir = ("--data-dir", str(tmp_path / "data"))
    await asyncio.to_thread(
        lambda: run("restore", str(backed_up.with_objects), *data_dir, environment=environment)
    )
    lost, damaged = sorted(path for path in (backed_up.with_objects / "objects").rglob("*.png"))[:2]
    keys = [path.relative_to(backed_up.with_objects / "objects").as_posix() for path in (lost, damaged)]
    async with ObjectStore(s3.access(environment["PIXELFACTORY_S3_BUCKET"])) as objects:
        await objects.delete(keys[0])
        await objects.put(keys[1], b"other pixels", "image/png")
    report, stderr = await asyncio.to_thread(
        lambda: run("backup", str(tmp_path / "second"), "--objects", *data_dir, environment=environment)
    )
    assert (report["objects"]["missing"], report["objects"]["damaged"]) == ([keys[0]], [keys[1]])
    assert f"1 object(s) are missing in object storage: {keys[0]}" in stderr
    assert "1 object(s) are damaged" in stderr
    found = {path.name for path in (tmp_path / "second" / "objects").rglob("*.png")}
    assert found.isdisjoint({lost.name, damaged.name})


@pytest.mark.slow
def test_backs_up_the_embedded_server_of_a_service_that_runs_or_not(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data", ("--simulate", "1"))
    with running(service):

        async def make_one() -> str:
            async with service.client(key) as http:
                return await digest(await wait_for_job(http, await submit(http, 1)))

        key = service.key()
        expected = asyncio.run(make_one())
        service.run("prices", "new", "gold", "0.5")
        online = service.run("backup", str(tmp_path / "online"), "--objects")
    offline = service.run("backup", str(tmp_path / "offline"), "--objects")
    assert online["objects"] == offline["objects"]
    assert online["objects"]["copied"] == 1
    restored = ServiceProcess(tmp_path / "restored", ("--simulate", "1"))
    report = restored.run("restore", str(tmp_path / "online"))
    assert report["objects"] == {"present": 0, "uploaded": 1, "missing": []}
    assert "gold" in [row["price_class"] for row in restored.run("prices", "list")]

    async def read_it() -> str:
        async with restored.client(key) as http, http.get("/api/v1/jobs") as response:
            (job,) = (await response.json())["jobs"]
            return await digest(await get_job(http, job["jobId"]))

    with running(restored):
        assert asyncio.run(read_it()) == expected


@pytest.mark.slow
def test_every_file_of_a_data_directory_is_known_to_backups(service: ServiceProcess) -> None:
    """A new secret at the top of the data directory must be backed up; what can be made anew need not be."""
    anew = {"instances", "s3", "service.lock", "service.log"}
    database = {f"pixelfactory.db{suffix}" for suffix in ("", "-wal", "-shm")}
    found = {path.name for path in service.data_dir.iterdir()}
    assert found - anew - database - set(SECRET_FILES) == set()
