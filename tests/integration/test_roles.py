"""API processes, schedulers and webhook senders on one PostgreSQL and one S3 server."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.support import metrics
from tests.support.api import submit_job, wait_for_job
from tests.support.callers import new_key
from tests.support.installation import Installation, installed
from tests.support.otlp_receiver import OtlpReceiver, receiving_traces
from tests.support.polling import poll, wait_until
from tests.support.s3_server import S3Server
from tests.support.service import DATABASE_URL, ServiceProcess, pixelfactory
from tests.support.webhook_receiver import receiving

PATH = "/api/v1/images/generations"
IMAGE = {"model": "sdxl-1.0", "prompt": "a red fox", "width": 512, "height": 512, "response_format": "url"}


@pytest.fixture(scope="module")
def traces() -> Iterator[OtlpReceiver]:
    with receiving_traces() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def installation(
    s3: S3Server, traces: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    base = tmp_path_factory.mktemp("installation")
    for number in range(2):
        loras = base / f"simulator-{number}" / "models" / "loras"
        loras.mkdir(parents=True)
        (loras / "ink.safetensors").write_bytes(bytes(8))
    with installed(base, s3) as installation:
        installation.settings |= traces.environment
        yield installation


@pytest.fixture(scope="module")
def scheduler(installation: Installation) -> ServiceProcess:
    return installation.scheduler("scheduler")


@pytest.fixture(scope="module")
def apis(installation: Installation, scheduler: ServiceProcess) -> tuple[ServiceProcess, ServiceProcess]:
    return installation.api("api-1"), installation.api("api-2")


@pytest.fixture(scope="module")
def key(apis: tuple[ServiceProcess, ServiceProcess]) -> str:
    return new_key(apis[0], "5.00")


async def test_a_request_is_answered_by_the_process_that_took_it(
    apis: tuple[ServiceProcess, ServiceProcess], key: str
) -> None:
    for api in apis:
        async with openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key=key, max_retries=0) as client:
            made = await client.images.generate(model="sdxl-1.0", prompt="a fox", size="512x512", n=2)
            assert made.data is not None
            assert len(made.data) == 2


async def test_a_trace_goes_through_all_processes(
    apis: tuple[ServiceProcess, ServiceProcess], key: str, traces: OtlpReceiver
) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    async with apis[0].client(key) as http, http.post(PATH, json=IMAGE) as response:
        trace_id = response.headers["X-Request-Id"].removeprefix("req_")
    names = (f"POST {PATH}", "accept", "wait", "attempt", "run", "put", "job")
    await wait_until(lambda: set(names) <= {span.name for span in traces.trace(trace_id)})
    roles = {span.name: span.resource["pixelfactory.role"] for span in traces.trace(trace_id)}
    assert [roles[name] for name in names] == ["api", "api", *["scheduler"] * 5]
    ids = {span.span_id for span in traces.trace(trace_id)}
    assert all(span.parent_id in ids for span in traces.trace(trace_id) if span.name != names[0])


async def test_a_job_is_seen_by_every_process(apis: tuple[ServiceProcess, ServiceProcess], key: str) -> None:
    first, second = apis
    async with first.client(key) as one, second.client(key) as other:
        job = await submit_job(one, IMAGE)
        done = await wait_for_job(other, job)
        assert done["status"] == "completed"
        async with other.get(f"/api/v1/jobs/{job}/events") as events:
            assert b"completed" in await events.read()
        (asset,) = done["assets"]
    async with aiohttp.ClientSession() as anyone, anyone.get(asset["url"]) as response:
        assert response.status == 200


async def test_an_api_process_knows_the_weights_of_the_schedulers_instances(
    apis: tuple[ServiceProcess, ServiceProcess],
) -> None:
    """Graphs of callers name them."""
    async with apis[0].client(new_key(apis[0], "1.00", scopes=["graphs", "read"])) as http:
        async with http.get("/models/loras") as response:
            assert await response.json() == ["ink.safetensors"]
        async with http.get("/object_info/LoraLoader") as response:
            loader = (await response.json())["LoraLoader"]
        assert loader["input"]["required"]["lora_name"][0] == ["ink.safetensors"]


@pytest.mark.slow
async def test_a_published_model_reaches_every_process(
    apis: tuple[ServiceProcess, ServiceProcess], key: str, installation: Installation, tmp_path: Path
) -> None:
    first, second = apis
    author = new_key(first, scopes=["generate", "read", "publish"])
    size = {"width": 64, "height": 64, "batch_size": 1, "color": 255}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    body = {"id": "blue", "prompt": graph, "manifest": {"license": "mit"}, "test_run": True, "publish": True}
    async with first.client(author) as one, second.client(key) as other:
        async with one.post("/admin/v1/models", json=body) as response:
            published = await response.json()
            assert response.status == 201, published
        assert (published["state"], published["test"]["status"]) == ("live", "completed")

        async def make() -> int:
            async with other.post(PATH, json={"model": "blue"}) as response:
                return response.status

        assert await poll(make, lambda status: status == 200) == 200
        async with one.get("/admin/v1/models") as response:
            listed = await response.json()
            assert response.status == 200, listed
        assert published["version"] in [row["digest"] for row in listed["models"]]
        async with other.get("/admin/v1/models") as response:
            assert response.status == 403
        # The database has it: each process takes it from there again when its disk is lost.
        shutil.rmtree(first.data_dir / "workflows")

        async def list_versions() -> int:
            async with one.get("/admin/v1/models/blue") as response:
                return len((await response.json()).get("versions", []))

        await poll(list_versions, lambda found: found == 1)
        # A command publishes for all processes too, with a copy of its own.
        remove = partial(
            pixelfactory,
            "models",
            "remove",
            "blue",
            data_dir=tmp_path / "data",
            check=True,
            **installation.environment(),
        )
        removed = await asyncio.to_thread(remove)
        assert removed.returncode == 0, removed.stderr
        assert await poll(make, lambda status: status == 400) == 400


async def test_progress_and_previews_reach_the_callers_of_any_process(
    apis: tuple[ServiceProcess, ServiceProcess], key: str
) -> None:
    async with apis[0].client(key) as one, apis[1].client(key) as other:
        for _ in range(3):
            await submit_job(one, {**IMAGE, "steps": 100, "n": 4})
        job = await submit_job(one, {**IMAGE, "steps": 40})
        async with other.get(f"/api/v1/jobs/{job}/events") as events:
            kinds = re.findall("^event: (.*)$", (await events.read()).decode(), re.MULTILINE)
    assert {"queue", "started", "progress", "preview", "job"} <= set(kinds)


@pytest.mark.slow
async def test_a_polled_job_tells_its_progress(apis: tuple[ServiceProcess, ServiceProcess], key: str) -> None:
    """At a process that did not take it, and where no stream follows it."""
    async with apis[0].client(key) as one, apis[1].client(key) as other:
        body = {"model": "wan2.1-t2v-fast", "prompt": "waves", "seconds": "4", "size": "832x480"}
        async with one.post("/v1/videos", json=body) as response:
            video = (await response.json())["id"]

        async def progress() -> int:
            async with other.get(f"/v1/videos/{video}") as response:
                return int((await response.json())["progress"])

        assert 0 < await poll(progress) < 100
        assert await poll(progress, lambda value: value == 100) == 100


async def test_a_cancelled_job_stops_on_its_instance(
    apis: tuple[ServiceProcess, ServiceProcess], installation: Installation, key: str
) -> None:
    async with apis[0].client(key) as one, apis[1].client(key) as other:
        job = await submit_job(one, {**IMAGE, "steps": 100, "n": 4})
        async with other.delete(f"/api/v1/jobs/{job}") as response:
            assert (await response.json())["status"] == "cancelled"

        async def busy() -> list[Any]:
            found: list[Any] = []
            for simulator in installation.simulators:
                async with aiohttp.ClientSession() as http, http.get(f"{simulator.url}/queue") as queue:
                    body = await queue.json()
                    found += body["queue_running"] + body["queue_pending"]
            return found

        await poll(busy, lambda found: not found)


async def test_operators_reach_the_instances_through_any_process(
    apis: tuple[ServiceProcess, ServiceProcess],
) -> None:
    async with apis[1].client(apis[1].admin_token) as http:

        async def read_states() -> dict[str, str]:
            async with http.get("/admin/v1/instances") as response:
                assert response.status == 200
                return {row["id"]: row["state"] for row in (await response.json())["instances"]}

        ids = list(await read_states())
        assert len(ids) == 2
        async with http.post(f"/admin/v1/instances/{ids[0]}/drain") as response:
            assert response.status == 200
        # What an earlier test left on the instance ends first.
        await poll(read_states, lambda states: states[ids[0]] == "drained")
        async with http.post(f"/admin/v1/instances/{ids[0]}/resume") as response:
            assert (await response.json())["state"] == "ready"
        async with http.get("/admin/v1/queue") as response:
            assert (await response.json())["waiting"] == 0
        async with http.get("/admin/v1/models") as response:
            models = {row["id"]: row for row in (await response.json())["models"]}
            assert sorted(models["sdxl-1.0"]["served_by"]) == sorted(ids)
        async with http.get("/admin/v1/instances/no-such") as response:
            assert response.status == 404
    async with apis[1].client("wrong") as http, http.get("/admin/v1/instances") as response:
        assert response.status == 401


async def test_all_processes_count_the_requests_of_an_account(
    apis: tuple[ServiceProcess, ServiceProcess],
) -> None:
    key = new_key(apis[0], "1.00")
    remaining = []
    for number in range(6):
        async with apis[number % 2].client(key) as http, http.get("/api/v1/jobs") as response:
            remaining.append(int(response.headers["X-RateLimit-Remaining"]))
    assert remaining == list(range(remaining[0], remaining[0] - 6, -1))


async def test_a_webhook_is_delivered(apis: tuple[ServiceProcess, ServiceProcess], key: str) -> None:
    async with receiving(200) as receiver, apis[0].client(key) as http:
        job = await submit_job(http, {**IMAGE, "webhook_url": receiver.url})
        assert (await receiver.next()).data["jobId"] == job


async def test_a_standby_answers_probes_only(scheduler: ServiceProcess, installation: Installation) -> None:
    await wait_until(lambda: "listening on" in scheduler.log)  # it leads
    standby = installation.scheduler("standby")
    async with standby.client() as http:
        for path in ("/healthz", "/readyz", "/metrics"):
            async with http.get(path) as response:
                assert response.status == 200
        async with http.get("/v1/models") as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == "standby"
    assert standby.stop() == 0
    async with scheduler.client() as http, http.get("/metrics") as response:
        text = await response.text()
    assert "pixelfactory_instance" in text
    # Finished jobs that callers polled at API processes, or followed there, are no faults.
    assert metrics.read(text).value("pixelfactory_mended_total", kind="unheard_end") == 0


@pytest.mark.parametrize("role", ["api", "scheduler", "webhooks"])
def test_a_role_without_a_shared_database_is_refused(role: str, tmp_path: Path) -> None:
    done = pixelfactory(role, data_dir=tmp_path / "data", check=False)
    assert done.returncode == 1
    assert "PIXELFACTORY_DATABASE_URL" in done.stderr
    assert "pixelfactory up" in done.stderr
    database = {DATABASE_URL: "postgresql://x@127.0.0.1:1/x"}
    done = pixelfactory(role, data_dir=tmp_path / "data", check=False, **database)
    assert "PIXELFACTORY_S3_ENDPOINT" in done.stderr


@pytest.mark.slow
def test_a_scheduler_that_could_not_lead_does_not_stand_by(installation: Installation) -> None:
    odd = installation.prepare("scheduler", "odd", "--instances", "gpu-1:8188")
    database = odd.environment
    done = pixelfactory(
        "scheduler", "--port", "1", *odd.options, data_dir=odd.data_dir, check=False, **database
    )
    installation.processes.remove(odd)
    assert done.returncode == 1
    assert "gpu-1:8188" in done.stderr
    assert "standing by" not in done.stderr


@pytest.mark.slow
async def test_another_session_secret_is_named_as_the_reason(
    installation: Installation, scheduler: ServiceProcess
) -> None:
    stranger = installation.prepare("api", "stranger")
    (stranger.data_dir / "session-secret").write_text("another-secret-of-some-length-1234567890")
    stranger.process = stranger.launch(dict(stranger.environment))
    log = stranger.data_dir / "service.log"
    try:
        await wait_until(lambda: log.exists() and "session secret is another one" in log.read_text())
        async with stranger.client(stranger.admin_token) as http:
            async with http.get("/admin/v1/instances") as response:
                assert (await response.json())["error"]["code"] == "no_scheduler"
            async with http.get("/readyz") as response:
                assert response.status == 503
    finally:
        stranger.stop()
        installation.processes.remove(stranger)


@pytest.mark.slow
async def test_a_standby_goes_on_with_what_the_killed_leader_ran(s3: S3Server, tmp_path: Path) -> None:
    """Waiting callers of both API processes get their results, each is charged once, nothing runs twice."""
    with installed(tmp_path, s3, time_scale="0.5") as installation:
        leader = installation.scheduler("leader")
        api, other = installation.api("api-1"), installation.api("api-2")
        standby = installation.scheduler("standby")
        key = new_key(api, "5.00")

        long_image = {**IMAGE, "n": 2, "steps": 60}

        async def generate(number: int) -> int:
            service = (api, other)[number % 2]
            async with service.client(key) as http, http.post(PATH, json=long_image) as response:
                assert response.status == 200, await response.text()
                return len((await response.json())["data"])

        waiting = [asyncio.create_task(generate(number)) for number in range(6)]
        async with other.client(key) as http:
            jobs = await poll(lambda: list_jobs(http), lambda found: len(found) == 6)
            await poll(lambda: list_jobs(http), lambda found: any(j["status"] == "processing" for j in found))
            leader.kill()
            assert await asyncio.gather(*waiting) == [2] * 6
            jobs = await list_jobs(http)
            assert {job["status"] for job in jobs} == {"completed"}
        assert "leading, for the term" in standby.log
        restarted = installation.prepare("scheduler", "restarted", *leader.options)
        restarted.start()
        standby.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        try:
            async with api.client(key) as http:
                done = await wait_for_job(http, await submit_job(http, IMAGE))
            assert done["status"] == "completed"
        finally:
            standby.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
        assert standby.process is not None
        assert await asyncio.to_thread(standby.process.wait, 60) == 75
        assert "another scheduler leads" in standby.log


async def list_jobs(http: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with http.get("/api/v1/jobs") as response:
        return list((await response.json())["jobs"])
