"""Jobs as a resource, idempotency, quotes and money, over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.support.api import all_idle, wait_for_instances, wait_for_job
from tests.support.callers import wait_for_status
from tests.support.images import base64_png
from tests.support.service import ServiceProcess, running

PATH = "/api/v1/images/generations"
SMALL = {"model": "flux-1-schnell", "prompt": "a cat", "size": "256x256", "response_format": "url"}


async def test_response_has_usage_and_cost(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http, http.post(PATH, json=SMALL | {"steps": 3}) as response:
        body = await response.json()
        assert response.status == 200
        assert response.headers["X-PixelFactory-Simulated"] == "true"
        assert response.headers["X-PixelFactory-Job"].startswith("job_")
    usage = body["usage"]
    assert usage["duration_ms"] >= 0
    made = {"model": "flux-1-schnell", "size": "256x256", "n": 1, "steps": 3, "cost_cents": 1.0}
    assert usage == usage | made


async def test_charges_the_quoted_price(service: ServiceProcess) -> None:
    body = {"model": "sdxl-1.0", "prompt": "a cat", "n": 4, "size": "1024x1536", "response_format": "url"}
    async with service.client(service.key("1.00")) as http:
        async with http.post("/api/v1/quote", json=body) as response:
            quote = await response.json()
        assert quote == {
            "model": "sdxl-1.0",
            "cost_usd": 0.0132,
            "cost_cents": 1.32,
            "minimum_applied": False,
        }
        async with http.post(PATH, json=body) as response:
            assert (await response.json())["usage"]["cost_cents"] == 1.32
        async with http.get("/api/v1/billing/balance") as response:
            assert await response.json() == {
                "balance_usd": 0.9868,
                "held_usd": 0.0,
                "available_usd": 0.9868,
                "currency": "USD",
            }
        async with http.get("/api/v1/billing/ledger") as response:
            kinds = [entry["kind"] for entry in (await response.json())["entries"]]
        assert kinds == ["capture", "hold", "credit"]


async def test_same_idempotency_key_returns_the_same_job(service: ServiceProcess) -> None:
    async with service.client(service.key("1.00")) as http:

        async def ask(body: dict[str, Any]) -> tuple[int, str | None, Any]:
            async with http.post(PATH, json=body, headers={"Idempotency-Key": "k1"}) as response:
                return response.status, response.headers.get("X-PixelFactory-Job"), await response.json()

        answers = await asyncio.gather(*(ask(SMALL) for _ in range(10)))
        assert {(status, job) for status, job, _ in answers} == {(200, answers[0][1])}
        status, _, body = await ask(SMALL | {"prompt": "a dog"})
        assert (status, body["error"]["code"]) == (409, "idempotency_conflict")
        async with http.get("/api/v1/billing/balance") as response:
            assert (await response.json())["balance_usd"] == 0.99


async def test_streams_job_events(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http:
        async with http.post(PATH, json=SMALL | {"n": 2}, headers={"Prefer": "respond-async"}) as response:
            job = await response.json()
            assert response.status == 202
        events = await _events(http, job["jobId"])
    assert events[0][0] == "job"
    last = events[-1][1]
    assert (last["status"], last["shards"]) == ("completed", {"total": 2, "done": 2, "cancelled": 0})
    assert len(last["output"]["images"]) == 2


async def _events(http: aiohttp.ClientSession, job: str) -> list[tuple[str, dict[str, Any]]]:
    async with http.get(f"/api/v1/jobs/{job}/events") as response:
        assert response.content_type == "text/event-stream"
        text = await response.text()
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        events.append((fields["event"], json.loads(fields["data"])))
    return events


async def test_jobs_of_other_accounts_are_not_found(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http, http.post(PATH, json=SMALL) as response:
        job = response.headers["X-PixelFactory-Job"]
    async with service.client(service.key()) as stranger:
        for method in ("GET", "DELETE"):
            async with stranger.request(method, f"/api/v1/jobs/{job}") as response:
                theirs = await response.json()
            async with stranger.request(method, f"/api/v1/jobs/{job[:-1]}x") as response:
                assert (await response.json(), response.status) == (theirs, 404)


async def test_lists_jobs_newest_first_in_pages(service: ServiceProcess) -> None:
    async with service.client(service.key()) as http:
        made = []
        for _ in range(3):
            async with http.post(PATH, json=SMALL) as response:
                made.append(response.headers["X-PixelFactory-Job"])
        async with http.get("/api/v1/jobs", params={"limit": "2"}) as response:
            page = await response.json()
        assert [job["jobId"] for job in page["jobs"]] == made[:0:-1]
        async with http.get("/api/v1/jobs", params={"cursor": page["nextCursor"]}) as response:
            rest = await response.json()
        assert [job["jobId"] for job in rest["jobs"]] == made[:1]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service whose simulated cards need their whole time."""
    slow = ServiceProcess(
        tmp_path_factory.mktemp("slow"),
        ("--simulate", "1"),
        {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "1", "PIXELFACTORY_DRAIN_SECONDS": "1"},
    )
    with running(slow) as started:
        yield started


async def test_cancelled_job_is_not_charged_and_frees_its_instance(slow: ServiceProcess) -> None:
    async with slow.client(slow.key("1.00")) as http:
        body = {"model": "wan2.1-t2v-fast", "prompt": "waves"}
        async with http.post(PATH, json=body, headers={"Prefer": "respond-async"}) as response:
            job = (await response.json())["jobId"]
        await _until(http, job, "processing")
        async with http.delete(f"/api/v1/jobs/{job}") as response:
            assert (await response.json())["status"] == "cancelled"
        async with http.get("/api/v1/billing/balance") as response:
            assert (await response.json())["available_usd"] == 1.0
        await _until_idle(slow)


async def test_cancels_one_of_several_results_and_charges_the_others(slow: ServiceProcess) -> None:
    async with slow.client(slow.key("1.00")) as http:
        body = {"model": "flux-1-dev", "prompt": "waves", "n": 4, "steps": 4}
        async with http.post(PATH, json=body, headers={"Prefer": "respond-async"}) as response:
            job = (await response.json())["jobId"]
        for index in (3, 2):
            async with http.delete(f"/api/v1/jobs/{job}/shards/{index}") as response:
                assert (await response.json())["shards"]["cancelled"] == 4 - index
        async with http.delete(f"/api/v1/jobs/{job}/shards/4") as response:
            assert response.status == 404
            assert "counted from 0 to 3" in (await response.json())["error"]["message"]
        await _until(http, job, "completed")
        async with http.get(f"/api/v1/jobs/{job}") as response:
            shown = await response.json()
        assert shown["shards"] == {"total": 4, "done": 2, "cancelled": 2}
        assert len(shown["assets"]) == 2
        async with http.get("/api/v1/billing/balance") as response:
            balance = await response.json()
        assert (balance["held_usd"], balance["available_usd"]) == (0.0, 1 - shown["costUsd"])
        async with http.post("/api/v1/quote", json={**body, "n": 2}) as response:
            assert (await response.json())["cost_usd"] == shown["costUsd"]
        await _until_idle(slow)


async def test_disconnect_cancels_the_job(slow: ServiceProcess) -> None:
    async with slow.client(slow.key("1.00")) as http:
        body = {"model": "wan2.1-t2v-fast", "prompt": "waves"}
        with pytest.raises(TimeoutError):
            await http.post(PATH, json=body, timeout=aiohttp.ClientTimeout(total=0.5))
        async with http.get("/api/v1/jobs", params={"limit": "1"}) as response:
            job = (await response.json())["jobs"][0]["jobId"]
        await _until(http, job, "cancelled")
        await _until_idle(slow)


async def _until(http: aiohttp.ClientSession, job: str, status: str) -> None:
    await wait_for_job(http, job, status)


async def _until_idle(service: ServiceProcess) -> None:
    """Until no instance has anything to do: within seconds, not when the film would have been done."""
    await wait_for_instances(service, all_idle)


async def test_mesh_is_delivered_as_a_file(service: ServiceProcess, key: str) -> None:
    async with service.client(key) as http:
        body = {"image": base64_png(64, 64), "steps": 1}
        async with http.post("/api/v1/models/hunyuan-3d/run", json=body) as response:
            job = (await response.json())["jobId"]
        shown = await wait_for_status(http, f"/api/v1/jobs/{job}", "completed", "failed")
        assert shown["status"] == "completed", shown["error"]
        async with aiohttp.ClientSession() as anybody, anybody.get(shown["output"]["files"][0]) as response:
            assert response.content_type == shown["assets"][0]["contentType"] == "model/gltf-binary"
            assert (await response.read()).startswith(b"glTF")
