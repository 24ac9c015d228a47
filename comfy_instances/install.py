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

from comfy_instances.commands import CommandFailed
from comfy_instances.environment import install_requirements, install_torch, make_venv, torch_pin
from comfy_instances.fleet import FleetError
from comfy_instances.gpus import Gpu
from comfy_instances.installation import Install, find_install, requirements_digest, write_record
from comfy_instances.lock import Lock, TorchPin
from comfy_instances.node_facts import record
from comfy_instances.source import Checkout, SourceError, check_out
from comfy_instances.trial import Trial, try_out


class InstallError(Exception):
    """The installation can not go on; the text says why and what to do."""


class Step(StrEnum):
    SOURCE = "Fetch ComfyUI's source"
    ENVIRONMENT = "Make its Python environment"
    TORCH = "Install PyTorch"
    REQUIREMENTS = "Install its requirements"
    NODE_PACKS = "Link node packs"
    TRIAL = "Start it once and record its nodes"


class Reporter(Protocol):
    """Who shows the progress."""

    def step(self, step: Step) -> None:
        """`step` begins; the one before is done."""

    def note(self, text: str) -> None:
        """A line that stays: a warning, or what was done."""

    def output(self, line: str) -> None:
        """What git or pip prints meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
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
class Outcome:
    """What there is now."""

    install: Install
    trial: Trial
    #: Files that the source lacks; models that read them will fail.
    lacks: tuple[str, ...] = field(default=())


async def install_comfyui(wish: Wish, lock: Lock, reporter: Reporter) -> Outcome:
    """Raises InstallError; what was done until then is kept and found again by the next try."""
    try:
        pin = torch_pin(wish.torch, lock.torch)
        checkout = await _fetch(wish, lock, reporter)
        await _fill_environment(wish.directory, pin, reporter)
        reporter.step(Step.NODE_PACKS)
        link_packs(wish.directory / "custom_nodes", wish.node_packs)
        reporter.step(Step.TRIAL)
        install = find_install(wish.directory)
        if install is None:
            raise InstallError(f"{wish.ref or lock.tag} is not a ComfyUI: it has no main.py")
        trial = await try_out(install, wish.gpus, wish.startup_seconds)
        facts = json.dumps(record(trial.object_info), separators=(",", ":"))
        (wish.directory / "node-facts.json").write_text(facts, "utf-8")
        write_record(wish.directory, _record(wish, lock, pin, checkout, trial))
    except (SourceError, CommandFailed, FleetError, ValueError, OSError) as error:
        raise InstallError(str(error)) from error
    finished = find_install(wish.directory)
    assert finished is not None
    return Outcome(install=finished, trial=trial, lacks=checkout.lacks)


def link_packs(directory: Path, packs: Sequence[Path]) -> None:
    """Have links to `packs` in `directory`, whatever their names linked to before. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for pack in packs:
        link = directory / pack.name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(pack.resolve(strict=True))


async def _fetch(wish: Wish, lock: Lock, reporter: Reporter) -> Checkout:
    reporter.step(Step.SOURCE)
    checkout = await check_out(
        wish.directory / "source",
        origin=wish.origin or lock.url,
        ref=wish.ref or lock.commit,
        may_lack=lock.may_lack,
        hear=reporter.output,
    )
    if checkout.commit != lock.commit:
        reporter.note(f"{checkout.commit} is not the tested commit, which is {lock.commit} ({lock.tag})")
    if checkout.lacks:
        reporter.note(
            f"the source lacks {', '.join(checkout.lacks)}: all else works, models that read them fail"
        )
    return checkout


async def _fill_environment(directory: Path, pin: TorchPin, reporter: Reporter) -> None:
    venv = directory / "venv"
    reporter.step(Step.ENVIRONMENT)
    await make_venv(venv, reporter.output)
    reporter.step(Step.TORCH)
    await install_torch(venv, pin, reporter.output)
    reporter.step(Step.REQUIREMENTS)
    await install_requirements(venv, directory / "source" / "requirements.txt", pin, reporter.output)


def _record(wish: Wish, lock: Lock, pin: TorchPin, checkout: Checkout, trial: Trial) -> dict[str, Any]:
    return {
        "commit": checkout.commit,
        "origin": wish.origin or lock.url,
        "lacks": checkout.lacks,
        "torch": pin.packages,
        "requirements_sha256": requirements_digest(wish.directory / "source"),
        "installed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trial": {"version": trial.version, "device": trial.device, "nodes": len(trial.object_info)},
    }
