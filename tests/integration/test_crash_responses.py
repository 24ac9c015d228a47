"""kill -9 while callers wait: a job that nobody can collect costs nothing, and a retry pays once."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.api import inject_fault, submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.polling import poll
from tests.support.service import ServiceProcess, running
from tests.support.webhook_receiver import receiving
from tests.support.withholding_relay import WithholdingRelay

IMAGES = "/v1/images/generations"
SMALL = {"width": 256, "height": 256}


@dataclass(frozen=True)
class Request:
    """A request; its name is its prompt."""

    name: str
    path: str
    #: Whether somebody can still ask for its job after a crash.
    survives: bool
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


OPENAI = {"model": "flux-1-schnell", "size": "256x256"}
VIDEO = {"model": "wan2.1-t2v-fast"}
ASYNC = {"Prefer": "respond-async"}
REQUESTS = [
    Request("synchronous", IMAGES, False, OPENAI),
    Request("native", "/api/v1/images/generations", False, OPENAI),
    Request("four", IMAGES, False, {**OPENAI, "n": 4}),
    Request("stream", IMAGES, False, {**OPENAI, "stream": True, "partial_images": 1}),
    Request("pixazo", "/flux-1-schnell/v1/getData", False, SMALL),
    Request("pixazo batch", "/flux-1-schnell/v1/getDataBatch", False, SMALL),
    Request("with a key", IMAGES, True, OPENAI, {"Idempotency-Key": "k"}),
    Request("stream with a key", IMAGES, True, {**OPENAI, "stream": True}, {"Idempotency-Key": "s"}),
    Request("pixazo with a key", "/flux-1-schnell/v1/getData", True, SMALL, {"Idempotency-Key": "p"}),
    Request("with a webhook", IMAGES, True, {**OPENAI, "webhook_url": "RECEIVER"}),
    Request("asynchronous", "/api/v1/images/generations", True, OPENAI, ASYNC),
    Request("video", "/v1/videos", True, VIDEO),
    Request("pixelapi", "/v1/image/generate", True, {"model": "sdxl"}),
    Request("pixeldojo", "/api/v1/models/flux-dev/run", True, {"aspect_ratio": "1:1"}),
    Request("pixazo queue", "/flux-dev/v1/dev/textToImage", True, {"image_size": "square"}),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    environment = {
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
        "PIXELFACTORY_RECONCILE_SECONDS": "0.5",
    }
    directory = tmp_path_factory.mktemp("crashes")
    with running(ServiceProcess(directory / "data", ("--simulate", "1"), environment)) as started:
        yield started


def client(url: str, key: str) -> aiohttp.ClientSession:
    """An HTTP client whose key every dialect finds."""
    headers = {"Authorization": f"Bearer {key}", "Ocp-Apim-Subscription-Key": key}
    return aiohttp.ClientSession(url, headers=headers)


async def list_jobs(http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with http.get("/api/v1/jobs", params={"limit": "100"}) as response:
        return list((await response.json())["jobs"])


async def entry_kinds(http: aiohttp.ClientSession) -> list[str]:
    async with http.get("/api/v1/billing/ledger", params={"limit": "100"}) as response:
        kinds = [entry["kind"] for entry in (await response.json())["entries"]]
    return sorted(kind for kind in kinds if kind != "credit")


async def hold_the_instance(service: ServiceProcess, http: aiohttp.ClientSession) -> None:
    """Keep the only instance busy, so that whatever is submitted waits."""
    await inject_fault(service, "hold_node", 1)
    body = {"model": "flux-1-schnell", "prompt": "holder", "size": "256x256"}
    job = await submit_job(http, body, {"Idempotency-Key": "holder"})
    await wait_for_job(http, job, "processing")


async def send(http: aiohttp.ClientSession, request: Request, receiver: str) -> None:
    """Send a request and read its response, unless the service dies."""
    body = {key: receiver if value == "RECEIVER" else value for key, value in request.body.items()}
    try:
        async with http.post(
            request.path, json={**body, "prompt": request.name}, headers=request.headers
        ) as response:
            await response.read()
            assert response.status < 300, await response.text()
    except (aiohttp.ClientError, ConnectionError):
        return


async def test_a_crash_cancels_what_nobody_can_collect_and_nothing_else(service: ServiceProcess) -> None:
    key = new_key(service, "50.00")
    async with receiving() as receiver, client(service.url, key) as http:
        await hold_the_instance(service, http)
        sent = [asyncio.ensure_future(send(http, request, receiver.url)) for request in REQUESTS]
        await poll(lambda: list_jobs(http), lambda jobs: len(jobs) == len(REQUESTS) + 1)
        service.kill()
        await asyncio.gather(*sent)
        service.start()

        def all_finished(jobs: list[dict[str, Any]]) -> bool:
            return all(job["finishedAt"] for job in jobs)

        jobs = await poll(lambda: list_jobs(http), all_finished)
        statuses = {job["params"]["prompt"]: job["status"] for job in jobs}
        expected = {one.name: "completed" if one.survives else "cancelled" for one in REQUESTS}
        assert statuses == {**expected, "holder": "completed"}
        kinds = await entry_kinds(http)
        # Some of Pixazo's prices are zero, which books nothing.
        assert kinds.count("capture") == sum(job["costUsd"] > 0 for job in jobs) >= 8
        assert kinds.count("release") == kinds.count("hold") - kinds.count("capture") >= 4
        assert kinds.count("refund") == 0
        async with http.get("/api/v1/billing/balance") as response:
            assert (await response.json())["held_usd"] == 0


#: Prints the sizes of the images that one call of the official SDK brings, and the tries that it took.
SDK_CALL = """
import json, os, sys
import openai

url, key = os.environ["URL"] + "/v1", os.environ["KEY"]
client = openai.OpenAI(base_url=url, api_key=key, max_retries=12, timeout=120)
raw = client.images.with_raw_response.generate(**json.loads(os.environ["CALL"]))
tries = int(raw.http_request.headers["x-stainless-retry-count"])
job = raw.headers["X-PixelFactory-Job"]
print(json.dumps({"tries": tries, "job": job, "images": [len(image.b64_json) for image in raw.parse().data]}))
"""


async def start_sdk(url: str, key: str, **call: Any) -> asyncio.subprocess.Process:
    environment = {**os.environ, "URL": url, "KEY": key, "CALL": json.dumps(call)}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SDK_CALL),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def result_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return dict(json.loads(out))


async def test_an_sdk_whose_job_was_running_pays_once(service: ServiceProcess) -> None:
    key = new_key(service, "50.00")
    async with client(service.url, key) as http, client(service.url, new_key(service)) as other:
        await hold_the_instance(service, other)
        sdk = await start_sdk(
            service.url, key, model="flux-1-schnell", prompt="a", size="256x256", response_format="b64_json"
        )
        await poll(lambda: list_jobs(http), lambda jobs: len(jobs) == 1)
        service.kill()
        service.start()
        result = await result_of(sdk)
        assert result["tries"] > 0
        assert len(result["images"]) == 1
        assert await entry_kinds(http) == ["capture", "hold", "hold", "release"]
        jobs = {job["jobId"]: job["status"] for job in await list_jobs(http)}
        assert jobs.pop(result["job"]) == "completed"
        assert list(jobs.values()) == ["cancelled"]


LARGE = {"model": "flux-1-schnell", "size": "1536x1536", "n": 4, "response_format": "b64_json"}


def pending_responses(service: ServiceProcess) -> dict[str, str | None]:
    with closing(sqlite3.connect(service.data_dir / "pixelfactory.db", timeout=30)) as db:
        return dict(db.execute("SELECT id, pending_response FROM jobs"))


@pytest.mark.slow
async def test_an_sdk_whose_result_was_cut_off_gets_it_by_its_retry(service: ServiceProcess) -> None:
    key = new_key(service, "50.00")
    async with WithholdingRelay(service.port) as relay, client(service.url, key) as http:
        relay.withhold()
        sdk = await start_sdk(relay.url, key, prompt="large", **LARGE)
        (job,) = await poll(
            lambda: list_jobs(http), lambda jobs: [job["status"] for job in jobs] == ["completed"]
        )
        service.kill()
        assert pending_responses(service)[job["jobId"]] == "result"
        relay.release()
        service.start()
        result = await result_of(sdk)
        assert (result["job"], len(result["images"])) == (job["jobId"], 4)
        assert result["tries"] > 0
        await poll(lambda: _pending(service, job["jobId"]), lambda pending: pending is None)
        assert await entry_kinds(http) == ["capture", "hold"]
        # The same call again is another call.
        async with http.post(IMAGES, json={**LARGE, "prompt": "large"}) as response:
            assert response.headers["X-PixelFactory-Job"] != job["jobId"]
            assert len(base64.b64decode((await response.json())["data"][0]["b64_json"])) > 0
        assert await entry_kinds(http) == ["capture", "capture", "hold", "hold"]


async def _pending(service: ServiceProcess, job_id: str) -> str | None:
    return pending_responses(service)[job_id]


async def _cut_off(service: ServiceProcess, key: str, prompt: str) -> str:
    """Crash the service after a job was charged and before its response was sent; return the job's id."""
    async with WithholdingRelay(service.port) as relay, client(service.url, key) as http:
        relay.withhold()
        async with client(relay.url, key) as waiting:
            request = Request(prompt, IMAGES, False, LARGE)
            sent = asyncio.ensure_future(send(waiting, request, ""))

            def is_completed(jobs: list[dict[str, Any]]) -> bool:
                return any(job["params"]["prompt"] == prompt and job["status"] == "completed" for job in jobs)

            jobs = await poll(lambda: list_jobs(http), is_completed)
            service.kill()
            relay.release()
            await sent
    service.start()
    return next(str(job["jobId"]) for job in jobs if job["params"]["prompt"] == prompt)


@pytest.mark.slow
async def test_a_cut_off_result_that_nobody_asks_for_is_refunded(tmp_path: Path) -> None:
    environment = {"PIXELFACTORY_RECONCILE_SECONDS": "0.3", "PIXELFACTORY_UNDELIVERED_SECONDS": "0.5"}
    with running(ServiceProcess(tmp_path / "data", ("--simulate", "1"), environment)) as service:
        key = new_key(service, "50.00")
        job = await _cut_off(service, key, "cut")
        async with client(service.url, key) as http:
            await poll(lambda: entry_kinds(http), lambda kinds: kinds == ["capture", "hold", "refund"])
            async with http.get("/api/v1/billing/balance") as response:
                assert (await response.json())["balance_usd"] == 50.0
            # The books are right, and another look refunds nothing more.
            await poll(lambda: _pending(service, job), lambda pending: pending is None)


@pytest.mark.slow
async def test_a_retry_claims_only_a_result_of_its_own_key_and_request(service: ServiceProcess) -> None:
    key = new_key(service, "50.00")
    job = await _cut_off(service, key, "claimed")
    retry = {"X-Stainless-Retry-Count": "1"}

    async def ask(http: aiohttp.ClientSession, prompt: str, headers: dict[str, str]) -> str:
        async with http.post(IMAGES, json={**LARGE, "prompt": prompt}, headers=headers) as response:
            assert response.status == 200, await response.text()
            await response.read()
            return response.headers["X-PixelFactory-Job"]

    async with client(service.url, key) as http, client(service.url, new_key(service, "50.00")) as other:
        assert await ask(other, "claimed", retry) != job
        assert await ask(http, "another", retry) != job
        assert await ask(http, "claimed", {"X-Stainless-Retry-Count": "0"}) != job
        assert await ask(http, "claimed", {"X-Stainless-Retry-Count": "x"}) != job
        assert await ask(http, "claimed", {**retry, "Idempotency-Key": "new"}) != job
        assert await ask(http, "claimed", retry) == job
        assert await ask(http, "claimed", retry) != job
