"""Creates ComfyUI's Python environment: a venv, the pinned PyTorch, and ComfyUI's requirements."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from comfy_instances.install.commands import OutputCallback, SubprocessFailed, run_command
from comfy_instances.install.lock import TorchPin
from comfy_instances.process.installation import venv_python

PIP_INSTALL = ("-m", "pip", "install", "--progress-bar", "off")


def select_torch_pin(choice: str, pins: Mapping[str, TorchPin]) -> TorchPin:
    """Return the PyTorch packages for `choice`: `cpu`, `cuda`, or a list of pip requirements.

    A list needs `torch==VERSION` and may contain one index URL, as in
    `torch==2.12.0 torchvision==0.27.0 torchaudio==2.12.0 https://example.com/whl`. Raises ValueError.
    """
    if choice in pins:
        return pins[choice]
    words = choice.split()
    indices = [word for word in words if "://" in word]
    packages = tuple(word for word in words if "://" not in word)
    if len(indices) > 1 or not any(package.startswith("torch==") for package in packages):
        raise ValueError(
            f"PyTorch must be {', '.join(sorted(pins))}, or packages with torch==VERSION and at most one "
            f"index URL (got {choice!r})"
        )
    return TorchPin(packages, indices[0] if indices else None)


async def ensure_venv(venv: Path, on_output: OutputCallback) -> None:
    """Create `venv` with Python and pip, unless it already works. Raises SubprocessFailed."""
    try:
        await run_command([str(venv_python(venv)), "-m", "pip", "--version"])
    except SubprocessFailed:
        await run_command([sys.executable, "-m", "venv", "--clear", str(venv)], on_output=on_output)


async def install_torch(venv: Path, pin: TorchPin, on_output: OutputCallback) -> None:
    """Install the pinned PyTorch packages. Raises SubprocessFailed."""
    index = ("--index-url", pin.index_url) if pin.index_url is not None else ()
    await run_command([str(venv_python(venv)), *PIP_INSTALL, *index, *pin.packages], on_output=on_output)


async def install_optional_requirements(venv: Path, requirements: Path, on_output: OutputCallback) -> None:
    """Install what a node pack of ours uses if it is there, as wheels that change no other package.

    Raises SubprocessFailed.
    """
    await run_command(
        [
            str(venv_python(venv)),
            *PIP_INSTALL,
            *("--only-binary", ":all:", "--no-deps", "-r", str(requirements)),
        ],
        on_output=on_output,
    )


async def install_requirements(
    venv: Path, requirements: Path, pin: TorchPin, on_output: OutputCallback
) -> None:
    """Install `requirements` without changing the PyTorch packages. Raises SubprocessFailed."""
    constraints = venv / "constraints.txt"
    constraints.write_text("".join(f"{package}\n" for package in pin.packages), "utf-8")
    await run_command(
        [str(venv_python(venv)), *PIP_INSTALL, "-r", str(requirements), "-c", str(constraints)],
        on_output=on_output,
    )
