"""What we pin, against the ComfyUI that is installed here."""

from __future__ import annotations

import subprocess

import pytest

from comfy_instances.hardware.profiles import GpuProfile, load_gpu_profiles
from comfy_instances.install.lock import load_comfyui_lock
from comfy_instances.process.installation import Installation, find_installation, hash_requirements
from comfy_instances.process.launch import COMFYUI_FLAGS
from tests.support.comfyui_server import installed_comfyui

pytestmark = pytest.mark.comfyui

#: Reads a command line as ComfyUI does, without starting it or loading PyTorch.
PARSE = "import comfy.options as o; o.enable_args_parsing(); import comfy.cli_args"


@pytest.fixture(scope="module")
def install() -> Installation:
    directory = installed_comfyui()
    found = find_installation(directory) if directory is not None else None
    if found is None:
        pytest.skip("ComfyUI is not installed")
    return found


@pytest.mark.parametrize("profile", load_gpu_profiles(), ids=lambda profile: profile.name)
def test_the_pinned_comfyui_knows_all_flags(install: Installation, profile: GpuProfile) -> None:
    parsed = parse(install, *COMFYUI_FLAGS, *profile.flags)
    assert parsed.returncode == 0, parsed.stderr


def test_it_refuses_others(install: Installation) -> None:
    assert parse(install, "--fast", "warp_drive").returncode == 2
    assert parse(install, "--no-such-flag").returncode == 2


def test_it_is_the_pinned_one(install: Installation) -> None:
    lock = load_comfyui_lock()
    assert install.version == lock.version
    assert hash_requirements(install.source) == lock.requirements_sha256


def test_its_environment_has_the_pinned_torch(install: Installation) -> None:
    """Local version labels (`+cu130`) say for which machine, not which version."""
    pinned = {package for pin in load_comfyui_lock().torch.values() for package in pin.packages}
    names = [package.split("==")[0] for package in pinned]
    script = "import importlib.metadata as m, sys; [print(n + '==' + m.version(n)) for n in sys.argv[1:]]"
    out = subprocess.run(
        [str(install.python), "-c", script, *names], capture_output=True, text=True, check=True
    ).stdout
    assert {line.split("+")[0] for line in out.splitlines()} == pinned


def parse(install: Installation, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(install.python), "-c", PARSE, *flags]
    return subprocess.run(command, cwd=install.source, capture_output=True, text=True, check=False)
