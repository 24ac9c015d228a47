"""The end of finished jobs: 410 for who asks, and files that go once nobody needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.app.parts import retention_days
from orchestrator.errors import Gone
from orchestrator.execution.results.expiry import ExpiredFileSweeper, ExpiryPolicy
from orchestrator.execution.results.object_deletion import ObjectDeleter
from orchestrator.jobs import JobRecord, Output
from orchestrator.jobs.events import EventHub
from orchestrator.jobs.loras import TrainedLora
from orchestrator.media.errors import ObjectNotFound
from orchestrator.settings import Settings
from orchestrator.storage.object_store import ObjectStore, S3Config
from tests.support.polling import poll
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess, running
from tests.support.store_harness import PICTURE, USAGE, StoreHarness, open_world

PATH = "/api/v1/images/generations"
WEEK = timedelta(days=7)
FILE = Output(key="loras/aa/a.safetensors", content_type="application/octet-stream", size=4, sha256="ab" * 32)
LIFETIME_SECONDS = 6.0


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that keeps everything for a few seconds."""
    environment = {"PIXELFACTORY_OUTPUT_LIFETIME_DAYS": f"{LIFETIME_SECONDS / 86400:.9f}"}
    with running(ServiceProcess(tmp_path_factory.mktemp("brief"), environment=environment)) as started:
        yield started


async def generate(http: aiohttp.ClientSession, seed: int, **headers: str) -> tuple[str, str]:
    """Job and URL of a small picture."""
    body = {"model": "flux-1-schnell", "prompt": "a fox", "size": "256x256", "seed": seed}
    async with http.post(PATH, json=body | {"response_format": "url"}, headers=headers) as response:
        assert response.status == 200, await response.text()
        return response.headers["X-PixelFactory-Job"], (await response.json())["data"][0]["url"]


async def status(http: aiohttp.ClientSession, method: str, path: str) -> tuple[int, Any]:
    async with http.request(method, path) as response:
        return response.status, await response.json()


async def until_missing(http: aiohttp.ClientSession, url: str) -> None:

    async def status() -> int:
        async with http.get(url) as response:
            return response.status

    await poll(status, lambda found: found == 404)


async def test_an_expired_job_and_its_files_are_deleted(brief: ServiceProcess) -> None:
    key, other_key = brief.key(), brief.key()
    async with brief.client(key) as http, aiohttp.ClientSession() as anybody:
        job, url = await generate(http, 1, **{"Idempotency-Key": "once"})
        _, shown = await status(http, "GET", f"/api/v1/jobs/{job}")
        kept = datetime.fromisoformat(shown["expiresAt"]) - datetime.fromisoformat(shown["finishedAt"])
        assert kept.total_seconds() == pytest.approx(LIFETIME_SECONDS, abs=1)
        async with anybody.get(url) as response:
            assert response.status == 200
        await asyncio.sleep(LIFETIME_SECONDS / 2)
        second, second_url = await generate(http, 1)
        assert second_url.partition("?")[0] != url.partition("?")[0], "each job has a file of its own"
        await asyncio.sleep(LIFETIME_SECONDS / 2 + 0.5)

        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
            found, body = await status(http, method, f"/api/v1/jobs/{job}{path}")
            assert (found, body["error"]["code"]) == (410, "expired")
        async with brief.client(other_key) as stranger:
            assert (await status(stranger, "GET", f"/api/v1/jobs/{job}"))[0] == 404
        async with anybody.get(second_url) as response:
            assert response.status == 200
        assert (await status(http, "GET", f"/api/v1/jobs/{second}"))[0] == 200

        async with asyncio.timeout(20):
            await until_missing(anybody, url)
            await until_missing(anybody, second_url)
        assert (await status(http, "GET", f"/api/v1/jobs/{second}"))[0] == 410
        _, listed = await status(http, "GET", "/api/v1/jobs")
        assert {entry["jobId"]: entry["output"] for entry in listed["jobs"]} == {job: {}, second: {}}

        body = {"model": "flux-1-schnell", "prompt": "a fox", "size": "256x256", "seed": 1}
        async with http.post(PATH, json=body, headers={"Idempotency-Key": "once"}) as response:
            assert response.status == 410, "what is promised once is not made twice"
        await generate(http, 1)


@pytest.fixture
async def objects(s3: S3Server) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(s3.access("expiry")) as objects:
        await objects.ensure_bucket(timeout=10)
        yield objects


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreHarness]:
    async with open_world("sqlite", tmp_path) as world:
        yield world


async def made(world: StoreHarness, objects: ObjectStore, name: str) -> JobRecord:
    """A finished job whose one output is a stored file of that name."""
    key = f"outputs/{name[:2]}/{name}.png"
    await objects.put(key, name.encode(), "image/png")
    output = Output(key=key, content_type="image/png", size=len(name), sha256=PICTURE.sha256)
    return await world.finish(await world.start(await world.add()), (output,))


async def there(objects: ObjectStore, record: JobRecord) -> bool:
    try:
        await objects.stat(record.outputs[0].key)
    except ObjectNotFound:
        return False
    return True


async def until_deleted(objects: ObjectStore, record: JobRecord) -> None:
    await poll(lambda: there(objects, record), lambda found: not found)


def years_later(world: StoreHarness) -> datetime:
    """The world's clock stands in the past; S3 writes today's date on every file."""
    return max(world.now, datetime.now(world.now.tzinfo)) + timedelta(days=400)


def deleter_of(world: StoreHarness, objects: ObjectStore, now: datetime) -> ObjectDeleter:
    return ObjectDeleter(world.store, objects, EventHub(), lambda: now)


async def expire(world: StoreHarness, objects: ObjectStore, now: datetime) -> tuple[int, int]:
    """Return how many files expired, and how many objects were deleted."""
    deleter = deleter_of(world, objects, now)
    sweeper = ExpiredFileSweeper(world.store, deleter, ExpiryPolicy(WEEK, lambda: now))
    return await sweeper.condemn_expired_files(), await deleter.delete_due()


async def test_a_sweep_deletes_only_unused_files(world: StoreHarness, objects: ObjectStore) -> None:
    """Jobs of an earlier version share a file."""
    old, shared = await made(world, objects, "old"), await made(world, objects, "shared")
    world.now = years_later(world)
    again, fresh = await made(world, objects, "shared"), await made(world, objects, "fresh")
    now = world.now + timedelta(days=1)
    assert await expire(world, objects, now) == (1, 1)
    found = [await there(objects, record) for record in (old, shared, again, fresh)]
    assert found == [False, True, True, True]
    assert await expire(world, objects, now) == (0, 0)


def fixed(now: datetime) -> datetime:
    return now


async def test_a_sweep_spares_a_lora_for_its_own_lifetime(world: StoreHarness, objects: ObjectStore) -> None:
    await objects.put(FILE.key, b"lora", FILE.content_type)
    attempt = await world.start(await world.add())
    trained = TrainedLora(name="sks", base="sd15", trigger_word="sks")
    record = await world.store.finish_shard(attempt.prompt_id, [FILE], USAGE, world.later(), trained=trained)
    deleter = deleter_of(world, objects, years_later(world))
    for days, expected in ((8, (0, True)), (29, (0, True)), (31, (1, False))):
        now = world.now + timedelta(days=days)
        expiry = ExpiryPolicy(WEEK, partial(fixed, now), lora_lifetime=timedelta(days=30))
        assert expiry.is_expired(record.job)
        condemned = await ExpiredFileSweeper(world.store, deleter, expiry).condemn_expired_files()
        await deleter.delete_due()
        lora = await world.store.find_lora(world.account.id, "sks")
        assert (condemned, lora is not None) == expected
        assert await there(objects, record) == expected[1]


def test_the_bucket_keeps_files_until_the_sweeper_has_come() -> None:
    days = retention_days(Settings(output_lifetime_days=0.5, lora_lifetime_days=30))
    days_of_all = {"inputs/": 2, "outputs/": 2, "loras/": 31, "uploads/": 2, "graph-files/": 2}
    assert days == days_of_all
    longer = retention_days(Settings(output_lifetime_days=40, lora_lifetime_days=30))
    assert longer == dict.fromkeys(days, 41) | {"uploads/": 2}


@pytest.mark.slow
async def test_many_files_go_in_one_sweep(world: StoreHarness, objects: ObjectStore) -> None:
    await world.store.credit(world.account.id, 10_000_000, "many", world.now)
    records = [await made(world, objects, f"many-{number}") for number in range(210)]
    assert await expire(world, objects, years_later(world)) == (210, 210)
    assert not any([await there(objects, record) for record in records[::50]])


async def test_a_missing_file_counts_as_deleted(world: StoreHarness, objects: ObjectStore) -> None:
    record = await made(world, objects, "gone")
    await objects.delete(record.outputs[0].key)
    assert await expire(world, objects, years_later(world)) == (1, 1)


async def test_deletes_later_what_object_storage_does_not_delete_now(
    world: StoreHarness, objects: ObjectStore
) -> None:
    record = await made(world, objects, "later")
    now = years_later(world)
    nowhere = S3Config(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b" * 8, bucket="expiry")
    async with ObjectStore(nowhere) as away:
        assert await expire(world, away, now) == (1, 0)
    assert await deleter_of(world, objects, now).delete_due() == 0, "it waits before it tries again"
    (waiting,) = await world.store.list_due_deletions(now + timedelta(minutes=10), 10)
    assert (waiting.key, waiting.attempts) == (record.outputs[0].key, 1)
    assert await deleter_of(world, objects, now + timedelta(minutes=10)).delete_due() == 1
    assert not await there(objects, record)


async def test_expired_files_are_deleted_while_the_sweeper_runs(
    world: StoreHarness, objects: ObjectStore
) -> None:
    record = await made(world, objects, "running")
    now = years_later(world)
    deleter = deleter_of(world, objects, now)
    deleter.start()
    async with ExpiredFileSweeper(world.store, deleter, ExpiryPolicy(timedelta(seconds=1), lambda: now)):
        await until_deleted(objects, record)
    await deleter.stop()


async def test_a_job_expires_a_lifetime_after_its_end(world: StoreHarness) -> None:
    running_one = await world.add()
    record = await world.succeed()
    end = record.job.finished_at
    assert end is not None
    expiry = ExpiryPolicy(WEEK, lambda: end + WEEK)
    assert (expiry.expires_at(record.job), expiry.expires_at(running_one.job)) == (end + WEEK, None)
    assert expiry.require_unexpired(running_one) is running_one
    with pytest.raises(Gone):
        expiry.require_unexpired(record)
    assert (
        ExpiryPolicy(WEEK, lambda: end + WEEK - timedelta(microseconds=1)).require_unexpired(record) is record
    )
