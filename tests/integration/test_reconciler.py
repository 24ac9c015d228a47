"""What does not belong together is mended: jobs, attempts and prompts that another process left behind."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from orchestrator.jobs import Attempt, Job, JobStatus, PendingResponse, create_shards
from orchestrator.store.sqlite import SqliteStore
from tests.support import metrics
from tests.support.api import inject_fault, list_instances, submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.polling import poll
from tests.support.service import ServiceProcess, running

IMAGE = {"model": "flux-1-schnell", "prompt": "a", "size": "256x256"}
PATH = "/api/v1/images/generations"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {"PIXELFACTORY_RECONCILE_SECONDS": "0.3"}
    directory = tmp_path_factory.mktemp("reconciler")
    with running(ServiceProcess(directory / "data", ("--simulate", "1"), environment)) as started:
        yield started


@asynccontextmanager
async def other_process(service: ServiceProcess) -> AsyncIterator[SqliteStore]:
    """The store as another process sees it; the service does not hear of its changes."""
    store = SqliteStore(service.data_dir / "pixelfactory.db")
    try:
        yield store
    finally:
        await store.close()


async def new_job(store: SqliteStore, http: aiohttp.ClientSession, **changes: Any) -> Job:
    """Return a job like those that the service accepts; it is not stored yet."""
    finished = await wait_for_job(http, await submit_job(http, IMAGE), "completed")
    record = await store.find_job(finished["jobId"])
    assert record is not None
    fresh = {"status": JobStatus.QUEUED, "started_at": None, "finished_at": None, "pending_response": None}
    id = f"job_{secrets.token_hex(16)}"
    return replace(record.job, id=id, created_at=datetime.now(UTC), **{**fresh, **changes})


def new_attempt(job: Job, prompt_id: str | None = None) -> Attempt:
    return Attempt(
        prompt_id=prompt_id or str(uuid4()),
        shard_id=f"{job.id}-0",
        number=1,
        instance_id="sim-0",
        started_at=datetime.now(UTC),
    )


async def mended(service: ServiceProcess, kind: str) -> float:
    async with service.client() as http, http.get("/metrics") as response:
        return metrics.read(await response.text()).value("pixelfactory_mended_total", kind=kind)


async def wait_until_mended(service: ServiceProcess, kind: str, before: float) -> None:
    await poll(lambda: mended(service, kind), lambda count: count > before)


async def held(http: aiohttp.ClientSession) -> float:
    async with http.get("/api/v1/billing/balance") as response:
        return float((await response.json())["held_usd"])


async def test_schedules_a_job_that_the_service_does_not_know(service: ServiceProcess) -> None:
    before = await mended(service, "unscheduled_job")
    async with service.client(new_key(service)) as http, other_process(service) as store:
        job = await new_job(store, http)
        await store.add_job(job, create_shards(job, 2))
        assert (await wait_for_job(http, job.id))["status"] == "completed"
        assert await held(http) == 0
    assert await mended(service, "unscheduled_job") > before


async def test_ends_an_attempt_that_no_task_runs_and_repeats_it(service: ServiceProcess) -> None:
    before = await mended(service, "open_attempt")
    async with service.client(new_key(service)) as http, other_process(service) as store:
        job = await new_job(store, http)
        await store.add_job(job, create_shards(job, 1))
        assert await store.start_attempt(new_attempt(job))
        assert (await wait_for_job(http, job.id))["status"] == "completed"
        record = await store.find_job(job.id)
        assert record is not None
        assert record.shards[0].attempts == 2
    assert await mended(service, "open_attempt") > before


async def test_ends_the_attempt_of_a_finished_job(service: ServiceProcess) -> None:
    before = await mended(service, "open_attempt")
    async with service.client(new_key(service)) as http, other_process(service) as store:
        job = await new_job(store, http)
        await store.add_job(job, create_shards(job, 1))
        attempt = new_attempt(job)
        assert await store.start_attempt(attempt)
        await store.cancel_job(job.id, datetime.now(UTC))

        async def is_open() -> bool:
            return attempt.prompt_id in {one.prompt_id for one in await store.list_open_attempts()}

        await poll(is_open, lambda value: not value)
    await wait_until_mended(service, "open_attempt", before)


async def test_cancels_a_job_whose_only_connection_has_ended(service: ServiceProcess) -> None:
    before = await mended(service, "unattended_job")
    async with service.client(new_key(service)) as http, other_process(service) as store:
        job = await new_job(store, http, pending_response=PendingResponse.RESULT)
        await store.add_job(job, create_shards(job, 1))
        assert (await wait_for_job(http, job.id))["status"] == "cancelled"
        assert await held(http) == 0
    await wait_until_mended(service, "unattended_job", before)


async def test_tells_a_waiting_caller_of_an_end_that_another_process_wrote(service: ServiceProcess) -> None:
    before = await mended(service, "unheard_end")
    async with service.client(new_key(service)) as http, other_process(service) as store:
        await inject_fault(service, "hold_node", 1)
        waiting = asyncio.ensure_future(http.post(PATH, json=IMAGE, headers={"Idempotency-Key": "k"}))
        jobs = await poll(store.list_unfinished_jobs)
        await wait_for_job(http, jobs[0].job.id, "processing")
        await store.cancel_job(jobs[0].job.id, datetime.now(UTC))
        async with await waiting as response:
            assert (response.status, (await response.json())["error"]["code"]) == (500, "cancelled")
        # The instance is free again.
        assert (await wait_for_job(http, await submit_job(http, IMAGE)))["status"] == "completed"
    await wait_until_mended(service, "unheard_end", before)


async def test_removes_a_prompt_of_an_attempt_that_has_ended(service: ServiceProcess) -> None:
    before = await mended(service, "orphan_prompt")
    async with service.client(new_key(service)) as http, other_process(service) as store:
        job = await new_job(store, http)
        await store.add_job(job, create_shards(job, 1))
        attempt = new_attempt(job)
        assert await store.start_attempt(attempt)
        await store.end_attempt(attempt.prompt_id, "abandoned", None, datetime.now(UTC), retry=True)
        await store.cancel_job(job.id, datetime.now(UTC))

        await inject_fault(service, "hold_node", 1)
        holder = await submit_job(http, IMAGE)
        await wait_for_job(http, holder, "processing")
        url = (await list_instances(service))["sim-0"]["url"]
        async with aiohttp.ClientSession(url) as instance:

            async def queued(part: str) -> list[list[Any]]:
                async with instance.get("/queue") as response:
                    return list((await response.json())[part])

            other_prompt = str(uuid4())
            (running_entry,) = await poll(lambda: queued("queue_running"))
            for prompt_id in (attempt.prompt_id, other_prompt):
                prompt = {"prompt": running_entry[2], "prompt_id": prompt_id}
                async with instance.post("/prompt", json=prompt) as response:
                    assert response.status == 200, await response.text()
            await wait_until_mended(service, "orphan_prompt", before)
            # The service leaves the prompts of other users alone.
            assert [entry[1] for entry in await queued("queue_pending")] == [other_prompt]
            async with instance.post("/queue", json={"delete": [other_prompt]}) as response:
                assert response.status == 200
        async with http.delete(f"/api/v1/jobs/{holder}") as response:
            assert response.status == 200


async def test_finds_nothing_in_a_healthy_service(service: ServiceProcess) -> None:
    kinds = ("unscheduled_job", "open_attempt", "lost_assignment", "unheard_end", "unattended_job")
    async with service.client(new_key(service)) as http:
        before = [await mended(service, kind) for kind in kinds]
        for _ in range(3):
            jobs = [await submit_job(http, {**IMAGE, "n": 2}) for _ in range(5)]
            for job in jobs:
                assert (await wait_for_job(http, job))["status"] == "completed"
        assert [await mended(service, kind) for kind in kinds] == before


#: Requests whose response is a job's id.
QUEUED: list[tuple[str, dict[str, Any]]] = [
    (PATH, IMAGE),
    ("/v1/videos", {"model": "wan2.1-t2v-fast", "prompt": "a"}),
    ("/v1/image/generate", {"model": "sdxl", "prompt": "a"}),
    ("/api/v1/models/flux-dev/run", {"prompt": "a", "aspect_ratio": "1:1"}),
    ("/flux-dev/v1/dev/textToImage", {"prompt": "a", "image_size": "square"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "body"), QUEUED, ids=[path for path, _ in QUEUED])
async def test_a_retry_gets_the_job_whose_id_was_not_sent(
    service: ServiceProcess, path: str, body: dict[str, Any]
) -> None:
    key = new_key(service)
    headers = {"Prefer": "respond-async", "Ocp-Apim-Subscription-Key": key}
    async with service.client(key) as http, other_process(service) as store:

        async def submit(retries: int) -> str:
            sent = {**headers, "X-Stainless-Retry-Count": str(retries)}
            async with http.post(path, json=body, headers=sent) as response:
                assert response.status < 300, await response.text()
                return response.headers["X-PixelFactory-Job"]

        first = await store.find_job(await submit(0))
        assert first is not None
        # As a crash between the store's commit and the response leaves it.
        cut_off = replace(
            first.job,
            id=f"job_{secrets.token_hex(16)}",
            created_at=datetime.now(UTC),
            status=JobStatus.QUEUED,
            started_at=None,
            finished_at=None,
            pending_response=PendingResponse.ID,
        )
        await store.add_job(cut_off, create_shards(cut_off, 1))
        assert await submit(1) == cut_off.id

        async def is_sent() -> bool:
            record = await store.find_job(cut_off.id)
            return record is not None and record.job.pending_response is None

        await poll(is_sent)
        assert await submit(1) not in (first.job.id, cut_off.id)
        assert (await wait_for_job(http, cut_off.id))["status"] == "completed"
