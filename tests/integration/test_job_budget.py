"""What one image costs, counted: requests, commits and thread switches do not depend on the machine.

A number that grows is a change for the worse, however fast the machine of its author is. A number that
shrinks is recorded here.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from pydantic import SecretStr
from yarl import URL

from orchestrator.app.build import run_service
from orchestrator.settings import Settings
from orchestrator.store.sqlite import connection as sqlite_connection
from orchestrator.store.sqlite import database as sqlite_database
from scripts.bench.null_instances import NullInstances, read_facts
from tests.support.comfyui_server import simulator
from tests.support.images import png
from tests.support.s3_server import S3Server
from tests.support.service import pixelfactory

#: For an image as a URL, on an instance that stores its results itself.
BUDGET = {
    # The job with its hold, the attempt, the result with the capture, the response, the thumbnail's key.
    "commits": 5,
    # The prompt, three times the state of its delivery, once with the grant; its release, its history.
    "requests to the instance": 6,
    # The instance stores the result; whether it is there, and for its thumbnail the result and a PUT.
    "requests to object storage": 4,
    # Key, wallet and plan; the thumbnail is decoded, encoded and marked.
    "switches to a thread": 6,
}
IMAGE = {"model": "flux-1-schnell", "prompt": "a lighthouse", "size": "256x256", "response_format": "url"}
IMAGES = 8


class Counts:
    """Counts of this process."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def watch(self, monkeypatch: pytest.MonkeyPatch, names: dict[int | None, str]) -> None:
        """Count from now on; `names` has the names of servers by port."""
        request, connect = aiohttp.ClientSession._request, sqlite_database.connect
        run_in_executor = asyncio.BaseEventLoop.run_in_executor

        async def counted_request(session: Any, method: str, url: Any, **options: Any) -> Any:
            if name := names.get(URL(str(url)).port):
                self.counted[f"requests to {name}"] += 1
            return await request(session, method, url, **options)

        def counted_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            made = connect(*arguments, **options)
            made.set_trace_callback(self.note_statement)
            return made

        def counted_switch(loop: Any, executor: Any, function: Any, *arguments: Any) -> Any:
            self.counted["switches to a thread"] += 1
            return run_in_executor(loop, executor, function, *arguments)

        monkeypatch.setattr(aiohttp.ClientSession, "_request", counted_request)
        monkeypatch.setattr(sqlite_connection, "connect", counted_connect)
        monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", counted_switch)

    def note_statement(self, statement: str) -> None:
        self.counted["commits"] += statement == "COMMIT"


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[TestServer]:
    """An instance that needs no time, and says nothing by itself."""
    with simulator(tmp_path / "simulator") as server:
        facts = await read_facts(server.url, old_way=False)
    async with TestServer(NullInstances(facts, png(256, 256), (256, 256)).application()) as served:
        assert isinstance(served, TestServer)
        yield served


async def test_an_image_costs_no_more_than_it_did(
    s3: S3Server, instance: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = s3.access("budget")
    settings = Settings.load(
        data_dir=tmp_path / "data",
        instances=str(instance.make_url("")).rstrip("/"),
        s3_endpoint=access.endpoint,
        s3_access_key=SecretStr(access.access_key),
        s3_secret_key=SecretStr(access.secret_key),
        s3_bucket="budget",
    )
    counts = Counts()
    counts.watch(monkeypatch, {instance.port: "the instance", URL(access.endpoint).port: "object storage"})
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(run_service(settings))
        server = await stack.enter_async_context(TestServer(service.app))
        key = await asyncio.to_thread(create_key, settings.data_dir)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(server.make_url(""), headers={"Authorization": f"Bearer {key}"})
        )
        costs = [await cost_of_image(http, counts) for _ in range(IMAGES)]
    # Others of the service's requests happen beside an image now and then.
    least = {name: min(cost[name] for cost in costs[2:]) for name in BUDGET}
    assert {name: number for name, number in least.items() if not 0 < number <= BUDGET[name]} == {}


def create_key(data_dir: Path) -> str:
    return str(
        json.loads(pixelfactory("keys", "create", "--credit", "5", "--json", data_dir=data_dir).stdout)["key"]
    )


async def cost_of_image(http: aiohttp.ClientSession, counts: Counts) -> Counter[str]:
    """Return what was counted for an image, with what happens after its response."""
    counts.counted.clear()
    async with http.post("/v1/images/generations", json=IMAGE) as response:
        assert response.status == 200, await response.text()
    found = Counter[str]()
    while found != counts.counted:
        found = counts.counted.copy()
        await asyncio.sleep(0.2)
    return found
