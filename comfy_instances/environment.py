"""ComfyUI's own Python environment: a venv, the pinned PyTorch, its requirements with PyTorch held."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from comfy_instances.commands import CommandFailed, Hear, run
from comfy_instances.installation import venv_python
from comfy_instances.lock import TorchPin

PIP = ("-m", "pip", "install", "--progress-bar", "off")
#: An index that is out of reach is given up quickly; there is another way.
IMPATIENT = ("--retries", "0", "--timeout", "20")


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


async def install_torch(venv: Path, pin: TorchPin, hear: Hear) -> bool:
    """Whether the pin's own index was used; otherwise the default one was. Raises CommandFailed."""
    command = [str(venv_python(venv)), *PIP]
    if pin.index is not None:
        try:
            await run([*command, *IMPATIENT, "--index-url", pin.index, *pin.packages], hear=hear)
            return True
        except CommandFailed:
            hear(f"{pin.index} does not answer, trying the default index")
    await run([*command, *pin.packages], hear=hear)
    return pin.index is None


async def install_requirements(venv: Path, requirements: Path, pin: TorchPin, hear: Hear) -> None:
    """All of `requirements`, which may not move PyTorch. Raises CommandFailed."""
    held = venv / "held.txt"
    held.write_text("".join(f"{package}\n" for package in pin.packages), "utf-8")
    await run([str(venv_python(venv)), *PIP, "-r", str(requirements), "-c", str(held)], hear=hear)
