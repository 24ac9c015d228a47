"""Repeating a failed request with its `Idempotency-Key`, through every dialect that has keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.support.api import inject_fault, submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.polling import poll
from tests.support.service import ServiceProcess, running

#: Path, body and headers.
Request = tuple[str, dict[str, Any], dict[str, str]]

SMALL = {"width": 256, "height": 256}
OPENAI = {"model": "flux-1-schnell", "size": "256x256"}
#: Requests whose response is the result, and requests whose response is a job.
WAITING: dict[str, Request] = {
    "openai": ("/v1/images/generations", OPENAI, {}),
    "native": ("/api/v1/images/generations", OPENAI, {}),
    "pixazo": ("/flux-1-schnell/v1/getData", SMALL, {}),
    "fal": ("/fal/fal-ai/flux/schnell", {"image_size": SMALL}, {}),
    "a1111": ("/sdapi/v1/txt2img", SMALL, {}),
    "huggingface": ("/hf/black-forest-labs/FLUX.1-schnell", {"parameters": SMALL}, {}),
}
QUEUED: dict[str, Request] = {
    "asynchronous": ("/api/v1/images/generations", OPENAI, {"Prefer": "respond-async"}),
    "video": ("/v1/videos", {"model": "wan2.1-t2v-fast"}, {}),
    "pixelapi": ("/v1/image/generate", {"model": "sdxl"}, {}),
    "pixeldojo": ("/api/v1/models/flux-dev/run", {"aspect_ratio": "1:1"}, {}),
    "replicate": ("/v1/models/black-forest-labs/flux-schnell/predictions", SMALL, {}),
    "fal queue": ("/fal/queue/fal-ai/flux/schnell", {"image_size": SMALL}, {}),
    "pixazo queue": ("/flux-dev/v1/dev/textToImage", {"image_size": "square"}, {}),
    "pixazo batch": ("/flux-1-schnell/v1/getDataBatch", SMALL, {}),
}
REQUESTS = {**WAITING, **QUEUED}


#: (id, status, error code) of finished jobs by prompt, oldest first.
Finished = dict[str, list[tuple[str, str, str | None]]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with one instance, in which a job may wait for ten seconds until a test starts it again."""
    environment = {"PIXELFACTORY_MAX_JOB_SECONDS": "10", "PIXELFACTORY_MAX_ATTEMPTS": "2"}
    directory = tmp_path_factory.mktemp("keys")
    with running(ServiceProcess(directory / "data", ("--simulate", "1"), environment)) as started:
        yield started


def client(service: ServiceProcess, key: str) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {key}", "Ocp-Apim-Subscription-Key": key}
    return aiohttp.ClientSession(service.url, headers=headers)


def with_prompt(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body with the prompt where its dialect has it."""
    prompted = {**body, "inputs" if name == "huggingface" else "prompt": name}
    return {"input": prompted} if name == "replicate" else prompted


async def send(http: aiohttp.ClientSession, name: str) -> tuple[int, str | None, str | None]:
    """Send a request under its name as key; return status, job id and `X-Should-Retry`."""
    path, body, headers = REQUESTS[name]
    sent = {**headers, "Idempotency-Key": name}
    async with http.post(path, json=with_prompt(name, body), headers=sent) as response:
        await response.read()
        job, retry = response.headers.get("X-PixelFactory-Job"), response.headers.get("X-Should-Retry")
        return response.status, job, retry


async def send_all(http: aiohttp.ClientSession) -> dict[str, tuple[int, str | None, str | None]]:
    answers = await asyncio.gather(*(send(http, name) for name in REQUESTS))
    return dict(zip(REQUESTS, answers, strict=True))


async def jobs_of(http: aiohttp.ClientSession) -> Finished:
    found: Finished = {}
    async with http.get("/api/v1/jobs", params={"limit": "100"}) as response:
        for job in reversed((await response.json())["jobs"]):
            error = job["error"] and job["error"]["code"]
            if job["finishedAt"]:
                found.setdefault(job["params"]["prompt"], []).append((job["jobId"], job["status"], error))
    return found


async def all_finished(http: aiohttp.ClientSession, each: int) -> Finished:
    """Wait until every request has so many finished jobs."""

    def is_done(jobs: Finished) -> bool:
        return all(len(jobs.get(name, [])) == each for name in REQUESTS)

    return await poll(lambda: jobs_of(http), is_done)


async def captures(http: aiohttp.ClientSession) -> int:
    async with http.get("/api/v1/billing/ledger", params={"limit": "100"}) as response:
        return sum(entry["kind"] == "capture" for entry in (await response.json())["entries"])


@pytest.mark.slow
async def test_a_failure_that_passes_frees_the_key(service: ServiceProcess) -> None:
    async with client(service, new_key(service)) as http, client(service, new_key(service)) as other:
        await inject_fault(service, "hold_node", 1)
        # One prompt runs, and one more waits on the instance.
        holders = [await submit_job(other, {**OPENAI, "prompt": "holder"}) for _ in range(2)]
        for holder in holders:
            await wait_for_job(other, holder, "processing")
        answers = await send_all(http)
        for name in WAITING:
            assert (answers[name][0] >= 500, answers[name][2]) == (True, "true"), name
        failed = await all_finished(http, 1)
        assert {jobs[0][1:] for jobs in failed.values()} == {("failed", "expired")}
        for holder in reversed(holders):
            async with other.delete(f"/api/v1/jobs/{holder}") as response:
                assert response.status == 200
        await asyncio.to_thread(service.stop)
        service.environment = {"PIXELFACTORY_MAX_ATTEMPTS": "2"}
        await asyncio.to_thread(service.start)

        again = await send_all(http)
        assert {name: status for name, (status, _, _) in again.items() if status >= 300} == {}
        done = await all_finished(http, 2)
        for name, jobs in done.items():
            assert jobs[0] == failed[name][0]
            assert jobs[1][1:] == ("completed", None), name
        # From now on the key means the job that succeeded.
        charged = await captures(http)
        third = await send_all(http)
        assert {name: job for name, (_, job, _) in third.items()} == {
            name: jobs[1][0] for name, jobs in done.items()
        }
        assert await captures(http) == charged > 0


async def test_a_lasting_failure_says_that_a_retry_is_useless(service: ServiceProcess) -> None:
    async with client(service, new_key(service)) as http:
        await inject_fault(service, "reject", 1000)
        try:
            first = await send_all(http)
            failed = await all_finished(http, 1)
            assert {jobs[0][1:] for jobs in failed.values()} == {("failed", "bad_graph")}
        finally:
            await inject_fault(service, "reject", 0)
        again = await send_all(http)
        for name in WAITING:
            assert (first[name][0], first[name][2]) == (500, "false"), name
            assert (again[name][0], again[name][2]) == (500, "false"), name
        for name in QUEUED:
            assert again[name][1] == failed[name][0][0], name
        assert {name: len(jobs) for name, jobs in (await jobs_of(http)).items()} == dict.fromkeys(REQUESTS, 1)
        assert await captures(http) == 0


async def test_a_failed_generation_may_be_repeated(service: ServiceProcess) -> None:
    """The document says of a 500: retry the request. The same key then makes a new job."""
    async with client(service, new_key(service)) as http:
        await inject_fault(service, "out_of_memory", 1000)
        try:
            failed = await send(http, "openai")
        finally:
            await inject_fault(service, "out_of_memory", 0)
        assert (failed[0], failed[2]) == (500, "true")
        again = await send(http, "openai")
        assert again[0] == 200
        assert None not in (failed[1], again[1])
        assert failed[1] != again[1]


async def test_an_error_of_every_attempt_is_not_worth_a_retry(service: ServiceProcess) -> None:
    async with client(service, new_key(service)) as http:
        await inject_fault(service, "node_error", 1000)
        try:
            failed = await send(http, "native")
        finally:
            await inject_fault(service, "node_error", 0)
        assert (failed[0], failed[2]) == (500, "false")
        assert (await jobs_of(http))["native"] == [(failed[1], "failed", "node_failed_repeatedly")]
        assert await send(http, "native") == failed
