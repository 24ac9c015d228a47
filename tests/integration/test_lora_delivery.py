"""How LoRAs reach instances and leave them, and what becomes of jobs whose LoRA is deleted or lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import wait_until_ready
from comfy_instances.protocol.lora_files import uploaded_lora_name
from orchestrator.catalog import Catalog
from orchestrator.execution.failures import LoraUnavailable
from orchestrator.execution.inputs.lora_delivery import MAX_KEPT_LORAS, LoraDelivery
from orchestrator.jobs.loras import LORA_OBJECTS_PARAM
from orchestrator.jobs.objects import LORA_PREFIX, owned_object_key
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR
from orchestrator.storage.object_store import ObjectStore
from tests.support.api import submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.datasets import data_url, zipped
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess, running

BUCKET = "loras"
MODEL = Catalog.load(SHIPPED_WORKFLOWS_DIR)["sd-1.5"]
TRAINER = "sd-1.5-lora-trainer"
PICTURE = {"model": "sd-1.5", "prompt": "a fox", "size": "256x256", "steps": 2, "seed": 1}


@pytest.fixture
async def objects(s3: S3Server) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(s3.access(BUCKET)) as objects:
        await objects.ensure_bucket()
        yield objects


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[LocalFleet]:
    fleet = LocalFleet.simulated(1, directory=tmp_path)
    await fleet.start()
    try:
        await wait_until_ready(fleet)
        yield fleet
    finally:
        await fleet.stop()


async def store_lora(objects: ObjectStore, number: int) -> tuple[str, str]:
    """Return the key of a stored file, and the name under which instances get it."""
    data = b"lora %d" % number
    digest = sha256(data).hexdigest()
    key = owned_object_key(LORA_PREFIX, f"attempt-{number}", digest, "bin")
    await objects.put(key, data, "application/octet-stream")
    return key, uploaded_lora_name(digest)


def params_with(key: str) -> dict[str, Any]:
    """Return the parameters of a job with this LoRA and one of the operator."""
    loras = [{"job_id": "job_1", "strength": 0.5}, {"name": "ink", "strength": 1.0}]
    return {"prompt": "a fox", "loras": loras, LORA_OBJECTS_PARAM: {"job_1": key}}


def files_in(directory: Path) -> set[str]:
    return {path.stem for path in directory.glob("sim-0/output/loras/*")}


@pytest.mark.slow
async def test_keeps_those_that_were_used_last(
    objects: ObjectStore, fleet: LocalFleet, tmp_path: Path
) -> None:
    delivery = LoraDelivery(objects, fleet)
    session, names = fleet.session("sim-0"), []
    for number in range(MAX_KEPT_LORAS + 2):
        key, name = await store_lora(objects, number)
        names.append(name)
        async with delivery.delivered(session, "sim-0", MODEL, params_with(key)) as params:
            assert params["loras"] == [{"name": name, "strength": 0.5}, {"name": "ink", "strength": 1.0}]
            assert name in files_in(tmp_path)
    assert files_in(tmp_path) == set(names[2:])
    # A new process finds what the last one has left, and removes the surplus too.
    key, name = await store_lora(objects, 100)
    async with LoraDelivery(objects, fleet).delivered(session, "sim-0", MODEL, params_with(key)):
        pass
    assert len(files_in(tmp_path)) == MAX_KEPT_LORAS
    assert name in files_in(tmp_path)


@pytest.mark.slow
async def test_a_file_that_runs_need_stays(objects: ObjectStore, fleet: LocalFleet, tmp_path: Path) -> None:
    delivery, session = LoraDelivery(objects, fleet), fleet.session("sim-0")
    key, needed = await store_lora(objects, 0)
    async with delivery.delivered(session, "sim-0", MODEL, params_with(key)):
        for number in range(1, MAX_KEPT_LORAS + 2):
            other, _ = await store_lora(objects, number)
            async with delivery.delivered(session, "sim-0", MODEL, params_with(other)):
                assert needed in files_in(tmp_path)
        assert needed in files_in(tmp_path)


async def test_runs_at_the_same_time_upload_a_file_once(
    objects: ObjectStore, fleet: LocalFleet, tmp_path: Path
) -> None:
    delivery, session = LoraDelivery(objects, fleet), fleet.session("sim-0")
    key, name = await store_lora(objects, 0)
    everyone = asyncio.Barrier(5)

    async def run() -> set[str]:
        async with delivery.delivered(session, "sim-0", MODEL, params_with(key)):
            await everyone.wait()
            return files_in(tmp_path)

    assert await asyncio.gather(*(run() for _ in range(5))) == [{name}] * 5


async def test_a_lost_file_is_an_error_of_its_own(objects: ObjectStore, fleet: LocalFleet) -> None:
    key = owned_object_key(LORA_PREFIX, "attempt-0", "0" * 64, "bin")
    with pytest.raises(LoraUnavailable, match="does not exist"):
        async with LoraDelivery(objects, fleet).delivered(
            fleet.session("sim-0"), "sim-0", MODEL, params_with(key)
        ):
            pass


@pytest.fixture(scope="module")
def slow(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with one instance, on which a training takes some seconds."""
    environment = {
        "PIXELFACTORY_S3_ENDPOINT": s3.endpoint,
        "PIXELFACTORY_S3_ACCESS_KEY": s3.access(BUCKET).access_key,
        "PIXELFACTORY_S3_SECRET_KEY": s3.access(BUCKET).secret_key,
        "PIXELFACTORY_S3_BUCKET": "slow-loras",
        "PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.05",
    }
    data = tmp_path_factory.mktemp("slow")
    with running(ServiceProcess(data, ("--simulate", "1"), environment)) as started:
        yield started


@pytest.fixture
async def http(slow: ServiceProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with slow.client(new_key(slow, plan="pro")) as http:
        yield http


def training(**fields: Any) -> dict[str, Any]:
    return {"model": TRAINER, "dataset": data_url(zipped()), "steps": 2, "rank": 2, **fields}


async def picture_of(job: dict[str, Any]) -> bytes:
    async with aiohttp.ClientSession() as anybody, anybody.get(job["assets"][0]["url"]) as response:
        assert response.status == 200
        return await response.read()


@pytest.mark.slow
async def test_a_job_that_waits_keeps_the_lora_that_is_deleted(http: aiohttp.ClientSession) -> None:
    lora = await submit_job(http, training(lora_name="fox"))
    assert (await wait_for_job(http, lora))["status"] == "completed"
    used = PICTURE | {"loras": [{"name": "fox"}]}
    before = await wait_for_job(http, await submit_job(http, used))
    # One runs and one waits on the instance: the next one is not sent there yet.
    for busy in (training(steps=3000), PICTURE):
        await submit_job(http, busy)
    waiting = await submit_job(http, used)
    async with http.delete(f"/api/v1/loras/{lora}") as response:
        assert response.status == 204
    after = await wait_for_job(http, waiting)
    assert after["status"] == "completed", after["error"]
    assert await picture_of(after) == await picture_of(before)
    async with http.post("/api/v1/images/generations", json=used) as response:
        assert (await response.json())["error"]["code"] == "unknown_lora"


async def test_a_job_whose_lora_is_lost_fails_uncharged(http: aiohttp.ClientSession, s3: S3Server) -> None:
    lora = await submit_job(http, training(lora_name="lost", seed=99))
    await wait_for_job(http, lora)
    async with http.get("/api/v1/loras") as response:
        own = (await response.json())["loras"][0]
    async with ObjectStore(s3.access("slow-loras")) as objects:
        page = await objects.list_objects(LORA_PREFIX)(100)
        (key,) = [found.key for found in page if own["sha256"] in found.key]
        await objects.delete(key)
    async with http.get("/api/v1/billing/balance") as response:
        before = await response.json()
    job = await wait_for_job(http, await submit_job(http, PICTURE | {"loras": [{"name": "lost"}]}))
    assert (job["status"], job["error"]["code"], job["costUsd"]) == ("failed", "lora_unavailable", 0)
    assert "LoRA" in job["error"]["message"]
    async with http.get("/api/v1/billing/balance") as response:
        assert await response.json() == before
