"""Adopted instances that are not there, or not what was tested."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import web

from comfy_instances.fleet.adopted import AdoptedFleet
from comfy_instances.fleet.protocol import FleetError, InstanceInfo, InstanceState, wait_until_ready
from comfy_instances.process.child import find_free_port
from tests.support.polling import wait_until
from tests.support.scripted_comfyui import ScriptedComfyUI

ODD = Path(__file__).parents[1] / "support" / "odd_instance.py"


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (["http://127.0.0.1:1", "http://127.0.0.1:1/"], "only once"),
        (["ftp://127.0.0.1"], "must be http"),
        (["127.0.0.1:8188"], "must be http"),
    ],
)
def test_addresses_are_checked_at_once(urls: list[str], message: str) -> None:
    with pytest.raises(FleetError, match=message):
        AdoptedFleet(urls)


async def test_one_that_is_not_there_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    port = find_free_port()
    options = ("--port", str(port), "--base-directory", str(tmp_path))
    process = await asyncio.create_subprocess_exec(sys.executable, str(ODD), "old", *options)
    fleet = AdoptedFleet(
        [f"http://127.0.0.1:{find_free_port()}", f"http://127.0.0.1:{port}"],
        probe_seconds=0.2,
        poll_seconds=0.05,
    )
    told: list[InstanceInfo] = []
    fleet.subscribe(told.append)
    await fleet.start()
    try:
        await wait_until_ready(fleet, count=1)
        await wait_until(lambda: fleet.instances()[0].state is not InstanceState.STARTING)
        absent, old = fleet.instances()
        assert (absent.state, absent.detail) == (InstanceState.DOWN, "not reachable")
        assert old.state is InstanceState.READY
        assert old.version == "0.3.64"
        assert old.detail is not None
        assert "0.33.0" in old.detail
    finally:
        await fleet.stop()
        process.kill()
        await process.wait()
    assert {info.state for info in told if info.id == absent.id} == {InstanceState.DOWN}


async def test_a_server_that_is_replaced_at_once_is_noticed(tmp_path: Path) -> None:
    """Also where that takes less time than any interval of the fleet."""
    async with ScriptedComfyUI() as server:

        async def stats(request: web.Request) -> web.Response:
            device = {"name": "cpu", "type": "cpu", "index": 0, "vram_total": 0, "vram_free": 0}
            return web.json_response({"system": {"comfyui_version": "0.3.64"}, "devices": [device]})

        async def facts(request: web.Request) -> web.Response:
            return web.json_response({})

        server.answers |= {"GET /system_stats": stats, "GET /object_info": facts}
        fleet = AdoptedFleet([server.url], probe_seconds=3600, poll_seconds=3600)
        await fleet.start()
        try:
            await wait_until_ready(fleet)
            before = fleet.node_facts("adopted-0")
            server.drop_sockets()
            await wait_until(lambda: fleet.node_facts("adopted-0") is not before)
            await wait_until_ready(fleet)
        finally:
            await fleet.stop()
