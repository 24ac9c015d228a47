"""No URL of a completed job breaks, and nothing stays in the bucket that no job names."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchestrator.jobs.attempt_transitions import OUTCOME_OK
from orchestrator.jobs.objects import INPUT_PREFIX, OUTPUT_PREFIX, owned_object_key
from orchestrator.media.errors import ObjectNotFound
from orchestrator.storage.object_store import ObjectStore
from tests.support.api import submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.holding_proxy import HoldingProxy
from tests.support.images import png
from tests.support.metrics import scrape
from tests.support.polling import poll, wait_until
from tests.support.repeats import first_always
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess, running

BUCKET = "stored-objects"
VIDEO = {"model": "wan2.1-t2v-fast", "prompt": "a fox", "size": "320x256", "num_frames": 5, "seed": 7}
#: A result that instances store themselves.
IMAGE = {"model": "flux-1-schnell", "prompt": "a fox", "size": "256x256"}
#: Longer than a slow machine takes to accept a request with a file.
GRACE_SECONDS = 6.0
#: The randomized test: pairs of equal videos, how many at the same time, and when one of a pair is deleted.
PAIRS, CONCURRENT_PAIRS, SPREAD_SECONDS = 40, 4, 0.15


@pytest.fixture(scope="module")
def proxy(s3: S3Server) -> Iterator[HoldingProxy]:
    """The way of the service to its S3 server."""
    proxy = HoldingProxy(s3.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def service(
    s3: S3Server, proxy: HoldingProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    environment = {
        "PIXELFACTORY_S3_ENDPOINT": proxy.url,
        "PIXELFACTORY_S3_ACCESS_KEY": s3.access(BUCKET).access_key,
        "PIXELFACTORY_S3_SECRET_KEY": s3.access(BUCKET).secret_key,
        "PIXELFACTORY_S3_BUCKET": BUCKET,
        "PIXELFACTORY_ORPHAN_GRACE_SECONDS": str(GRACE_SECONDS),
        "PIXELFACTORY_ORPHAN_SWEEP_SECONDS": "0.5",
    }
    data_dir = tmp_path_factory.mktemp("stored-objects")
    with running(ServiceProcess(data_dir, environment=environment)) as started:
        yield started


@pytest.fixture
async def http(service: ServiceProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with service.client(new_key(service, "50.00")) as http:
        yield http


@pytest.fixture
async def objects(s3: S3Server) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(s3.access(BUCKET)) as objects:
        yield objects


async def make_video(http: aiohttp.ClientSession, **changes: Any) -> tuple[str, str]:
    """The id of a completed job and the URL of its video."""
    job = await wait_for_job(http, await submit_job(http, VIDEO | changes))
    assert job["status"] == "completed", job
    return job["jobId"], job["assets"][0]["url"]


async def delete(http: aiohttp.ClientSession, job_id: str) -> None:
    async with http.delete(f"/v1/videos/{job_id}") as response:
        assert response.status == 200, await response.text()


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status


async def count_deleted(service: ServiceProcess, reason: str) -> float:
    return (await scrape(service)).value("pixelfactory_objects_deleted_total", reason=reason)


async def keys_below(objects: ObjectStore, prefix: str) -> set[str]:
    next_page = objects.list_objects(prefix)
    keys: set[str] = set()
    while page := await next_page(1000):
        keys |= {found.key for found in page}
    return keys


def named_keys(data_dir: Path, prefix: str) -> set[str]:
    with closing(sqlite3.connect(data_dir / "pixelfactory.db", timeout=30)) as db:
        rows = db.execute("SELECT key FROM output_files WHERE key LIKE ? || '%'", (prefix,))
        return {str(key) for (key,) in rows}


async def until_only_named_objects_exist(service: ServiceProcess, objects: ObjectStore) -> None:
    async def difference() -> set[str]:
        found: set[str] = set()
        for prefix in (OUTPUT_PREFIX, INPUT_PREFIX):
            named = named_keys(service.data_dir, prefix)
            found |= await keys_below(objects, prefix) ^ named
        return found

    await poll(difference, lambda found: not found)


@pytest.mark.parametrize("executed", first_always([False, True]), ids=["before", "after"])
@pytest.mark.parametrize("is_same_account", first_always([True, False]), ids=["own", "other"])
async def test_deleting_a_video_leaves_a_run_of_the_same_pixels_its_file(
    service: ServiceProcess,
    proxy: HoldingProxy,
    http: aiohttp.ClientSession,
    executed: bool,
    is_same_account: bool,
) -> None:
    """The run is about to write its object, or has written it, and its job is not finished in the store."""
    seed = random.Random(f"{executed} {is_same_account}").getrandbits(32)
    first, url = await make_video(http, seed=seed)
    async with service.client(new_key(service, "5.00")) as stranger:
        runner = http if is_same_account else stranger
        with proxy.hold("PUT", "/outputs/", executed=executed) as hold:
            second = await submit_job(runner, VIDEO | {"seed": seed})
            await asyncio.to_thread(hold.wait)
            await delete(http, first)
            await poll(lambda: status_of(url), lambda status: status == 404)
        job = await wait_for_job(runner, second)
        assert job["status"] == "completed"
        async with aiohttp.ClientSession() as anybody, anybody.get(job["assets"][0]["url"]) as response:
            assert response.status == 200
            assert len(await response.read()) == job["assets"][0]["bytes"]


@pytest.mark.slow
async def test_no_url_breaks_while_runs_of_the_same_pixels_are_deleted(
    service: ServiceProcess, objects: ObjectStore
) -> None:
    """Of each two equal videos, one is deleted at some moment of the run of the other."""
    seeded = random.Random(20260311)
    clients = [service.client(new_key(service, "50.00")) for _ in range(4)]
    kept: list[str] = []

    async def run_pair(seed: int) -> None:
        deleting, running = clients[seed % 2], clients[seeded.randrange(4)]
        job_id, url = await make_video(deleting, seed=seed)
        run = asyncio.create_task(make_video(running, seed=seed))
        await asyncio.sleep(seeded.uniform(0, SPREAD_SECONDS))
        await delete(deleting, job_id)
        _, kept_url = await run
        await poll(lambda: status_of(url), lambda status: status == 404)
        assert await status_of(kept_url) == 200
        kept.append(kept_url)

    try:
        for first in range(0, PAIRS, CONCURRENT_PAIRS):
            await asyncio.gather(*map(run_pair, range(first, first + CONCURRENT_PAIRS)))
    finally:
        for client in clients:
            await client.close()
    assert len(kept) == PAIRS
    assert [url for url in kept if await status_of(url) != 200] == []
    await until_only_named_objects_exist(service, objects)


async def test_a_deletion_continues_after_kill_9(
    service: ServiceProcess, proxy: HoldingProxy, http: aiohttp.ClientSession, objects: ObjectStore
) -> None:
    job_id, url = await make_video(http)
    with proxy.hold("DELETE", "/outputs/", executed=False) as hold:
        deleting = asyncio.create_task(delete(http, job_id))
        await asyncio.to_thread(hold.wait)
        service.kill()
        hold.drop()
    with pytest.raises(aiohttp.ClientError):
        await deleting
    assert (await objects.stat(object_key(hold.held))).size, "the object is still there"
    service.start()
    await poll(lambda: status_of(url), lambda status: status == 404)
    async with http.get(f"/api/v1/jobs/{job_id}") as response:
        assert response.status == 404


def object_key(path: str) -> str:
    """The key of the object that a request is about, which may be presigned."""
    return path.partition("?")[0].removeprefix(f"/{BUCKET}/")


async def test_the_file_of_a_run_that_was_cancelled_meanwhile_is_deleted(
    service: ServiceProcess, proxy: HoldingProxy, http: aiohttp.ClientSession, objects: ObjectStore
) -> None:
    before = await count_deleted(service, "unused")
    with proxy.hold("PUT", "/outputs/") as hold:
        job_id = await submit_job(http, VIDEO)
        await asyncio.to_thread(hold.wait)
        key = object_key(hold.held)
        assert (await objects.stat(key)).size
        async with http.delete(f"/api/v1/jobs/{job_id}") as response:
            assert response.status == 200
    assert (await wait_for_job(http, job_id))["status"] == "cancelled"
    await until_missing(objects, key)
    await poll(lambda: count_deleted(service, "unused"), lambda count: count == before + 1)


async def test_a_crash_between_writing_and_naming_an_object_leaves_no_orphan(
    service: ServiceProcess, proxy: HoldingProxy, http: aiohttp.ClientSession, objects: ObjectStore
) -> None:
    with proxy.hold("PUT", "/outputs/") as hold:
        job_id = await submit_job(http, VIDEO)
        await asyncio.to_thread(hold.wait)
        orphan = object_key(hold.held)
        service.kill()
    service.start()
    job = await wait_for_job(http, job_id)
    assert job["status"] == "completed"
    assert await status_of(job["assets"][0]["url"]) == 200
    if orphan not in named_keys(service.data_dir, OUTPUT_PREFIX):
        await until_missing(objects, orphan)
    await until_only_named_objects_exist(service, objects)


async def test_sweeps_delete_orphans_and_leave_converted_images(
    service: ServiceProcess, http: aiohttp.ClientSession, objects: ObjectStore
) -> None:
    body = {"model": "flux-1-schnell", "prompt": "a fox", "size": "256x256", "response_format": "url"}
    body["output_format"] = "webp"
    async with http.post("/api/v1/images/generations", json=body) as response:
        assert response.status == 200, await response.text()
        url = (await response.json())["data"][0]["url"]
    await asyncio.sleep(GRACE_SECONDS + 1)  # S3 counts whole seconds
    sweeps = [
        owned_object_key(prefix, "job_0", os.urandom(32).hex(), "png") for prefix in ("outputs/", "inputs/")
    ]
    foreign = "outputs/notes/of-an-operator.txt"
    for key in (*sweeps, foreign):
        await objects.put(key, b"data", "image/png")
    for key in sweeps:
        await until_missing(objects, key)
    assert await status_of(url) == 200
    assert (await objects.stat(foreign)).size == 4
    await objects.delete(foreign)


async def test_input_files_go_with_their_job(
    service: ServiceProcess, http: aiohttp.ClientSession, objects: ObjectStore
) -> None:
    form = {"model": "wan2.1-i2v-480p", "prompt": "wind", "size": "320x256", "num_frames": 5}
    before = await keys_below(objects, INPUT_PREFIX)
    ids = []
    for _ in range(2):
        data = aiohttp.FormData({name: str(value) for name, value in form.items()})
        data.add_field("input_reference", png(320, 256), filename="a.png", content_type="image/png")
        async with http.post("/v1/videos", data=data) as response:
            assert response.status == 200, await response.text()
            ids.append((await response.json())["id"])
    for id in ids:
        assert (await wait_for_job(http, id))["status"] == "completed"
    keys = await keys_below(objects, INPUT_PREFIX) - before
    assert len(keys) == 2, "each job has a file of its own"
    await delete(http, ids[0])
    left = await poll(lambda: keys_below(objects, INPUT_PREFIX), lambda found: len(found - before) == 1)
    (key,) = left - before
    assert ids[1] in key
    async with http.post(f"/v1/videos/{ids[1]}/remix", json={"prompt": "calm"}) as response:
        assert response.status == 200, await response.text()
        remix = (await response.json())["id"]
    assert (await wait_for_job(http, remix))["status"] == "completed"


async def test_input_files_of_a_refused_request_are_deleted(
    service: ServiceProcess, objects: ObjectStore
) -> None:
    before = await keys_below(objects, INPUT_PREFIX)
    async with service.client(new_key(service, "0.001")) as poor:
        data = aiohttp.FormData({"model": "wan2.1-i2v-480p", "prompt": "wind", "size": "320x256"})
        data.add_field("input_reference", png(320, 256), filename="a.png", content_type="image/png")
        async with poor.post("/v1/videos", data=data) as response:
            assert response.status == 402, await response.text()
    await poll(lambda: keys_below(objects, INPUT_PREFIX), lambda found: found <= before)


async def test_a_thumbnail_is_made_with_its_video_and_deleted_with_it(
    http: aiohttp.ClientSession, objects: ObjectStore
) -> None:
    job_id, _ = await make_video(http)

    async def thumbnails() -> list[str]:
        keys = await keys_below(objects, OUTPUT_PREFIX)
        return [key for key in keys if job_id in key and key.endswith(".thumbnail.webp")]

    (key,) = await poll(thumbnails, lambda found: len(found) == 1)
    assert (await objects.get(key)).startswith(b"RIFF")
    await delete(http, job_id)
    await until_missing(objects, key)


async def until_missing(objects: ObjectStore, key: str) -> None:
    async def exists() -> bool:
        try:
            await objects.stat(key)
        except ObjectNotFound:
            return False
        return True

    await poll(exists, lambda found: not found)


def attempts_of(service: ServiceProcess, job_id: str) -> list[tuple[int, str]]:
    """Return number and outcome of each attempt of a job."""
    with closing(sqlite3.connect(service.data_dir / "pixelfactory.db", timeout=30)) as db:
        return db.execute(
            "SELECT number, outcome FROM attempts WHERE shard_id IN (SELECT id FROM shards WHERE job_id = ?)",
            (job_id,),
        ).fetchall()


async def count_delivered(service: ServiceProcess) -> float:
    """Return the number of results that instances have stored themselves."""
    return (await scrape(service)).value("pixelfactory_outputs_delivered_total", way="stored")


async def test_an_outage_while_an_instance_stores_its_result_costs_no_run(
    service: ServiceProcess, proxy: HoldingProxy, http: aiohttp.ClientSession
) -> None:
    """The instance keeps its result and tries again."""
    before = await count_delivered(service)
    with proxy.refuse(OUTPUT_PREFIX, "PUT") as refusal:
        job_id = await submit_job(http, IMAGE | {"seed": 71})
        await wait_until(lambda: refusal.count >= 3)
    job = await wait_for_job(http, job_id)
    assert job["status"] == "completed", job
    assert attempts_of(service, job_id) == [(1, OUTCOME_OK)]
    assert await count_delivered(service) == before + 1
    assert await status_of(job["assets"][0]["url"]) == 200


@pytest.mark.slow
async def test_a_result_outlives_an_outage_of_a_minute(
    service: ServiceProcess, proxy: HoldingProxy, http: aiohttp.ClientSession
) -> None:
    """The instance keeps its result and tries again; the service waits for it."""
    job = await wait_for_job(http, await submit_job(http, IMAGE | {"seed": 72}))
    assert job["status"] == "completed", "the instance is known to reach the S3 server"
    before = await count_delivered(service)
    with proxy.refuse(OUTPUT_PREFIX) as refusal:
        job_id = await submit_job(http, IMAGE | {"seed": 73})
        await wait_until(lambda: refusal.count >= 1)
        await asyncio.sleep(60)
        assert refusal.count >= 5
    job = await wait_for_job(http, job_id)
    assert job["status"] == "completed", job
    assert attempts_of(service, job_id) == [(1, OUTCOME_OK)]
    assert await count_delivered(service) == before + 1
    assert await status_of(job["assets"][0]["url"]) == 200
