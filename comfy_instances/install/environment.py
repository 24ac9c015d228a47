"""ComfyUI's own Python environment: a venv, the pinned PyTorch, its requirements with PyTorch held."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from comfy_instances.install.commands import OutputCallback, SubprocessFailed, run_command
from comfy_instances.install.lock import TorchPin
from comfy_instances.process.installation import venv_python

PIP_INSTALL = ("-m", "pip", "install", "--progress-bar", "off")


def select_torch_pin(choice: str, pins: Mapping[str, TorchPin]) -> TorchPin:
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


async def ensure_venv(venv: Path, on_output: OutputCallback) -> None:
    """A working Python with pip in `venv`, made anew if the one there does not run. Raises CommandFailed."""
    try:
        await run_command([str(venv_python(venv)), "-m", "pip", "--version"])
    except SubprocessFailed:
        await run_command([sys.executable, "-m", "venv", "--clear", str(venv)], on_output=on_output)


async def install_torch(venv: Path, pin: TorchPin, on_output: OutputCallback) -> None:
    """Raises CommandFailed."""
    index = ("--index-url", pin.index_url) if pin.index_url is not None else ()
    await run_command([str(venv_python(venv)), *PIP_INSTALL, *index, *pin.packages], on_output=on_output)


async def install_requirements(
    venv: Path, requirements: Path, pin: TorchPin, on_output: OutputCallback
) -> None:
    """All of `requirements`, which may not move PyTorch. Raises CommandFailed."""
    held = venv / "held.txt"
    held.write_text("".join(f"{package}\n" for package in pin.packages), "utf-8")
    await run_command(
        [str(venv_python(venv)), *PIP_INSTALL, "-r", str(requirements), "-c", str(held)], on_output=on_output
    )
