"""What ended prompts left on their instance is deleted beside everything else, in few requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from comfy_instances.fleet.fleet_base import FleetBase
from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from comfy_instances.session.session import FileRef, InstanceSession
from orchestrator.execution.instances.instance_cleaner import InstanceCleaner, Leftovers
from tests.support.polling import TIMEOUT_SECONDS, poll
from tests.support.scripted_comfyui import ScriptedComfyUI

ID = "one"


class OneInstance(FleetBase):
    """A fleet of one instance, which nothing monitors."""

    def __init__(self, session: InstanceSession) -> None:
        info = InstanceInfo(
            id=ID, url=session.url, state=InstanceState.READY, simulated=False, device="cpu", adopted=True
        )
        super().__init__([info])
        self.set_session(ID, session)
        self.deleted: list[FileRef] = []

    async def delete_files(self, instance_id: str, files: Sequence[FileRef]) -> None:
        self.deleted += files

    async def start(self) -> None:
        raise AssertionError("it runs already")

    async def restart(self, instance_id: str) -> None:
        raise AssertionError(instance_id)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedComfyUI]:
    async with ScriptedComfyUI() as server:
        yield server


@pytest.fixture
async def fleet(server: ScriptedComfyUI) -> AsyncIterator[OneInstance]:
    async with InstanceSession(server.url) as session:
        yield OneInstance(session)


@pytest.fixture
async def cleaner(fleet: OneInstance) -> AsyncIterator[InstanceCleaner]:
    cleaner = InstanceCleaner(fleet)
    yield cleaner
    await cleaner.stop()


async def test_prompts_that_end_together_share_a_request(
    server: ScriptedComfyUI, cleaner: InstanceCleaner
) -> None:
    server.history = {name: {} for name in ("a", "b", "c", "kept")}
    for name in "abc":
        cleaner.add(ID, Leftovers(name))
    await poll(lambda: asyncio.sleep(0, set(server.history)), lambda left: left == {"kept"})
    assert server.requests == ["POST /history"]


async def test_what_the_node_pack_holds_is_released_in_the_same_request(
    server: ScriptedComfyUI, cleaner: InstanceCleaner
) -> None:
    forgotten: list[str] = []

    async def forget(request: web.Request) -> web.Response:
        forgotten.extend((await request.json())["prompts"])
        return web.json_response({"released": 2})

    server.answers["POST /pixelfactory/ended"] = forget
    server.history = {"c": {}}
    for name in "ab":
        cleaner.add(ID, Leftovers(name, needs_release=True))
    cleaner.add(ID, Leftovers("c"))
    await poll(lambda: asyncio.sleep(0, server.history), lambda left: not left)
    assert server.requests == ["POST /pixelfactory/ended", "POST /history"]
    assert forgotten == ["a", "b"]


async def test_an_older_node_pack_releases_prompt_by_prompt(
    server: ScriptedComfyUI, cleaner: InstanceCleaner
) -> None:
    for name in "ab":
        server.history = {name: {}}
        cleaner.add(ID, Leftovers(name, needs_release=True))
        await poll(lambda: asyncio.sleep(0, server.history), lambda left: not left)
    assert server.requests == [
        *("POST /pixelfactory/ended", "DELETE /pixelfactory/delivery/a", "POST /history"),
        *("DELETE /pixelfactory/delivery/b", "POST /history"),
    ]


async def test_stopping_deletes_what_waits(server: ScriptedComfyUI, cleaner: InstanceCleaner) -> None:
    server.history = {"a": {}}
    cleaner.add(ID, Leftovers("a"))
    await cleaner.stop()
    assert server.history == {}


async def test_an_instance_that_does_not_respond_delays_neither_its_users_nor_the_end(
    server: ScriptedComfyUI, cleaner: InstanceCleaner
) -> None:
    asked = asyncio.Event()

    async def never(request: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    server.answers["POST /pixelfactory/ended"] = never
    cleaner.add(ID, Leftovers("a", needs_release=True))
    await asyncio.wait_for(asked.wait(), TIMEOUT_SECONDS)
    await asyncio.wait_for(cleaner.stop(), TIMEOUT_SECONDS)
    assert "POST /history" not in server.requests


async def test_an_instance_that_is_gone_is_no_failure_and_keeps_no_file(
    server: ScriptedComfyUI, fleet: OneInstance, cleaner: InstanceCleaner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await server.stop()
    file = FileRef(filename="input.png", subfolder="", type="input")
    cleaner.add(ID, Leftovers("a", [file]))
    await poll(lambda: asyncio.sleep(0, caplog.text), lambda text: "could not clean up" in text)
    await cleaner.stop()
    assert fleet.deleted == [file]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
