"""Installs the pinned ComfyUI beside us: source, environment, node packs, and a trial start.

Every step looks at what is there and does what is missing, so that an interrupted or repeated install goes on
where it was. Nothing of ComfyUI's ever enters our own tree or environment.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from comfy_instances.fleet.protocol import FleetError
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.install.commands import SubprocessFailed
from comfy_instances.install.environment import (
    ensure_venv,
    install_requirements,
    install_torch,
    select_torch_pin,
)
from comfy_instances.install.git_checkout import Checkout, CheckoutError, checkout_source
from comfy_instances.install.lock import ComfyUILock, TorchPin
from comfy_instances.install.smoke_test import SmokeTestResult, run_smoke_test
from comfy_instances.process.installation import (
    Installation,
    find_installation,
    hash_requirements,
    write_install_record,
)
from comfy_instances.protocol.node_facts import extract_node_facts


class InstallError(Exception):
    """The installation can not go on; the text says why and what to do."""


class InstallStep(StrEnum):
    SOURCE = "Fetch ComfyUI's source"
    ENVIRONMENT = "Make its Python environment"
    TORCH = "Install PyTorch"
    REQUIREMENTS = "Install its requirements"
    NODE_PACKS = "Link node packs"
    SMOKE_TEST = "Start it once and record its nodes"


class InstallReporter(Protocol):
    """Who shows the progress."""

    def on_step(self, step: InstallStep) -> None:
        """`step` begins; the one before is done."""

    def on_note(self, text: str) -> None:
        """A line that stays: a warning, or what was done."""

    def on_output(self, line: str) -> None:
        """What git or pip prints meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallRequest:
    """What to install where."""

    directory: Path
    #: A commit, tag or branch; None: the pinned commit.
    ref: str | None = None
    #: URL or path of a repository; None: upstream's.
    origin: str | None = None
    #: `cpu`, `cuda`, or packages and an index URL.
    torch: str = "cuda"
    #: Folders of node packs to link.
    node_packs: tuple[Path, ...] = ()
    #: The trial runs on the first of them, or on the CPU.
    gpus: tuple[Gpu, ...] = ()
    startup_seconds: float = 180.0


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallResult:
    """What there is now."""

    installation: Installation
    smoke_test: SmokeTestResult
    #: Files that the source lacks; models that read them will fail.
    missing_files: tuple[str, ...] = field(default=())


async def install_comfyui(
    request: InstallRequest, lock: ComfyUILock, reporter: InstallReporter
) -> InstallResult:
    """Raises InstallError; what was done until then is kept and found again by the next try."""
    try:
        pin = select_torch_pin(request.torch, lock.torch)
        checkout = await _fetch_source(request, lock, reporter)
        await _install_environment(request.directory, pin, reporter)
        reporter.on_step(InstallStep.NODE_PACKS)
        link_node_packs(request.directory / "custom_nodes", request.node_packs)
        reporter.on_step(InstallStep.SMOKE_TEST)
        install = find_installation(request.directory)
        if install is None:
            raise InstallError(f"{request.ref or lock.tag} is not a ComfyUI: it has no main.py")
        trial = await run_smoke_test(install, request.gpus, request.startup_seconds)
        facts = json.dumps(extract_node_facts(trial.object_info), separators=(",", ":"))
        (request.directory / "node-facts.json").write_text(facts, "utf-8")
        write_install_record(request.directory, _build_install_record(request, lock, pin, checkout, trial))
    except (CheckoutError, SubprocessFailed, FleetError, ValueError, OSError) as error:
        raise InstallError(str(error)) from error
    finished = find_installation(request.directory)
    assert finished is not None
    return InstallResult(installation=finished, smoke_test=trial, missing_files=checkout.missing_files)


def link_node_packs(directory: Path, packs: Sequence[Path]) -> None:
    """Have links to `packs` in `directory`, whatever their names linked to before. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for pack in packs:
        link = directory / pack.name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(pack.resolve(strict=True))


async def _fetch_source(request: InstallRequest, lock: ComfyUILock, reporter: InstallReporter) -> Checkout:
    reporter.on_step(InstallStep.SOURCE)
    checkout = await checkout_source(
        request.directory / "source",
        origin=request.origin or lock.url,
        ref=request.ref or lock.commit,
        may_lack=lock.may_lack,
        on_output=reporter.on_output,
    )
    if checkout.commit != lock.commit:
        reporter.on_note(f"{checkout.commit} is not the tested commit, which is {lock.commit} ({lock.tag})")
    if checkout.missing_files:
        missing = ", ".join(checkout.missing_files)
        reporter.on_note(f"the source lacks {missing}: all else works, models that read them fail")
    return checkout


async def _install_environment(directory: Path, pin: TorchPin, reporter: InstallReporter) -> None:
    venv = directory / "venv"
    reporter.on_step(InstallStep.ENVIRONMENT)
    await ensure_venv(venv, reporter.on_output)
    reporter.on_step(InstallStep.TORCH)
    await install_torch(venv, pin, reporter.on_output)
    reporter.on_step(InstallStep.REQUIREMENTS)
    await install_requirements(venv, directory / "source" / "requirements.txt", pin, reporter.on_output)


def _build_install_record(
    request: InstallRequest, lock: ComfyUILock, pin: TorchPin, checkout: Checkout, smoke_test: SmokeTestResult
) -> dict[str, Any]:
    return {
        "commit": checkout.commit,
        "origin": request.origin or lock.url,
        "lacks": checkout.missing_files,
        "torch": pin.packages,
        "requirements_sha256": hash_requirements(request.directory / "source"),
        "installed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trial": {
            "version": smoke_test.version,
            "device": smoke_test.device,
            "nodes": len(smoke_test.object_info),
        },
    }
