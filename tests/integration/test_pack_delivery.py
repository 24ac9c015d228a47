"""The node pack's delivery without ComfyUI: its courier against a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from custom_nodes.pixel_factory.delivery import prompt_ends
from custom_nodes.pixel_factory.delivery.budget import Budget
from custom_nodes.pixel_factory.delivery.courier import Courier
from custom_nodes.pixel_factory.delivery.encoding import EncodedFile, encode_image
from custom_nodes.pixel_factory.delivery.inputs import InputCache, InputFailed
from custom_nodes.pixel_factory.delivery.png import encode_png
from custom_nodes.pixel_factory.delivery.state import Grant
from custom_nodes.pixel_factory.delivery.upload import put_file
from orchestrator.media.formats import ImageEncoding
from orchestrator.storage.object_store import ObjectStore
from tests.support.failing_disk import small_disk
from tests.support.polling import TIMEOUT_SECONDS, wait_until
from tests.support.s3_server import S3Server, running_s3, s3

__all__ = ["s3"]

PROMPT = "0b6d3f3e-6f0c-4d3f-9a53-3d4a7a6f0001"
DATA = b"the bytes of a result"


@pytest.fixture
async def store(s3: S3Server) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(s3.access("pack-delivery")) as store:
        await store.ensure_bucket()
        yield store


@pytest.fixture
def courier() -> Courier:
    return Courier(memory=10_000, threads=1)


def deliver(courier: Courier, encode: Callable[[], Sequence[EncodedFile]], reserved: int = 100) -> None:
    courier.budget.acquire(reserved)
    courier.deliver(prompt_id=PROMPT, node="9", client_id=None, reserved=reserved, blocked=0.0, encode=encode)


def text() -> list[EncodedFile]:
    return [EncodedFile(DATA, "text/plain")]


def states(courier: Courier) -> list[str]:
    found = courier.deliveries.snapshot(PROMPT)
    return [row["state"] for row in found["files"]] if found else []


def grant_for(store: ObjectStore, key: str, data: bytes = DATA, lifetime: float = 60.0) -> dict[int, Grant]:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    url, headers = store.presign_upload(key, content_type="text/plain", md5=md5, lifetime=lifetime)
    return {0: Grant(url, headers)}


async def test_a_granted_file_is_stored_and_its_memory_given_back(
    courier: Courier, store: ObjectStore
) -> None:
    deliver(courier, text)
    await wait_until(lambda: states(courier) == ["encoded"])
    assert courier.budget.used == len(DATA)
    courier.grant(PROMPT, grant_for(store, "outputs/granted"))
    await wait_until(lambda: states(courier) == ["stored"])
    assert await store.get("outputs/granted") == DATA
    assert (await store.stat("outputs/granted")).content_type == "text/plain"
    await wait_until(lambda: courier.budget.used == 0)
    snapshot = courier.deliveries.snapshot(PROMPT)
    assert snapshot is not None
    assert snapshot["files"][0]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert snapshot["files"][0]["tag"] == hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    assert "X-Amz" not in str(snapshot)


async def test_the_service_is_notified_of_what_it_has_to_know_only(
    courier: Courier, store: ObjectStore
) -> None:
    """Not while everything is being encoded, and not of the grant that it gave itself."""
    begin, notified = threading.Event(), list[str]()

    def encode() -> list[EncodedFile]:
        begin.wait()
        return text()

    deliver(courier, encode)
    assert courier.deliveries.listen(PROMPT, 0, lambda: notified.append("encoded"))
    begin.set()
    await wait_until(lambda: states(courier) == ["encoded"])
    assert notified == ["encoded"]
    snapshot = courier.deliveries.snapshot(PROMPT)
    assert snapshot is not None
    assert courier.deliveries.listen(PROMPT, snapshot["revision"], lambda: notified.append("stored"))
    courier.grant(PROMPT, grant_for(store, "outputs/notified"))
    await wait_until(lambda: states(courier) == ["stored"])
    assert notified == ["encoded", "stored"]
    assert not courier.deliveries.listen(PROMPT, 0, lambda: notified.append("never")), "it has its results"


async def test_asks_for_another_request_when_one_has_expired(courier: Courier, store: ObjectStore) -> None:
    expired = grant_for(store, "outputs/expired", lifetime=1.0)
    deliver(courier, text)
    await wait_until(lambda: states(courier) == ["encoded"])
    await asyncio.sleep(2.5)  # a signature counts whole seconds
    courier.grant(PROMPT, expired)
    await wait_until(lambda: _first(courier)["rejected"] == 1 and states(courier) == ["encoded"])
    courier.grant(PROMPT, grant_for(store, "outputs/expired"))
    await wait_until(lambda: states(courier) == ["stored"])
    assert await store.get("outputs/expired") == DATA


def _first(courier: Courier) -> dict[str, Any]:
    found = courier.deliveries.snapshot(PROMPT)
    return dict(found["files"][0]) if found and found["files"] else {}


async def test_offers_the_file_after_three_rejected_requests(courier: Courier, store: ObjectStore) -> None:
    deliver(courier, text)
    for number in range(3):
        await wait_until(lambda: states(courier) == ["encoded"])
        # The digest that was signed is another file's.
        courier.grant(PROMPT, grant_for(store, "outputs/other", data=b"other"))
        await wait_until(lambda count=number: _first(courier)["rejected"] > count)  # type: ignore[misc]
    await wait_until(lambda: states(courier) == ["offered"])
    fetched = courier.fetch(PROMPT, 0)
    assert fetched is not None
    assert fetched.data == DATA
    assert courier.release(PROMPT)
    assert courier.budget.used == 0
    assert courier.fetch(PROMPT, 0) is None


async def test_retries_until_object_storage_is_back(courier: Courier, tmp_path: Path) -> None:
    with running_s3(tmp_path / "s3") as server:
        async with ObjectStore(server.access("away")) as store:
            await store.ensure_bucket()
            grants = grant_for(store, "outputs/away")
            await asyncio.to_thread(server.stop)
            deliver(courier, text)
            await wait_until(lambda: states(courier) == ["encoded"])
            courier.grant(PROMPT, grants)
            await wait_until(lambda: _first(courier)["error"] != "")
            assert states(courier) == ["uploading"]
            await asyncio.to_thread(server.start)
        # The embedded server takes another port: the service grants a request for the new address.
        async with ObjectStore(server.access("away")) as store:
            courier.grant(PROMPT, grant_for(store, "outputs/away"))
            await wait_until(lambda: states(courier) == ["stored"])
            assert await store.get("outputs/away") == DATA


async def test_offers_the_file_when_object_storage_stays_away() -> None:
    courier = Courier(memory=10_000, threads=1, upload_seconds=0.5)
    deliver(courier, text)
    await wait_until(lambda: states(courier) == ["encoded"])
    courier.grant(PROMPT, {0: Grant("http://127.0.0.1:9/bucket/key?X-Amz-Signature=secret")})
    await wait_until(lambda: states(courier) == ["offered"])
    assert "secret" not in str(courier.deliveries.snapshot(PROMPT))


async def test_a_crash_of_an_encoder_fails_its_file_only(courier: Courier) -> None:
    def crash() -> list[EncodedFile]:
        raise SystemExit("encoder")

    deliver(courier, crash)
    deliver(courier, text)
    await wait_until(lambda: states(courier) == ["failed", "encoded"])
    assert _first(courier)["error"] == "SystemExit: encoder"
    assert courier.budget.used == len(DATA)


async def test_an_encoder_lets_the_graphs_thread_go_first() -> None:
    begun: list[float] = []

    def encode() -> list[EncodedFile]:
        begun.append(time.monotonic())
        return text()

    courier = Courier(memory=10_000, threads=1, head_start=0.3)
    handed_over = time.monotonic()
    deliver(courier, encode)
    await wait_until(lambda: states(courier) == ["encoded"])
    assert begun[0] - handed_over >= 0.3
    assert _first(courier)["timings"]["queued"] >= 0.3


async def test_a_saver_with_several_files_delivers_them_all(courier: Courier) -> None:
    deliver(courier, lambda: [*text(), EncodedFile(b"second", "text/plain")])
    await wait_until(lambda: states(courier) == ["encoded", "encoded"])
    found = courier.deliveries.snapshot(PROMPT)
    assert found is not None
    assert [(row["item"], row["node"], row["size"]) for row in found["files"]] == [
        (0, "9", len(DATA)),
        (1, "9", len(b"second")),
    ]


async def test_memory_is_bounded_and_a_node_waits_for_room(courier: Courier) -> None:
    hold, waiting = threading.Event(), threading.Event()

    def slow() -> list[EncodedFile]:
        hold.wait(60)
        return text()

    deliver(courier, slow, reserved=9_000)

    def second() -> None:
        waiting.set()
        deliver(courier, text, reserved=9_000)

    node = threading.Thread(target=second)
    node.start()
    waiting.wait(60)
    await wait_until(lambda: courier.budget.waiting == 1)
    assert courier.budget.used == 9_000
    hold.set()
    await asyncio.to_thread(node.join, 60)
    await wait_until(lambda: states(courier) == ["encoded", "encoded"])
    assert courier.budget.waited_seconds > 0


def test_an_interrupt_ends_the_wait_for_room() -> None:
    budget = Budget(100)
    budget.acquire(100)

    def interrupted() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        budget.acquire(1, interrupted)
    assert (budget.used, budget.waiting) == (100, 0)
    budget.release(100)
    assert budget.acquire(1000) == 0.0  # larger than all of it: alone


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (5, 7, 4), (700, 2100, 3), (64, 64, 1), (1, 900, 3), (900, 1, 4)]
)
@pytest.mark.parametrize("kind", ["noise", "flat", "gradient"])
@pytest.mark.parametrize("has_isal", [True, False])
def test_a_png_has_the_pixels_that_were_encoded(
    shape: tuple[int, int, int], kind: str, has_isal: bool
) -> None:
    pixels = np.zeros(shape, np.uint8)
    if kind == "noise":
        pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    if kind == "gradient":
        pixels[...] = np.arange(shape[1], dtype=np.uint32)[None, :, None] // 7 % 256
    data = encode_png(pixels, may_use_isal=has_isal)
    image = Image.open(io.BytesIO(data))
    image.load()
    assert np.array_equal(np.array(image).reshape(shape), pixels)
    if kind == "flat" and pixels.size > 100_000:
        assert len(data) < pixels.size / 100


def test_a_large_image_is_encoded_in_little_memory() -> None:
    """Four of them wait as 8-bit pixels at most; encoding one adds blocks and the file."""
    pixels = np.zeros((8192, 8192, 3), np.uint8)
    tracemalloc.start()
    try:
        data = encode_png(pixels, may_use_isal=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(data) + 32 * 2**20
    assert peak < pixels.nbytes / 4


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/webp"])
@pytest.mark.parametrize("quality", [50, 90, 100])
def test_encodes_as_the_service_converts(content_type: str, quality: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    made = encode_image(pixels, content_type, quality)
    assert (made.content_type, made.must_offer, made.width, made.height) == (content_type, False, 64, 48)
    converted = ImageEncoding(content_type, quality).encode(encode_png(pixels))
    assert np.array_equal(_pixels(made.data), _pixels(converted))


def _pixels(data: bytes) -> Any:
    return np.array(Image.open(io.BytesIO(data)))


def test_offers_a_png_where_the_format_does_not_hold_the_image() -> None:
    transparent = np.zeros((8, 8, 4), np.uint8)
    wide = np.zeros((1, 16384, 3), np.uint8)
    for pixels, content_type in ((transparent, "image/jpeg"), (wide, "image/webp")):
        made = encode_image(pixels, content_type, 90)
        assert (made.content_type, made.must_offer) == ("image/png", True)


async def test_input_files_are_fetched_once_and_the_oldest_go_first(
    store: ObjectStore, tmp_path: Path
) -> None:
    cache = InputCache(tmp_path, limit=2_500)
    first, second, third = [await _put_input(store, bytes([n]) * 1000) for n in range(3)]
    (name,) = await cache.fetch("a", [first])
    assert (tmp_path / name).read_bytes() == bytes([0]) * 1000
    assert await cache.fetch("b", [first]) == [name]
    assert (cache.fetched, cache.hits) == (1, 1)
    await cache.fetch("c", [second, third])
    # Too much, and all of it is needed.
    assert cache.describe()["files"] == 3
    for prompt in ("a", "b"):
        cache.release(prompt)
    cache.trim()
    assert not (tmp_path / name).exists()
    assert cache.describe()["files"] == 2


async def test_an_input_file_on_a_full_disk_leaves_no_part_of_it(store: ObjectStore, tmp_path: Path) -> None:
    data = bytes(200_000)
    row = await _put_input(store, data)
    with small_disk(tmp_path / "input", 65_536) as folder:
        cache = InputCache(folder, limit=10**9)
        with pytest.raises(InputFailed, match="cannot write the input file: No space left"):
            await cache.fetch(PROMPT, [row])
        assert list(folder.iterdir()) == []
        assert cache.describe()["fetched"] == 0
    cache = InputCache(tmp_path / "input", limit=10**9)
    (name,) = await cache.fetch(PROMPT, [row])
    assert (tmp_path / "input" / name).read_bytes() == data


async def test_rejects_an_input_file_with_another_digest(store: ObjectStore, tmp_path: Path) -> None:
    cache = InputCache(tmp_path, limit=10_000)
    row = await _put_input(store, b"what is there")
    with pytest.raises(InputFailed, match="digest"):
        await cache.fetch("a", [{**row, "sha256": "0" * 64}])
    assert cache.describe()["files"] == 0
    assert list(os.scandir(tmp_path)) == []
    with pytest.raises(ValueError, match="digest"):
        await cache.fetch("a", [{**row, "sha256": "../../etc/passwd"}])


async def _put_input(store: ObjectStore, data: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(data).hexdigest()
    key = f"inputs/{sha256}.png"
    await store.put(key, data, "image/png")
    url = store.presign_for_instances(key)
    return {"url": url, "sha256": sha256, "size": len(data), "extension": "png"}


async def test_uploads_use_one_connection_and_open_another_one_when_it_was_closed() -> None:
    connections: list[object] = []

    async def store_file(request: web.Request) -> web.Response:
        assert request.transport is not None
        connections.append(request.transport.get_extra_info("peername"))
        assert await request.read() == DATA
        if request.path == "/2":
            # As a server does that closes a connection which is idle for too long.
            asyncio.get_running_loop().call_later(0.05, request.transport.close)
        return web.Response(headers={"ETag": f'"tag-of-{request.path[1:]}"'})

    app = web.Application()
    app.router.add_put("/{number}", store_file)
    with ThreadPoolExecutor(1) as uploads:
        async with TestServer(app) as server:
            for number in range(1, 5):
                put = partial(put_file, Grant(str(server.make_url(f"/{number}"))), DATA)
                assert await asyncio.get_running_loop().run_in_executor(uploads, put) == f"tag-of-{number}"
                await asyncio.sleep(0.2)
    first, second, third, fourth = connections
    assert first == second != third == fourth


async def test_encodes_at_once_when_the_end_of_the_prompt_is_reported() -> None:
    courier = Courier(memory=10_000, threads=1, head_start=TIMEOUT_SECONDS)
    queue = PromptQueue()
    prompt_ends.install(queue, courier.end_prompt)
    queue.currently_running[7] = (0, PROMPT, {}, {}, [])
    deliver(courier, text)
    assert queue.task_done(8) == "done with 8", "another prompt"
    await asyncio.sleep(0.1)
    assert states(courier) == ["working"]
    assert queue.task_done(7) == "done with 7"
    await wait_until(lambda: states(courier) == ["encoded"], TIMEOUT_SECONDS / 2)


class PromptQueue:
    """Ends prompts as ComfyUI's queue does."""

    def __init__(self) -> None:
        self.currently_running: dict[int, tuple[Any, ...]] = {}

    def task_done(self, item_id: int) -> str:
        self.currently_running.pop(item_id, None)
        return f"done with {item_id}"


def test_a_queue_of_another_kind_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    queue = object()
    prompt_ends.install(queue, lambda _: None)
    assert "ends prompts in an unknown way" in caplog.text
