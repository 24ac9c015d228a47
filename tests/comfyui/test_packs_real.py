"""Node packs in a real ComfyUI: tried, refused where they override its nodes, installed, loaded and run."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import wait_until_ready
from comfy_instances.install.packs.adding import pin_pack
from comfy_instances.install.packs.errors import PacksRefused
from comfy_instances.install.packs.install import PackInstallRequest, install_packs
from comfy_instances.install.packs.lock_file import PackLock
from comfy_instances.install.packs.repository import PackAddress
from comfy_instances.install.packs.resolver import PackageSource
from comfy_instances.process.installation import find_installation
from comfy_instances.process.installed_packs import (
    load_all_packs,
    load_installed_pack_facts,
    read_pack_record,
)
from comfy_instances.process.restart_policy import RestartPolicy
from tests.support.comfyui_server import installed_comfyui
from tests.support.pack_comfyui import make_pack, make_wheel
from tests.support.packs import RecordingPackReporter

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.timeout(900)]

STARTUP_SECONDS = 240
#: A pack that calls pip when it is imported and when `/object_info` is read, and writes into its folder.
INVERTER = """
import pathlib, subprocess, sys
import inverter_maths

FOLDER = pathlib.Path(__file__).parent

def install():
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "colorama-of-a-stranger", "git+https://pack.invalid/x/y"],
        capture_output=True, text=True,
    )
    with (FOLDER / "pip.log").open("a") as log:
        log.write(f"{done.returncode}\\n")

install()

class Inverter:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "a pack"

    @classmethod
    def INPUT_TYPES(cls):
        install()
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        return (inverter_maths.invert(image),)

NODE_CLASS_MAPPINGS = {"PackInverter": Inverter}
"""
OVERRIDE = """
import nodes

class Mine(nodes.KSampler):
    pass

nodes.NODE_CLASS_MAPPINGS["KSampler"] = Mine
NODE_CLASS_MAPPINGS = {"EmptyImage": Mine, "OverrideOwn": Mine}
"""
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "PackInverter", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}


@pytest.fixture
def comfyui_dir(tmp_path: Path) -> Path:
    """A directory with links to the installed ComfyUI, which stays as it is."""
    real = installed_comfyui()
    if real is None or find_installation(real) is None:
        pytest.skip("no ComfyUI is installed")
    if real.stat().st_dev != tmp_path.stat().st_dev:
        pytest.skip("temporary files are on another file system, where a copy takes 6 GB")
    directory = tmp_path / "comfyui"
    directory.mkdir()
    for name in ("source", "venv", "node-facts.json"):
        (directory / name).symlink_to(real / name)
    return directory


async def test_tries_installs_and_runs_packs(comfyui_dir: Path, tmp_path: Path) -> None:
    """One test, because a start takes half a minute."""
    make_wheel(
        tmp_path / "wheels",
        "inverter-maths",
        "1.0",
        requires=("torch>=2",),
        files={"inverter_maths.py": "def invert(image):\n    return 1.0 - image\n"},
    )
    requirements = "inverter-maths\n"
    make_pack(tmp_path / "inverter-pack", {"__init__.py": INVERTER, "requirements.txt": requirements})
    make_pack(tmp_path / "override-pack", {"__init__.py": OVERRIDE})
    lock, reporter = PackLock(), RecordingPackReporter()
    for name in ("inverter-pack", "override-pack"):
        added = await pin_pack(
            lock,
            PackAddress(str(tmp_path / name)),
            comfyui_dir=comfyui_dir,
            name=None,
            mirror=None,
            overrides={},
            on_output=lambda line: None,
        )
        lock = lock.with_pin(added.pin)

    def request(lock: PackLock) -> PackInstallRequest:
        return PackInstallRequest(
            comfyui_dir=comfyui_dir,
            lock=lock,
            packages=PackageSource(wheels=tmp_path / "wheels"),
            startup_seconds=STARTUP_SECONDS,
        )

    with pytest.raises(PacksRefused) as caught:
        await install_packs(request(lock), reporter)
    assert caught.value.problems == ("override-pack: replaces ComfyUI's own node KSampler",)
    assert "override-pack: ComfyUI's own nodes are used instead of its EmptyImage" in reporter.notes
    assert read_pack_record(comfyui_dir).packs == ()

    override = lock.find("override-pack")
    assert override is not None
    result = await install_packs(request(lock.without(override)), reporter)
    assert [(pack.name, pack.classes) for pack in result.record.packs] == [
        ("inverter-pack", ("PackInverter",))
    ]
    assert result.record.packages == ("inverter-maths==1.0",)
    assert load_installed_pack_facts(comfyui_dir)["PackInverter"]["output"] == ["IMAGE"]
    await _run_with_packs(comfyui_dir, tmp_path)


async def _run_with_packs(comfyui_dir: Path, tmp_path: Path) -> None:
    """Run a graph of the pack on an instance of a fleet; it cannot install anything meanwhile."""
    install = find_installation(comfyui_dir)
    assert install is not None
    fleet = LocalFleet.comfyui(
        install,
        directory=tmp_path / "instances",
        models_dir=tmp_path / "models",
        policy=RestartPolicy(startup_seconds=STARTUP_SECONDS),
        choose_packs=load_all_packs,
    )
    await fleet.start()
    try:
        await wait_until_ready(fleet, timeout_seconds=STARTUP_SECONDS)
        assert "PackInverter" in (fleet.node_facts("cpu-0") or {})
        result = await fleet.session("cpu-0").run_prompt(str(uuid.uuid4()), GRAPH)
        assert len([output for output in result.outputs if output.file is not None]) == 1
    finally:
        await fleet.stop()
    copy = tmp_path / "instances" / "cpu-0" / "custom_nodes" / "inverter-pack"
    attempts = (copy / "pip.log").read_text().split()
    assert len(attempts) >= 2
    assert "0" not in attempts
