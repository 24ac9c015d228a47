"""Input files of one account at slow servers delay no other account, and not the account's own uploads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from orchestrator.intake.input_slots import InputKind, InputOwner, InputPurpose, InputSlots
from tests.support.callers import new_key
from tests.support.datasets import data_url, zipped
from tests.support.images import base64_png, png
from tests.support.polling import wait_until
from tests.support.service import ServiceProcess, running
from tests.support.web_servers import ScriptedHttpServer, answer, serving

QUOTE, GENERATE = "/api/v1/quote", "/api/v1/images/generations"
#: Concurrent downloads of one account, for jobs and for quotes.
IMAGE_SLOTS, IMAGE_QUOTE_SLOTS, DATASET_SLOTS, DATASET_QUOTE_SLOTS = 8, 2, 2, 1


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service that waits for slow servers longer than any test takes."""
    environment = {
        "PIXELFACTORY_ALLOW_PRIVATE_URLS": "true",
        "PIXELFACTORY_INPUT_URL_SECONDS": "600",
        "PIXELFACTORY_DATASET_URL_SECONDS": "600",
        "PIXELFACTORY_DRAIN_SECONDS": "0",
    }
    with running(ServiceProcess(tmp_path_factory.mktemp("patient"), environment=environment)) as started:
        yield started


def client(service: ServiceProcess, key: str) -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {key}"}
    return aiohttp.ClientSession(service.url, headers=headers, connector=aiohttp.TCPConnector(limit=0))


async def hang(_: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def in_flight(
    http: aiohttp.ClientSession, server: ScriptedHttpServer, path: str, body: Mapping[str, Any], count: int
) -> AsyncIterator[list[asyncio.Task[tuple[int, Mapping[str, str], Any]]]]:
    """Send the request `count` times, to be cancelled when the block ends."""
    tasks = [asyncio.create_task(post(http, path, body)) for _ in range(count)]
    try:
        await wait_until(lambda: len(server.requests) > 0)
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def post(
    http: aiohttp.ClientSession, path: str, body: Mapping[str, Any]
) -> tuple[int, Mapping[str, str], Any]:
    async with http.post(path, json=body) as response:
        return response.status, response.headers, await response.json()


def image_body(image: str) -> dict[str, Any]:
    return {"model": "4x-ultrasharp", "prompt": "", "image": image, "response_format": "url"}


def dataset_body(dataset: str) -> dict[str, Any]:
    return {"model": "sd-1.5-lora-trainer", "dataset": dataset, "steps": 3, "rank": 2}


@pytest.mark.slow
async def test_dataset_urls_in_quotes_delay_no_uploads(patient: ServiceProcess) -> None:
    first, second = new_key(patient), new_key(patient)
    async with (
        serving(hang) as slow,
        serving(answer(zipped())) as quick,
        client(patient, first) as http,
        client(patient, second) as other,
        in_flight(http, slow, QUOTE, dataset_body(f"{slow.url}/pets.zip"), 3) as hanging,
    ):
        for caller, dataset in (
            (other, data_url(zipped())),
            (http, data_url(zipped())),
            (other, f"{quick.url}/pets.zip"),
        ):
            for path in (QUOTE, GENERATE):
                status, _, body = await post(caller, path, dataset_body(dataset))
                assert status == 200, body
                if caller is other and path == QUOTE:
                    assert len(slow.requests) == DATASET_QUOTE_SLOTS
        status, _, body = await post(http, GENERATE, dataset_body(f"{quick.url}/pets.zip"))
        assert status == 200, "quotes take no slot of jobs"
        assert not any(task.done() for task in hanging)


@pytest.mark.slow
async def test_accounts_with_slow_urls_together_do_not_delay_another_one(patient: ServiceProcess) -> None:
    """Four quotes of datasets take all slots of their kind, until they count as slow."""
    async with serving(hang) as slow, serving(answer(zipped())) as quick, AsyncExitStack() as stack:
        for _ in range(4):
            http = await stack.enter_async_context(client(patient, new_key(patient)))
            body = dataset_body(f"{slow.url}/pets.zip")
            await stack.enter_async_context(in_flight(http, slow, QUOTE, body, 1))
        await wait_until(lambda: len(slow.requests) == 4)
        http = await stack.enter_async_context(client(patient, new_key(patient)))
        status, _, _ = await post(http, QUOTE, dataset_body(f"{quick.url}/pets.zip"))
        assert status == 200


async def test_slow_image_urls_delay_neither_other_accounts_nor_uploads(patient: ServiceProcess) -> None:
    first, second = new_key(patient), new_key(patient)
    async with (
        serving(hang) as slow,
        serving(answer(png())) as quick,
        client(patient, first) as http,
        client(patient, second) as other,
        in_flight(http, slow, GENERATE, image_body(f"{slow.url}/a.png"), 64) as hanging,
    ):
        await wait_until(lambda: len(slow.requests) == IMAGE_SLOTS)
        for caller, image in (
            (other, f"{quick.url}/a.png"),
            (other, base64_png()),
            (http, base64_png()),
        ):
            status, _, body = await post(caller, GENERATE, image_body(image))
            assert status == 200, body
        status, _, body = await post(http, QUOTE, image_body(f"{quick.url}/a.png"))
        assert status == 200, body
        assert not any(task.done() for task in hanging)
        assert len(slow.requests) == IMAGE_SLOTS


async def test_a_full_queue_is_answered_with_retry_after_in_every_dialect(patient: ServiceProcess) -> None:
    async with (
        serving(hang) as slow,
        client(patient, new_key(patient)) as http,
        in_flight(http, slow, GENERATE, image_body(f"{slow.url}/a.png"), 80) as hanging,
    ):
        await wait_until(lambda: sum(task.done() for task in hanging) >= 80 - IMAGE_SLOTS - 64)
        done = [task.result() for task in hanging if task.done()]
        assert {(status, body["error"]["code"]) for status, _, body in done} == {(429, "too_many_waiting")}
        url = f"{slow.url}/a.png"
        for path, request, code in (
            (GENERATE, image_body(url), "too_many_waiting"),
            ("/api/v1/models/4x-ultrasharp/run", {"prompt": "", "image_url": url}, "rate_limit_exceeded"),
        ):
            status, headers, body = await post(http, path, request)
            assert (status, body["error"]["code"], headers["Retry-After"]) == (429, code, "5")
            assert "this account" in body["error"]["message"]
        status, headers, body = await post(
            http, "/flux-kontext-restore-image/v1/flux-kontext-restore-image/generate", {"input_image": url}
        )
        assert (status, headers["Retry-After"]) == (429, "5")
        assert "this account" in body["message"]


async def test_a_request_that_is_refused_ends_its_other_downloads(patient: ServiceProcess) -> None:
    """Otherwise its slots would stay taken after its response."""
    async with (
        serving(hang) as slow,
        serving(answer(b"no", status="404 Not Found")) as broken,
        client(patient, new_key(patient)) as http,
    ):
        images = [*(f"{slow.url}/{number}.png" for number in range(2)), f"{broken.url}/a.png"]
        for _ in range(IMAGE_SLOTS):
            status, _, body = await post(
                http, "/v1/images/edits", {"model": "flux-2-dev", "prompt": "a", "image": images}
            )
            assert (status, body["error"]["code"]) == (400, "image_url_unreachable")


async def test_an_account_never_holds_all_decoders() -> None:
    slots = InputSlots()
    ada, bob = (InputOwner(id, InputPurpose.JOB) for id in ("ada", "bob"))
    for kind in InputKind:
        async with slots.decode(ada, kind):
            waiting = asyncio.create_task(slots.decode(ada, kind).__aenter__())
            async with asyncio.timeout(10), slots.decode(bob, kind):
                assert not waiting.done()
        await waiting
