"""kill -9 before and after each step of a job's walk: after a restart it ends as if nothing had happened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.cli import CommandProcess, start_process
from tests.support.comfyui_server import ComfyUIServer, simulator
from tests.support.crash_points import run_armed
from tests.support.images import base64_png
from tests.support.polling import poll
from tests.support.s3_server import S3Server
from tests.support.service import ServiceProcess
from tests.support.webhook_receiver import WebhookReceiver, receiving

BUCKET = "crash-points"
REQUEST = (
    *("accept the job", "fetch the input", "submit the prompt", "follow the results", "finish the shard"),
    *("forget the prompt", "post the webhook", "record the delivery"),
)
#: Steps where results and input files pass through the service.
THROUGH = ("upload the input", "fetch the output", "store the object", "delete the history")
CANCEL = ("cancel the job", "interrupt the prompt")
FAILURE = ("end the attempt", "fail the job")
REMOVAL = ("remove the job", "delete the object")
#: Before a step is after the one that precedes it, so that most runs of the tests need only one of both.
MOMENTS = (pytest.param("before", marks=pytest.mark.slow), "after")


@dataclass
class CrashingService(ServiceProcess):
    """A service on servers of its own that outlive it; it kills itself at the armed step."""

    armed_file: Path = field(default_factory=Path)

    def launch(self, environment: dict[str, str]) -> CommandProcess:
        arguments = ("--port", str(self.port), "--data-dir", str(self.data_dir), *self.options)
        return start_process(
            run_armed,
            self.armed_file,
            arguments,
            {**os.environ, **environment},
            self.data_dir / "service.log",
        )

    def arm(self, moment: str, step: str) -> None:
        self.armed_file.write_text(f"{moment} {step}")

    async def restart_after_crash(self) -> None:
        """Wait until the armed step has killed the service, and start it again without a step."""
        assert self.process is not None
        process = self.process
        await poll(lambda: asyncio.to_thread(process.poll), lambda code: code is not None)
        assert process.returncode == -9
        self.armed_file.write_text("")
        await asyncio.to_thread(self.start)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIServer]:
    with simulator(tmp_path_factory.mktemp("instance"), "--time-scale", "0") as server:
        yield server


@contextmanager
def crashing_on(
    directory: Path, instance: ComfyUIServer, s3: S3Server, **more: str
) -> Iterator[CrashingService]:
    access = s3.access(BUCKET)
    environment = {
        **more,
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
        "PIXELFACTORY_MAX_ATTEMPTS": "2",
        "PIXELFACTORY_RECONCILE_SECONDS": "0.3",
        "PIXELFACTORY_S3_ENDPOINT": access.endpoint,
        "PIXELFACTORY_S3_ACCESS_KEY": access.access_key,
        "PIXELFACTORY_S3_SECRET_KEY": access.secret_key,
        "PIXELFACTORY_S3_BUCKET": BUCKET,
    }
    crashing = CrashingService(
        directory / "data",
        ("--instances", instance.url),
        environment,
        armed_file=directory / "armed",
    )
    with ExitStack() as stack:
        stack.callback(lambda: crashing.process and crashing.process.poll() is None and crashing.stop())
        crashing.start()
        yield crashing
        # Whatever happened in this module, the books are in order.
        assert crashing.audit() == []


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, instance: ComfyUIServer, s3: S3Server
) -> Iterator[CrashingService]:
    with crashing_on(tmp_path_factory.mktemp("crashing"), instance, s3) as crashing:
        yield crashing


@pytest.fixture(scope="module")
def through(
    tmp_path_factory: pytest.TempPathFactory, instance: ComfyUIServer, s3: S3Server
) -> Iterator[CrashingService]:
    """A service whose results and input files pass through it."""
    off = {"PIXELFACTORY_DIRECT_DELIVERY": "false"}
    with crashing_on(tmp_path_factory.mktemp("through"), instance, s3, **off) as crashing:
        yield crashing


@pytest.fixture(scope="module")
def key(service: CrashingService) -> str:
    return service.key("100.00")


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with receiving() as started:
        yield started


@dataclass(frozen=True)
class Client:
    """A caller that repeats whatever got no response, always with the same key."""

    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, headers: Any = None) -> Any:
        async def once() -> Any:
            with suppress(aiohttp.ClientError):
                async with self.http.request(method, path, json=body, headers=headers) as response:
                    return (response.status, await response.json(content_type=None))
            return (None, None)

        return (await poll(once, lambda reply: reply[0] in (200, 202, 204, 404)))[1]

    async def submit(self, name: str, **fields: Any) -> str:
        body = {"model": "4x-ultrasharp", "prompt": name, "image": base64_png(16, 16), **fields}
        headers = {"Prefer": "respond-async", "Idempotency-Key": name}
        return str((await self.call("POST", "/api/v1/images/generations", body, headers))["jobId"])

    async def wait(self, job_id: str, *statuses: str) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            return dict(await self.call("GET", f"/api/v1/jobs/{job_id}"))

        return await poll(read, lambda job: job["status"] in statuses)

    async def entries(self, job_id: str) -> list[str]:
        """Kinds of the ledger entries of a job, in order."""
        page = await self.call("GET", "/api/v1/billing/ledger?limit=100")
        return [entry["kind"] for entry in reversed(page["entries"]) if entry["job_id"] == job_id]


async def crash_and_restart(service: CrashingService, work: Any) -> Any:
    """Run a caller's work while the service dies at the armed step and is started again."""
    task = asyncio.create_task(work)
    await service.restart_after_crash()
    return await task


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", REQUEST)
async def test_a_job_completes_and_is_charged_once(
    service: CrashingService, key: str, receiver: WebhookReceiver, step: str, moment: str
) -> None:
    await completes_and_is_charged_once(service, key, receiver, f"{moment} {step}")


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", THROUGH)
async def test_a_job_whose_result_passes_through_completes_and_is_charged_once(
    through: CrashingService, receiver: WebhookReceiver, step: str, moment: str
) -> None:
    await completes_and_is_charged_once(through, through.key("100.00"), receiver, f"{moment} {step}")


async def completes_and_is_charged_once(
    service: CrashingService, key: str, receiver: WebhookReceiver, name: str
) -> None:
    """Submit a job whose service dies at the named step."""
    service.arm(*name.split(" ", 1))
    async with service.client(key) as http:
        client = Client(http)
        job_id = await crash_and_restart(service, client.submit(name, webhook_url=receiver.url))
        assert await client.submit(name, webhook_url=receiver.url) == job_id
        job = await client.wait(job_id, "completed", "failed", "cancelled")
        assert job["status"] == "completed", job
        (url,) = job["output"]["images"]
        async with aiohttp.request("GET", url) as response:
            assert (response.status, response.content_type) == (200, "image/png")
        assert await client.entries(job_id) == ["hold", "capture"]
        secret = (await client.call("GET", "/api/v1/webhooks/secret"))["secret"]
    messages = [await receiver.next()]
    while not receiver.deliveries.empty():
        messages.append(receiver.deliveries.get_nowait())
    assert {message.checked(secret)["data"]["jobId"] for message in messages} == {job_id}
    assert len({message.headers["webhook-id"] for message in messages}) == 1


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_job_that_waited_for_an_instance_completes_and_is_charged_once(
    service: CrashingService, instance: ComfyUIServer, key: str, moment: str
) -> None:
    """Its attempt is stored when a slot is free, not with the job."""
    async with service.client(key) as http:
        client = Client(http)
        await set_fault(instance, "hold_node", 1)
        held, behind = [
            await client.submit(f"{moment} {place}", model="flux-1-schnell", image=None)
            for place in ("held", "behind")
        ]
        await client.wait(held, "processing")
        # A prompt that the instance has not begun is deleted, and the fault is for the next one.
        await _wait_until_queue(instance, lambda queue: bool(queue["queue_running"]))
        waiting = await client.submit(f"{moment} waiting")
        assert (await client.wait(waiting, "pending", "processing"))["status"] == "pending"
        service.arm(moment, "start the attempt")
        await crash_and_restart(service, client.call("DELETE", f"/api/v1/jobs/{held}"))
        for job_id in (behind, waiting):
            job = await client.wait(job_id, "completed", "failed", "cancelled")
            assert job["status"] == "completed", job
            assert await client.entries(job_id) == ["hold", "capture"]
        assert await client.entries(held) == ["hold", "release"]
    await _wait_until_idle(instance)


async def set_fault(instance: ComfyUIServer, kind: str, count: int) -> None:
    """Have the next `count` runs of the instance go wrong; `hold_node`: go on until they are interrupted."""
    body = {"kind": kind, "count": count}
    async with (
        aiohttp.ClientSession() as direct,
        direct.post(f"{instance.url}/simulator/faults", json=body) as response,
    ):
        assert response.status == 200


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", CANCEL)
async def test_a_cancelled_job_is_released(
    service: CrashingService, instance: ComfyUIServer, key: str, step: str, moment: str
) -> None:
    async with service.client(key) as http:
        client = Client(http)
        await set_fault(instance, "hold_node", 1)
        job_id = await client.submit(f"{moment} {step}", model="flux-1-schnell", image=None)
        # A prompt that the instance has not begun is deleted, not interrupted.
        await _wait_until_queue(instance, lambda queue: bool(queue["queue_running"]))
        service.arm(moment, step)
        await crash_and_restart(service, client.call("DELETE", f"/api/v1/jobs/{job_id}"))
        if moment == "before" and step == "cancel the job":
            await client.call("DELETE", f"/api/v1/jobs/{job_id}")
        assert (await client.wait(job_id, "completed", "failed", "cancelled"))["status"] == "cancelled"
        assert await client.entries(job_id) == ["hold", "release"]
    await _wait_until_idle(instance)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", FAILURE)
async def test_a_failing_job_is_released(
    service: CrashingService, instance: ComfyUIServer, key: str, step: str, moment: str
) -> None:
    service.arm(moment, step)
    async with service.client(key) as http:
        client = Client(http)
        await set_fault(instance, "node_error", 100)
        job_id = await crash_and_restart(service, client.submit(f"{moment} {step}"))
        job = await client.wait(job_id, "completed", "failed", "cancelled")
        # A process does not know how the attempts of an earlier one failed.
        codes = ("node_failed", "node_failed_repeatedly")
        assert (job["status"], job["error"]["code"] in codes) == ("failed", True), job
        assert await client.entries(job_id) == ["hold", "release"]
        await set_fault(instance, "node_error", 0)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", REMOVAL)
async def test_a_removed_job_loses_its_file(
    service: CrashingService, key: str, step: str, moment: str
) -> None:
    async with service.client(key) as http:
        client = Client(http)
        video = {"model": "wan2.1-t2v-fast", "prompt": f"{moment} {step}", "seconds": "1"}
        job_id = str((await client.call("POST", "/v1/videos", video))["id"])
        url = (await client.wait(job_id, "completed"))["output"]["videos"][0]
        service.arm(moment, step)
        await crash_and_restart(service, client.call("DELETE", f"/v1/videos/{job_id}"))
        await client.call("DELETE", f"/v1/videos/{job_id}")

        async def status() -> int:
            async with aiohttp.request("GET", url) as response:
                return response.status

        await poll(status, lambda found: found == 404)
        assert await client.entries(job_id) == ["hold", "capture"]


async def _wait_until_idle(instance: ComfyUIServer) -> None:
    await _wait_until_queue(instance, lambda queue: not queue["queue_running"] and not queue["queue_pending"])


async def _wait_until_queue(instance: ComfyUIServer, condition: Callable[[dict[str, Any]], bool]) -> None:
    async with aiohttp.ClientSession() as http:

        async def read() -> dict[str, Any]:
            async with http.get(f"{instance.url}/queue") as response:
                return dict(await response.json())

        await poll(read, condition)
