"""What an instance reports as stored: believed if object storage has acknowledged it, else looked for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from comfy_instances.protocol.delivery import ENCODED_EVENT
from comfy_instances.protocol.errors import NoOutput
from comfy_instances.protocol.message_parser import parse_event
from comfy_instances.protocol.messages import ResultsEncoded
from comfy_instances.session.session import InstanceSession, NodeOutput, RunResult
from orchestrator.execution.results.direct_delivery import DirectDelivery
from orchestrator.execution.results.outputs import OutputStorage
from orchestrator.jobs import Output
from orchestrator.media.marks.content_credentials import MediaOrigin
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.storage.object_store import ObjectStore
from tests.support.holding_proxy import HoldingProxy
from tests.support.images import png
from tests.support.polling import wait_until
from tests.support.s3_server import S3Server

DATA = png(64, 48)
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
RESULT = RunResult("prompt-1", (NodeOutput("9", "images", delivered=True),), 1.0, frozenset())


class ReportingInstance:
    """An instance whose pack has encoded one image, and reports what a test says of its upload."""

    def __init__(self, *, stores: bool, tag: str | None, stored_before: bool = False) -> None:
        self._stores, self._tag, self._state = stores, tag, "stored" if stored_before else "encoded"
        #: How many grants came with each request.
        self.asked: list[int] = []

    async def follow(self, request: web.Request) -> web.Response:
        grants = (await request.json())["grants"]
        self.asked.append(len(grants))
        for grant in grants.values():
            self._state = "stored"
            if self._stores:
                await self._put(grant)
        return web.json_response(self._report())

    def message(self, prompt_id: str = RESULT.prompt_id) -> ResultsEncoded:
        """Return the message that the image is encoded."""
        message = parse_event(ENCODED_EVENT, {"prompt_id": prompt_id, **self._report()})
        assert isinstance(message, ResultsEncoded)
        return message

    def _report(self) -> dict[str, Any]:
        file: dict[str, Any] = {
            "item": 0, "node": "9", "state": self._state, "rejected": 0, "error": "", "size": len(DATA),
            "content_type": "image/png", "sha256": hashlib.sha256(DATA).hexdigest(), "md5": MD5,
            "width": 64, "height": 48,
        }  # fmt: skip
        if self._state == "stored" and self._tag is not None:
            file["tag"] = self._tag
        return {"protocol": 2, "revision": 2, "files": [file]}

    async def _put(self, grant: dict[str, Any]) -> None:
        url = URL(grant["url"], encoded=True)
        async with aiohttp.ClientSession() as http, http.put(url, data=DATA, headers=grant["headers"]) as put:
            assert put.status == 200
            assert put.headers["ETag"].strip('"') == MD5


@pytest.fixture
async def store(s3: S3Server) -> AsyncIterator[ObjectStore]:
    async with ObjectStore(s3.access("stored-reports")) as store:
        await store.ensure_bucket()
        yield store


async def collect(
    store: ObjectStore,
    instance: ReportingInstance,
    *,
    message: ResultsEncoded | None = None,
    later: ResultsEncoded | None = None,
    forgets: bool = False,
) -> Output:
    """Return the output of a run on the instance, which has sent `message`, and sends `later`.

    With `forgets`, the prompt was forgotten between the two.
    """
    app = web.Application()
    app.router.add_post("/pixelfactory/delivery/{id}", instance.follow)
    outputs = OutputStorage(store, 60.0, DirectDelivery(store), MediaMarker())
    async with TestServer(app) as server, InstanceSession(str(server.make_url("/"))) as session:
        if message is not None:
            session.deliveries.note_encoded(message)
        if forgets:
            await session.deliveries.forget([RESULT.prompt_id])
        if later is not None:
            asyncio.get_running_loop().call_later(0.01, session.deliveries.note_encoded, later)
        (output,) = await outputs.store_outputs(
            session,
            ["9"],
            RESULT,
            prompt_id=RESULT.prompt_id,
            instance_id="gpu-1",
            origin=MediaOrigin(model="m"),
            prefix=f"{uuid4()}/",
        )
    return output


@pytest.mark.parametrize(
    "tag",
    [MD5, None, "0" * 32 + "-1"],
    ids=["its MD5", "none, as older packs", "an encrypted object's"],
)
async def test_takes_what_is_stored_whatever_its_tag(store: ObjectStore, tag: str | None) -> None:
    output = await collect(store, ReportingInstance(stores=True, tag=tag))
    assert await store.get(output.key) == DATA
    assert (output.size, output.width, output.height) == (len(DATA), 64, 48)


@pytest.mark.parametrize("tag", [None, "", hashlib.md5(b"another", usedforsecurity=False).hexdigest()])
async def test_looks_for_what_object_storage_has_not_acknowledged(
    store: ObjectStore, tag: str | None
) -> None:
    with pytest.raises(NoOutput, match="is not in object storage"):
        await collect(store, ReportingInstance(stores=False, tag=tag))


async def test_looks_until_object_storage_answers(s3: S3Server, store: ObjectStore) -> None:
    proxy = HoldingProxy(s3.endpoint)
    try:
        config = replace(s3.access("stored-reports"), endpoint=proxy.url)
        async with ObjectStore(config) as refused_store:
            with proxy.refuse("stored-reports", "HEAD") as refusal:
                collected = asyncio.create_task(
                    collect(refused_store, ReportingInstance(stores=True, tag=None))
                )
                await wait_until(lambda: refusal.count >= 3)
                assert not collected.done()
            assert await store.get((await collected).key) == DATA
    finally:
        proxy.close()


async def test_looks_for_what_was_stored_before_this_process_asked(store: ObjectStore) -> None:
    """It may have been deleted since."""
    with pytest.raises(NoOutput, match="is not in object storage"):
        await collect(store, ReportingInstance(stores=False, tag=MD5, stored_before=True))


async def test_the_message_that_results_are_encoded_saves_a_request(store: ObjectStore) -> None:
    instance = ReportingInstance(stores=True, tag=MD5)
    await collect(store, instance, message=instance.message())
    assert instance.asked == [1], "only with the grant"


async def test_waits_for_that_message_where_the_pack_sends_such(store: ObjectStore) -> None:
    instance = ReportingInstance(stores=True, tag=MD5)
    await collect(store, instance, message=instance.message("another prompt"), later=instance.message())
    assert instance.asked == [1]


async def test_asks_where_the_message_was_lost(store: ObjectStore) -> None:
    instance = ReportingInstance(stores=True, tag=MD5)
    await collect(store, instance, message=instance.message("another prompt"))
    assert instance.asked == [0, 1]


async def test_a_message_about_a_prompt_is_forgotten_with_the_prompt(store: ObjectStore) -> None:
    instance = ReportingInstance(stores=True, tag=MD5)
    await collect(store, instance, message=instance.message(), forgets=True)
    assert instance.asked == [0, 1]
