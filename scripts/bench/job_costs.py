"""Counts what one image costs, in numbers that do not depend on the machine.

    .venv/bin/python -m scripts.bench.job_costs [--images 8]

The service runs in this process, on an instance that needs no time (`null_instances.py`) and on a real S3
server. Counted are its commits and statements of SQL, its requests to the instance and to object storage, and
its switches to a thread, from the request for an image until everything that follows its response has ended.
Other requests of the service, such as for the instance's state, happen beside an image now and then, so that
the least number of several images counts. `tests/integration/test_job_costs.py` keeps them from growing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestServer
from yarl import URL

from orchestrator.app.build import run_service
from orchestrator.settings import Settings
from orchestrator.store.sqlite import connection, database
from orchestrator.store.sqlite.database import SqliteDatabase
from scripts.bench.null_instances import NullInstances, read_facts
from scripts.bench.throughput import make_picture
from scripts.child_servers import create_api_key, run_simulator

SIDE = 256
IMAGE = {"model": "flux-1-schnell", "prompt": "a lighthouse", "size": "256x256", "response_format": "url"}
WARM_UP = 2
#: Without a new request, commit or switch for this long, everything about an image has ended.
QUIET_SECONDS = 0.2
#: The task that looks for changed models each second. On a slow machine each image takes longer than that.
MODEL_WATCHER = "model watcher"


class Counts:
    """Counts of this process by what is counted."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        #: Names of servers by port.
        self.servers: dict[int | None, str] = {}

    def install(self) -> None:
        """Count from now on, for the rest of the process: the libraries have no place to ask."""
        request, run_in_executor = aiohttp.ClientSession._request, asyncio.BaseEventLoop.run_in_executor

        async def counted_request(session: Any, method: str, url: Any, **options: Any) -> Any:
            if name := self.servers.get(URL(str(url)).port):
                self.counted[f"requests to {name}"] += 1
                if method == "HEAD":
                    self.counted[f"HEAD requests to {name}"] += 1
            return await request(session, method, url, **options)

        def counted_switch(loop: Any, executor: Any, function: Any, *arguments: Any) -> Any:
            task = asyncio.current_task()
            if task is None or task.get_name() != MODEL_WATCHER:
                self.counted["switches to a thread"] += 1
            return run_in_executor(loop, executor, function, *arguments)

        def counted_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            made = database.connect(*arguments, **options)
            made.set_trace_callback(self._note_statement)
            return made

        def counted_execute(made: SqliteDatabase, *arguments: Any) -> sqlite3.Cursor:
            self.counted["statements of SQL"] += 1
            return sqlite3.Connection.execute(made, *arguments)

        setattr(aiohttp.ClientSession, "_request", counted_request)  # noqa: B010 - mypy knows its type
        setattr(asyncio.BaseEventLoop, "run_in_executor", counted_switch)  # noqa: B010
        setattr(connection, "connect", counted_connect)  # noqa: B010
        setattr(SqliteDatabase, "execute", counted_execute)  # noqa: B010

    def _note_statement(self, statement: str) -> None:
        if statement == "COMMIT":
            self.counted["commits"] += 1


async def count_costs(directory: Path, images: int) -> dict[str, int]:
    """Return the least number of each kind."""
    counts = Counts()
    counts.install()
    picture = make_picture(directory / "picture.png", SIDE)
    with run_simulator(directory / "simulator") as simulator:
        facts = await read_facts(simulator.url, old_way=False)
    data = directory / "service"
    async with AsyncExitStack() as stack:
        nulls = TestServer(NullInstances(facts, picture, (SIDE, SIDE)).application())
        instance = await stack.enter_async_context(nulls)
        url = str(instance.make_url("")).rstrip("/")
        # Thumbnails are made when the process is quiet, which may be in the middle of the next image.
        settings = Settings.load(data_dir=data, instances=url, thumbnails=False)
        service = await stack.enter_async_context(run_service(settings))
        server = await stack.enter_async_context(TestServer(service.app))
        ports = json.loads((data / "s3" / "ports.json").read_text())
        counts.servers = {instance.port: "the instance", ports["s3"]: "object storage"}
        key = await asyncio.to_thread(create_api_key, data)
        headers = {"Authorization": f"Bearer {key}"}
        http = await stack.enter_async_context(aiohttp.ClientSession(server.make_url(""), headers=headers))
        costs = [await cost_of_image(http, counts) for _ in range(WARM_UP + images)][WARM_UP:]
    kinds = sorted({kind for cost in costs for kind in cost})
    return {kind: min(cost[kind] for cost in costs) for kind in kinds}


async def cost_of_image(http: aiohttp.ClientSession, counts: Counts) -> Counter[str]:
    """Return what was counted for an image, with what happens after its response."""
    counts.counted.clear()
    async with http.post("/v1/images/generations", json=IMAGE) as response:
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {await response.text()}")
    found = Counter[str]()
    while found != counts.counted:
        found = counts.counted.copy()
        await asyncio.sleep(QUIET_SECONDS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=8)
    options = parser.parse_args()
    os.umask(0o077)
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(asyncio.run(count_costs(Path(directory), options.images)), indent=2))


if __name__ == "__main__":
    main()
