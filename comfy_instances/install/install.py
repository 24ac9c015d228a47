"""Installs the pinned ComfyUI: source, Python environment, node packs, and a smoke test.

Every step checks what exists and does what is missing, so that an interrupted or repeated installation
continues where it stopped. ComfyUI has its own directory and environment, separate from ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from comfy_instances.fleet.protocol import FleetError
from comfy_instances.hardware.gpus import Gpu
from comfy_instances.install.commands import SubprocessFailed
from comfy_instances.install.environment import (
    ensure_venv,
    install_optional_requirements,
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
    read_install_record,
    write_install_record,
)
from comfy_instances.protocol.node_facts import extract_node_facts


class InstallError(Exception):
    """The installation failed; the text says why and what to do."""


class InstallStep(StrEnum):
    """The steps of an installation, in order. The values are shown to the user."""

    SOURCE = "Fetch ComfyUI's source"
    ENVIRONMENT = "Create its Python environment"
    TORCH = "Install PyTorch"
    REQUIREMENTS = "Install its requirements"
    NODE_PACKS = "Link node packs"
    SMOKE_TEST = "Start it once as a test and record its nodes"


class InstallReporter(Protocol):
    """Receives the progress of an installation."""

    def on_step(self, step: InstallStep) -> None:
        """`step` begins; the previous one is done."""

    def on_note(self, text: str) -> None:
        """Show a warning or a result that the user should see."""

    def on_output(self, line: str) -> None:
        """Show a line of output of git or pip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallRequest:
    """What to install, and where."""

    directory: Path
    #: A commit, tag or branch; None for the pinned commit.
    ref: str | None = None
    #: URL or path of a repository; None for the upstream repository.
    origin: str | None = None
    #: `cpu`, `cuda`, or packages and an index URL.
    torch: str = "cuda"
    #: Folders of the node packs to link.
    node_packs: tuple[Path, ...] = ()
    #: The smoke test runs on the first of these, or on the CPU.
    gpus: tuple[Gpu, ...] = ()
    startup_seconds: float = 180.0


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallResult:
    """The finished installation."""

    installation: Installation
    smoke_test: SmokeTestResult
    #: Files that the source does not have; models that read them will fail.
    missing_files: tuple[str, ...] = field(default=())


async def install_comfyui(
    request: InstallRequest, lock: ComfyUILock, reporter: InstallReporter
) -> InstallResult:
    """Install ComfyUI. Raises InstallError; finished steps are kept and skipped by the next attempt."""
    try:
        pin = select_torch_pin(request.torch, lock.torch)
        checkout = await _fetch_source(request, lock, reporter)
        await _install_environment(request.directory, pin, reporter)
        reporter.on_step(InstallStep.NODE_PACKS)
        link_node_packs(request.directory / "custom_nodes", request.node_packs)
        await _install_pack_requirements(request, reporter)
        reporter.on_step(InstallStep.SMOKE_TEST)
        installation = find_installation(request.directory)
        if installation is None:
            raise InstallError(f"{request.ref or lock.tag} is not a ComfyUI: it has no main.py")
        smoke_test = await run_smoke_test(installation, request.gpus, request.startup_seconds)
        facts = json.dumps(extract_node_facts(smoke_test.object_info), separators=(",", ":"))
        (request.directory / "node-facts.json").write_text(facts, "utf-8")
        record = _build_install_record(request, lock, pin, checkout, smoke_test)
        write_install_record(request.directory, record)
    except (CheckoutError, SubprocessFailed, FleetError, ValueError, OSError) as error:
        raise InstallError(str(error)) from error
    return InstallResult(
        installation=replace(installation, record=read_install_record(request.directory)),
        smoke_test=smoke_test,
        missing_files=checkout.missing_files,
    )


def link_node_packs(directory: Path, packs: Sequence[Path]) -> None:
    """Create links to `packs` in `directory`, replacing links of the same names. Raises OSError."""
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
        reporter.on_note(f"{checkout.commit} is not the tested commit {lock.commit} ({lock.tag})")
    if checkout.missing_files:
        missing = ", ".join(checkout.missing_files)
        reporter.on_note(f"the source has no {missing}: models that read these files fail, all others work")
    return checkout


async def _install_environment(directory: Path, pin: TorchPin, reporter: InstallReporter) -> None:
    venv = directory / "venv"
    reporter.on_step(InstallStep.ENVIRONMENT)
    await ensure_venv(venv, reporter.on_output)
    reporter.on_step(InstallStep.TORCH)
    await install_torch(venv, pin, reporter.on_output)
    reporter.on_step(InstallStep.REQUIREMENTS)
    await install_requirements(venv, directory / "source" / "requirements.txt", pin, reporter.on_output)


async def _install_pack_requirements(request: InstallRequest, reporter: InstallReporter) -> None:
    """Install what our packs use to be faster. They work without it."""
    for pack in request.node_packs:
        requirements = pack / "requirements.txt"
        if not requirements.is_file():
            continue
        try:
            await install_optional_requirements(request.directory / "venv", requirements, reporter.on_output)
        except SubprocessFailed as error:
            reporter.on_note(f"{pack.name} works more slowly without {requirements}: {error}")


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
