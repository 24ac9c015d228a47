"""A real ComfyUI on the CPU, supervised by an agent and reached through its proxy."""

from __future__ import annotations

import uuid
from pathlib import Path

import aiohttp
import psutil
import pytest

from comfy_instances.fleet.protocol import InstanceState, wait_until_ready
from comfy_instances.fleet.ray.fleet import RayFleet
from comfy_instances.fleet.ray.options import RayFleetOptions
from comfy_instances.session.session import FileRef
from tests.support.agent_cluster import AgentCluster, agent_options
from tests.support.comfyui_server import installed_comfyui
from tests.support.images import png
from tests.support.polling import wait_until

pytestmark = pytest.mark.comfyui

SECONDS = 110.0


def saving(name: str) -> dict[str, object]:
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }


@pytest.mark.timeout(600)
async def test_an_agent_runs_a_real_instance_and_ends_it_with_itself(tmp_path: Path) -> None:
    """One test, because a start takes ten seconds: files both ways, a killed agent, a card that is none."""
    comfyui = installed_comfyui()
    if comfyui is None:
        pytest.skip("ComfyUI is not installed")
    cluster = AgentCluster()
    cluster.add_node("a")
    agent = agent_options(
        tmp_path / "nodes", simulate=False, comfyui_dir=str(comfyui), models_dir=str(tmp_path / "models")
    )
    options = RayFleetOptions(
        agent=agent, state_file=tmp_path / "agents.json", control_seconds=0.2, probe_seconds=1
    )
    fleet = RayFleet(cluster, options)
    await fleet.start()
    try:
        await wait_until_ready(fleet, 1, SECONDS)
        [info] = fleet.instances()
        assert (info.device, info.version, info.simulated) == ("cpu", "0.33.0", False)
        session = fleet.session("ray-0")
        image = png(1600, 1200)
        name = await session.upload_input("in.png", image, "image/png")
        assert await session.fetch_file(FileRef(name, "", "input")) == image
        result = await session.run_prompt(str(uuid.uuid4()), saving(name))
        [output] = result.outputs
        assert output.file is not None
        assert (await session.fetch_file(output.file)).startswith(b"\x89PNG")
        assert await fleet.log_tail("ray-0")
        await fleet.delete_files("ray-0", [output.file])
        assert not list((tmp_path / "nodes").rglob("*/output/*.png"))
        async with aiohttp.ClientSession(info.url) as http, http.get("/system_stats") as response:
            assert response.status == 401

        process = cluster.agents["ray-0"].process
        assert process is not None
        children = psutil.Process(process.pid).children(recursive=True)
        assert any("main.py" in " ".join(child.cmdline()) for child in children)
        await cluster.kill_agent("ray-0")
        await wait_until(lambda: not any(child.is_running() for child in children))
        await wait_until(lambda: fleet.instances()[0].state is not InstanceState.READY)
        cluster.add_node("a", "H100")
        await wait_until(lambda: "'cpu'" in str(fleet.instances()[0].detail), SECONDS)
        assert fleet.instances()[0].state is InstanceState.FAILED
    finally:
        await fleet.stop()
        await cluster.end()
