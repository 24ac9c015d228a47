"""ComfyUI's own Python environment: a venv, the pinned PyTorch, its requirements with PyTorch held."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from comfy_instances.commands import CommandFailed, Hear, run
from comfy_instances.installation import venv_python
from comfy_instances.lock import TorchPin

PIP = ("-m", "pip", "install", "--progress-bar", "off")


def torch_pin(choice: str, pins: Mapping[str, TorchPin]) -> TorchPin:
    """`cpu`, `cuda`, or one's own words: packages as pip takes them, and at most one index URL, as in
    `torch==2.12.0 torchvision==0.27.0 torchaudio==2.12.0 https://example.com/whl`. Raises ValueError."""
    if choice in pins:
        return pins[choice]
    words = choice.split()
    indices = [word for word in words if "://" in word]
    packages = tuple(word for word in words if "://" not in word)
    if len(indices) > 1 or not any(package.startswith("torch==") for package in packages):
        raise ValueError(
            f"expected {', '.join(sorted(pins))} or packages with torch==VERSION, not {choice!r}"
        )
    return TorchPin(packages, indices[0] if indices else None)


async def make_venv(venv: Path, hear: Hear) -> None:
    """A working Python with pip in `venv`, made anew if the one there does not run. Raises CommandFailed."""
    try:
        await run([str(venv_python(venv)), "-m", "pip", "--version"])
    except CommandFailed:
        await run([sys.executable, "-m", "venv", "--clear", str(venv)], hear=hear)


async def install_torch(venv: Path, pin: TorchPin, hear: Hear) -> None:
    """Raises CommandFailed."""
    index = ("--index-url", pin.index) if pin.index is not None else ()
    await run([str(venv_python(venv)), *PIP, *index, *pin.packages], hear=hear)


async def install_requirements(venv: Path, requirements: Path, pin: TorchPin, hear: Hear) -> None:
    """All of `requirements`, which may not move PyTorch. Raises CommandFailed."""
    held = venv / "held.txt"
    held.write_text("".join(f"{package}\n" for package in pin.packages), "utf-8")
    await run([str(venv_python(venv)), *PIP, "-r", str(requirements), "-c", str(held)], hear=hear)
