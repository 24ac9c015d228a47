"""Becomes the ComfyUI of this image, on the first GPU, at port 8188 of all addresses: a server to adopt.

A scheduler names it in PIXELFACTORY_INSTANCES. ComfyUI has no authentication: only schedulers may reach the
port. On a Ray cluster this program is not used: Ray's agents start ComfyUI themselves, behind a proxy that
asks for a token.
"""

from __future__ import annotations

import os
from pathlib import Path

from comfy_instances.fleet.supervisor import prepare_directories
from comfy_instances.hardware.gpus import discover_gpus
from comfy_instances.hardware.profiles import load_gpu_profiles, select_gpu_profile
from comfy_instances.process.child import child_environment
from comfy_instances.process.installation import find_installation
from comfy_instances.process.launch import build_comfyui_command, gpu_visibility_env

PORT = os.environ.get("COMFYUI_PORT", "8188")
HOME = Path(os.environ.get("COMFYUI_BASE_DIRECTORY", "/var/lib/pixelfactory/comfyui"))
COMFYUI_DIR = Path(os.environ.get("PIXELFACTORY_COMFYUI_DIR", "/opt/comfyui"))
MODELS_DIR = Path(os.environ.get("PIXELFACTORY_MODELS_DIR", "/var/lib/pixelfactory/models"))


def main() -> None:
    """Replace this process by ComfyUI."""
    installation = find_installation(COMFYUI_DIR)
    if installation is None:
        raise SystemExit(f"no ComfyUI in {COMFYUI_DIR}: run `pixelfactory comfyui install`")
    gpu = next(iter(discover_gpus()), None)
    MODELS_DIR.mkdir(parents=True, exist_ok=True)
    prepare_directories(HOME, installation.node_packs)
    command = build_comfyui_command(installation, MODELS_DIR, select_gpu_profile(gpu, load_gpu_profiles()))
    # `--listen` is given again: the last one counts.
    options = ("--listen", "0.0.0.0", "--port", PORT, "--base-directory", str(HOME))
    os.chdir(HOME)
    os.execve(command[0], [*command, *options], child_environment(**gpu_visibility_env(gpu)))


if __name__ == "__main__":
    main()
