"""The Python that can quantize: it has torch and comfy-kitchen."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from comfy_instances.process.installation import find_installation
from orchestrator.weights.errors import WeightError

PACKAGES = ("torch", "comfy_kitchen")


def find_quantizing_python(comfyui_dir: Path) -> Path:
    """Return this Python if it has the packages, else that of the installed ComfyUI. Raises WeightError."""
    if all(importlib.util.find_spec(package) is not None for package in PACKAGES):
        return Path(sys.executable)
    installation = find_installation(comfyui_dir)
    if installation is None:
        raise WeightError(
            f"quantizing needs PyTorch and comfy-kitchen, and no ComfyUI that has them is in {comfyui_dir}:"
            " run `pixelfactory comfyui install`, or set PIXELFACTORY_COMFYUI_DIR to one"
        )
    return installation.python
