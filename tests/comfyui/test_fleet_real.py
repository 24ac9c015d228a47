"""A real ComfyUI on the CPU under our supervision."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import InstanceInfo, InstanceState, wait_until_ready
from comfy_instances.process.installation import find_installation
from comfy_instances.process.restart_policy import RestartPolicy
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.session.session import FileRef
from tests.support.comfyui_server import installed_comfyui
from tests.support.polling import wait_until
from tests.support.processes import child_processes, find_processes

pytestmark = [pytest.mark.comfyui, pytest.mark.timeout(600)]

RULES = RestartPolicy(
    startup_seconds=180,
    probe_seconds=1,
    file_refresh_seconds=1,
    hang_timeout_seconds=10,
    stop_timeout_seconds=3,
    backoff_seconds=0.1,
)
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
#: Several seconds of work inside one node.
LONG_GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 4096, "height": 4096, "batch_size": 1, "color": 9}},
    "2": {
        "class_type": "ImageScaleBy",
        "inputs": {"image": ["1", 0], "upscale_method": "lanczos", "scale_by": 2.0},
    },
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[LocalFleet]:
    directory = installed_comfyui()
    install = find_installation(directory) if directory is not None else None
    if install is None:
        pytest.skip("ComfyUI is not installed")
    fleet = LocalFleet.comfyui(
        install, directory=tmp_path / "instances", models_dir=tmp_path / "models", policy=RULES
    )
    await fleet.start()
    try:
        await wait_until_ready(fleet, timeout_seconds=180)
        yield fleet
    finally:
        await fleet.stop()


async def offered(fleet: LocalFleet, file: str) -> None:
    """Until a loader of the instance has the file in its list."""
    changed = asyncio.Event()
    unsubscribe = fleet.subscribe(lambda _: changed.set())
    async with asyncio.timeout(60):
        while file not in str((fleet.node_facts("cpu-0") or {}).get("UpscaleModelLoader")):
            changed.clear()
            await changed.wait()
    unsubscribe()


def process_of(info: InstanceInfo) -> psutil.Process:
    port = info.url.rsplit(":", 1)[1]
    return next(find_processes(port, child_processes()))


async def run(fleet: LocalFleet) -> list[FileRef]:
    result = await fleet.session("cpu-0").run_prompt(str(uuid.uuid4()), GRAPH)
    return [output.file for output in result.outputs if output.file is not None]


async def test_starts_drains_restarts_and_stops_an_instance(fleet: LocalFleet, tmp_path: Path) -> None:
    """One test, because a start takes ten seconds: what it is, files, a crash, a hang, an operator's wish."""
    told: list[InstanceInfo] = []
    fleet.subscribe(told.append)
    info = fleet.instances()[0]
    assert (info.id, info.device, info.version, info.simulated) == ("cpu-0", "cpu", "0.33.0", False)
    assert info.memory is not None
    facts = fleet.node_facts("cpu-0")
    assert facts is not None
    assert {"SaveImage", "SaveImageWebsocket", "KSampler"} <= facts.keys()
    assert not any(row.get("api_node") for row in facts.values())
    assert await fleet.log_tail("cpu-0")

    (tmp_path / "models" / "upscale_models").mkdir(parents=True, exist_ok=True)
    (tmp_path / "models" / "upscale_models" / "late.pth").touch()
    await offered(fleet, "late.pth")

    folder = tmp_path / "instances" / "cpu-0" / "output"
    files = await run(fleet)
    assert [path.name for path in folder.iterdir()] == [files[0].filename]
    await fleet.delete_files("cpu-0", files)
    assert list(folder.iterdir()) == []

    prompt = asyncio.create_task(fleet.session("cpu-0").run_prompt(str(uuid.uuid4()), LONG_GRAPH))
    await asyncio.sleep(0.5)
    process_of(info).kill()
    with pytest.raises(InstanceGone):
        await prompt
    await back(fleet, restarts=1)
    assert await run(fleet)

    process_of(fleet.instances()[0]).send_signal(signal.SIGSTOP)
    await back(fleet, restarts=2)
    assert await run(fleet)
    assert any((row.detail or "").startswith("hung") for row in told)

    await fleet.restart("cpu-0")
    await back(fleet, restarts=3)
    assert InstanceState.FAILED not in {row.state for row in told}


async def back(fleet: LocalFleet, restarts: int) -> None:
    await wait_until(lambda: fleet.instances()[0].restarts >= restarts, seconds=180)
    await wait_until_ready(fleet, timeout_seconds=180)
