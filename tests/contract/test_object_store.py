"""What the object store promises, asked of a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from minio import Minio
from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from orchestrator.media.errors import (
    ObjectNotFound,
    ObjectStoreError,
    ObjectStoreRequestRejected,
    ObjectStoreUnavailable,
)
from orchestrator.storage.object_store import CHUNK_BYTES, ObjectStore, S3Config, content_addressed_key
from orchestrator.storage.retention import get_retention
from tests.support.s3_server import S3Server

BUCKET = "contract"
RETENTION = {"outputs/": 7, "inputs/": 1}
PNG = "image/png"


@pytest.fixture
async def store(s3: S3Server) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(s3.access(BUCKET)) as store:
        await store.ensure_bucket(RETENTION)
        yield store


@pytest.fixture
def admin(s3: S3Server) -> Minio:
    """The bare SDK, to look behind the store's back."""
    access = s3.access(BUCKET)
    address = access.endpoint.removeprefix("http://")
    return Minio(
        address,
        access_key=access.access_key,
        secret_key=access.secret_key,
        secure=False,
        region=access.region,
    )


def fresh_key(data: bytes, ext: str = "png") -> str:
    return content_addressed_key("outputs", hashlib.sha256(data).hexdigest(), ext)


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return response.status


def test_keys_name_their_content() -> None:
    assert content_addressed_key("outputs", "abcd", "png") == "outputs/ab/abcd.png"
    assert content_addressed_key("inputs/", "0f0f", "jpg") == "inputs/0f/0f0f.jpg"


@pytest.mark.parametrize(
    ("size", "content_type"), [(0, "text/plain"), (1, PNG), (70_001, "audio/flac"), (9_000_000, "video/mp4")]
)
async def test_returns_the_stored_bytes(store: ObjectStore, size: int, content_type: str) -> None:
    data = os.urandom(size)
    key = fresh_key(data)
    await store.put(key, data, content_type)
    found = await store.stat(key)
    assert (found.size, found.content_type) == (size, content_type)
    assert await store.get(key) == data


@pytest.mark.parametrize("key", ["outputs/a b.png", "outputs/ä+%20&=?#.png", "outputs/a~b/c,d;e@f.png"])
async def test_keys_may_have_any_characters(store: ObjectStore, admin: Minio, key: str) -> None:
    await store.put_new(key, b"here", PNG)
    assert (await store.get_current(key), (await store.stat(key)).size) == (b"here", 4)
    names = await asyncio.to_thread(
        lambda: [one.object_name for one in admin.list_objects(BUCKET, recursive=True)]
    )
    assert key in names


async def test_returns_a_part_of_an_object(s3: S3Server, store: ObjectStore) -> None:
    data = os.urandom(3 * CHUNK_BYTES)
    key = fresh_key(data)
    await store.put(key, data, PNG)
    async with ObjectStore(s3.access(BUCKET)) as other:  # the first one has it in memory
        for start, stop in ((0, 1), (1000, 2 * CHUNK_BYTES + 7), (len(data) - 5, len(data)), (9, 9)):
            chunks = [chunk async for chunk in other.read_chunks(key, start, stop)]
            assert b"".join(chunks) == data[start:stop]
            assert all(len(chunk) <= CHUNK_BYTES for chunk in chunks)
        with pytest.raises(ObjectNotFound):
            await anext(other.read_chunks("outputs/00/none.png", 0, 10))


async def test_sends_the_whole_body_again_where_a_kept_connection_was_closed() -> None:
    """The server ends the connection when the second request arrives on it, as after a timeout of its own."""
    stored: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(2):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if number and len(stored) == 1:
                break
            length = int(re.search(r"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            stored.append(len(await reader.readexactly(length)))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            if len(stored) == 2:
                break
        writer.close()

    data = os.urandom(5_000_000)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        access = S3Config(
            endpoint=f"http://127.0.0.1:{port}", access_key="a", secret_key="b" * 8, bucket=BUCKET
        )
        async with ObjectStore(access) as store:
            for _ in range(2):
                await store.put_new_with_retry(
                    "outputs/a", data, PNG, hashlib.sha256(data).hexdigest(), timeout=60.0
                )
    assert stored == [len(data)] * 2


async def test_reports_an_unknown_key_as_missing(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound):
        await store.get("outputs/00/none.png")
    with pytest.raises(ObjectNotFound):
        await store.stat("outputs/00/none.png")


async def test_delete_deletes_and_may_be_repeated(store: ObjectStore) -> None:
    data = os.urandom(100)
    key = fresh_key(data)
    await store.put(key, data, PNG)
    await store.delete(key)
    await store.delete(key)
    with pytest.raises(ObjectNotFound):
        await store.stat(key)


async def test_fresh_data_is_not_sent_again_and_older_data_is(store: ObjectStore, s3: S3Server) -> None:
    data = os.urandom(1000)
    key = fresh_key(data)
    await store.put(key, data, PNG)
    first = await store.stat(key)
    await asyncio.sleep(1.1)  # S3 counts whole seconds
    await store.put(key, data, PNG)
    assert (await store.stat(key)).modified == first.modified
    async with ObjectStore(s3.access(BUCKET), fresh_seconds=0.5) as impatient:
        await impatient.put(key, data, PNG)
    assert (await store.stat(key)).modified > first.modified


async def test_other_data_under_a_fresh_key_is_written(store: ObjectStore) -> None:
    await store.put("outputs/note", b"one", "text/plain")
    await store.put("outputs/note", b"two", "text/plain")
    assert await store.get("outputs/note") == b"two"
    await store.put("outputs/note", b"two", PNG)
    assert (await store.stat("outputs/note")).content_type == PNG


async def test_a_presigned_address_needs_no_key_and_names_the_file(store: ObjectStore) -> None:
    data = os.urandom(100)
    key = fresh_key(data)
    await store.put(key, data, PNG)
    url = store.presign(key, 60, filename='a "film"\r\n/of mine.png')
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == PNG
        assert response.headers["Content-Disposition"] == 'inline; filename="a_film_of_mine.png"'
        assert await response.read() == data


async def test_a_presigned_address_expires(store: ObjectStore) -> None:
    data = os.urandom(100)
    key = fresh_key(data)
    await store.put(key, data, PNG)
    url = store.presign(key, 2)
    assert await status_of(url) == 200
    await asyncio.sleep(3.1)
    assert await status_of(url) == 403


async def test_a_presigned_address_opens_nothing_else(store: ObjectStore) -> None:
    await store.put("outputs/mine", b"mine", PNG)
    await store.put("outputs/yours", b"yours", PNG)
    url = store.presign("outputs/mine", 60)
    assert await status_of(url.replace("outputs/mine", "outputs/yours")) == 403
    assert await status_of(url.replace("Expires=60", "Expires=6000")) == 403
    assert await status_of(url.split("?")[0]) == 403


async def test_presigned_addresses_are_for_the_public_endpoint(s3: S3Server, store: ObjectStore) -> None:
    await store.put("outputs/mine", b"mine", PNG)
    port = s3.endpoint.rpartition(":")[2]
    async with ObjectStore(replace(s3.access(BUCKET), public_endpoint=f"http://localhost:{port}")) as public:
        url = public.presign("outputs/mine", 60)
    assert url.startswith(f"http://localhost:{port}/{BUCKET}/outputs/mine?")
    assert await status_of(url) == 200


@pytest.mark.parametrize("lifetime", [0, 8 * 24 * 3600])
async def test_a_lifetime_outside_s3_s_range_is_refused(store: ObjectStore, lifetime: float) -> None:
    with pytest.raises(ObjectStoreRequestRejected):
        store.presign("outputs/mine", lifetime)


async def test_deletion_rules_are_set_and_replaced(store: ObjectStore, admin: Minio) -> None:
    assert await asyncio.to_thread(get_retention, admin, BUCKET) == RETENTION
    await store.ensure_bucket({"outputs/": 2})
    assert await asyncio.to_thread(get_retention, admin, BUCKET) == {"outputs/": 2}


async def test_an_operators_own_rules_stay(store: ObjectStore, admin: Minio) -> None:
    own = Rule(ENABLED, rule_filter=Filter(prefix="logs/"), rule_id="own", expiration=Expiration(days=30))
    await asyncio.to_thread(admin.set_bucket_lifecycle, BUCKET, LifecycleConfig([own]))
    await store.ensure_bucket(RETENTION)
    await store.ensure_bucket(RETENTION)
    assert await asyncio.to_thread(get_retention, admin, BUCKET) == {"logs/": 30, **RETENTION}
    await asyncio.to_thread(admin.delete_bucket_lifecycle, BUCKET)


async def test_a_good_store_is_healthy(store: ObjectStore) -> None:
    assert await store.is_healthy()


async def test_a_wrong_secret_is_refused_at_once(s3: S3Server) -> None:
    async with ObjectStore(replace(s3.access(BUCKET), secret_key="wrong")) as stranger:
        assert not await stranger.is_healthy()
        with pytest.raises(ObjectStoreRequestRejected, match=r"SignatureDoesNotMatch|AccessDenied"):
            await stranger.put_with_retry("outputs/a", b"a", PNG, timeout=60)
        with pytest.raises(ObjectStoreRequestRejected):
            await stranger.ensure_bucket(RETENTION, timeout=60)


async def test_an_unknown_bucket_is_refused(s3: S3Server) -> None:
    async with ObjectStore(s3.access("nobody-made-me")) as store:
        assert not await store.is_healthy()
        with pytest.raises(ObjectStoreRequestRejected, match="NoSuchBucket"):
            await store.put("outputs/a", b"a", PNG)


async def test_a_bad_bucket_name_is_refused(s3: S3Server) -> None:
    async with ObjectStore(s3.access("Not_a bucket")) as store:
        with pytest.raises(ObjectStoreRequestRejected):
            await store.ensure_bucket()


async def test_a_refused_connection_is_unavailable() -> None:
    with socket.socket() as unused:  # bound, but not listening
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        access = S3Config(endpoint=endpoint, access_key="a", secret_key="b" * 8, bucket=BUCKET)
        async with ObjectStore(access) as store:
            assert not await store.is_healthy()
            with pytest.raises(ObjectStoreUnavailable):
                await store.put_with_retry("outputs/a", b"a", PNG, timeout=0.5)
            with pytest.raises(ObjectStoreUnavailable):
                await store.get("outputs/a")


async def test_a_silent_server_is_unhealthy() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        endpoint = f"http://127.0.0.1:{mute.getsockname()[1]}"
        access = S3Config(endpoint=endpoint, access_key="a", secret_key="b" * 8, bucket=BUCKET)
        async with ObjectStore(access) as store:
            assert not await store.is_healthy()


def s3_error(code: str) -> str:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'


@asynccontextmanager
async def failing_s3(status: int, body: str, content_type: str) -> AsyncIterator[S3Config]:
    """A far end that answers everything in one way."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type=content_type)

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        endpoint = f"http://127.0.0.1:{server.port}"
        yield S3Config(endpoint=endpoint, access_key="a", secret_key="b" * 8, bucket=BUCKET)


@pytest.mark.parametrize(
    ("status", "body", "content_type", "error"),
    [
        (503, s3_error("SlowDown"), "application/xml", ObjectStoreUnavailable),
        (500, s3_error("InternalError"), "application/xml", ObjectStoreUnavailable),
        (502, "<html>bad gateway</html>", "text/html", ObjectStoreUnavailable),
        (429, s3_error("TooManyRequests"), "application/xml", ObjectStoreUnavailable),
        (501, s3_error("NotImplemented"), "application/xml", ObjectStoreRequestRejected),
        (403, s3_error("AccessDenied"), "application/xml", ObjectStoreRequestRejected),
        (400, s3_error("InvalidRequest"), "application/xml", ObjectStoreRequestRejected),
        (404, s3_error("NoSuchBucket"), "application/xml", ObjectStoreRequestRejected),
    ],
)
async def test_failures_are_sorted_into_passing_and_lasting_ones(
    status: int, body: str, content_type: str, error: type[ObjectStoreError]
) -> None:
    async with failing_s3(status, body, content_type) as access, ObjectStore(access) as store:
        assert not await store.is_healthy()
        with pytest.raises(error):
            await store.get("outputs/a")
        with pytest.raises(error):
            await store.put_with_retry("outputs/a", b"a", PNG, timeout=0.0)
        with pytest.raises(error):
            await store.ensure_bucket(RETENTION)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "ftp://host", "http://host/path", ""])
def test_an_endpoint_must_be_an_address(endpoint: str) -> None:
    with pytest.raises(ObjectStoreRequestRejected, match="endpoint"):
        ObjectStore(S3Config(endpoint=endpoint, access_key="a", secret_key="b", bucket=BUCKET))


def test_the_secret_is_not_shown() -> None:
    access = S3Config(endpoint="http://h", access_key="a", secret_key="hush-hush", bucket=BUCKET)
    assert "hush" not in repr(access)


async def test_reads_a_large_object_in_bounded_chunks(store: ObjectStore) -> None:
    data = os.urandom(9 * 2**20)  # larger than what the store keeps in memory
    key = fresh_key(data, "mp4")
    await store.put(key, data, "video/mp4")
    for start, stop in ((0, len(data)), (5, 6), (CHUNK_BYTES - 1, 3 * CHUNK_BYTES + 1), (7, 7)):
        chunks = [chunk async for chunk in store.read_chunks(key, start, stop)]
        assert b"".join(chunks) == data[start:stop]
        assert max(map(len, chunks), default=0) <= CHUNK_BYTES


async def test_a_reader_that_leaves_early_leaves_no_connection(store: ObjectStore) -> None:
    data = os.urandom(9 * 2**20)
    key = fresh_key(data, "mp4")
    await store.put(key, data, "video/mp4")
    for _ in range(40):  # more than there are threads
        async with aclosing(store.read_chunks(key, 0, len(data))) as chunks:
            assert await anext(chunks)
    assert len(b"".join([chunk async for chunk in store.read_chunks(key, 0, len(data))])) == len(data)


async def test_reading_what_does_not_exist_says_so(store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound):
        await anext(store.read_chunks(fresh_key(os.urandom(8)), 0, 10))
