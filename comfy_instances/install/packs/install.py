"""Installs the packs of the lock file as one set: all of them work together, or nothing changes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from comfy_instances.hardware.gpus import Gpu
from comfy_instances.install.commands import SubprocessFailed
from comfy_instances.install.git_checkout import read_head_commit
from comfy_instances.install.packs.environments import (
    check_environment,
    copy_environment,
    delete_all_but,
    install_packages,
    keep_one_of_each_family,
    list_distributions,
)
from comfy_instances.install.packs.errors import PackError, PacksRefused
from comfy_instances.install.packs.inspection import Finding, inspect_pack
from comfy_instances.install.packs.lock_file import PackLock, PackPin
from comfy_instances.install.packs.pack_facts import describe_pack, keep_earlier_facts, write_pack_facts
from comfy_instances.install.packs.repository import (
    FetchedPack,
    fetch_pack,
    mirrored_origin,
    verify_pinned,
)
from comfy_instances.install.packs.requirements import (
    RequirementLine,
    default_overrides,
    find_conflicts,
    read_requirements,
)
from comfy_instances.install.packs.resolver import PackageSource, Resolution, resolve_requirements
from comfy_instances.install.packs.trial import TrialResult, core_class_names, try_packs
from comfy_instances.process.installation import Installation, find_installation, venv_python
from comfy_instances.process.installed_packs import (
    ENVIRONMENTS_FOLDER,
    SOURCES_FOLDER,
    InstalledPack,
    PackRecord,
    environment_directory,
    facts_file,
    read_pack_record,
    write_pack_record,
)

#: How much longer a trial start may take for each pack, since ComfyUI imports one after the other.
SECONDS_PER_PACK = 5.0


class PackStep(StrEnum):
    """The steps of an installation, in order. The values are shown to the user."""

    FETCH = "Fetch the packs"
    RESOLVE = "Resolve their requirements"
    ENVIRONMENT = "Copy ComfyUI's environment"
    PACKAGES = "Install Python packages"
    TRIAL = "Start ComfyUI once with the packs and record their nodes"


class PackReporter(Protocol):
    """Receives the progress of an installation."""

    def on_step(self, step: PackStep) -> None:
        """`step` begins; the previous one is done."""

    def on_note(self, text: str) -> None:
        """Show what the user should know."""

    def on_output(self, line: str) -> None:
        """Show a line of output of git, pip or uv."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackInstallRequest:
    """Which packs to install, where, and from what."""

    comfyui_dir: Path
    lock: PackLock
    #: Folder or base URL with copies of the repositories; None for their own URLs.
    mirror: str | None = None
    packages: PackageSource = field(default_factory=PackageSource)
    gpus: tuple[Gpu, ...] = ()
    startup_seconds: float = 180.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PackPlan:
    """What an installation would do."""

    fetched: Mapping[str, FetchedPack]
    findings: Mapping[str, list[Finding]]
    resolution: Resolution


@dataclass(frozen=True, kw_only=True, slots=True)
class PackInstallResult:
    """The installed set."""

    record: PackRecord
    trial: TrialResult | None


async def plan_packs(request: PackInstallRequest, reporter: PackReporter) -> PackPlan:
    """Fetch the packs, read them, and resolve their requirements together; nothing of them is executed.

    Raises PackError; PacksRefused with every reason at once.
    """
    installation = require_installation(request.comfyui_dir)
    reporter.on_step(PackStep.FETCH)
    fetched = {pin.name: await _fetch(request, pin, reporter) for pin in request.lock.pins}
    findings = {name: inspect_pack(pack.directory) for name, pack in fetched.items()}
    for name, found in findings.items():
        for finding in found:
            reporter.on_note(f"{name} {finding}")
    reporter.on_step(PackStep.RESOLVE)
    lines = _read_all_requirements(request, fetched, reporter)
    held = await list_distributions(installation.python)
    problems = list(find_conflicts(lines, held, request.packages.allow_url))
    if problems:
        raise PacksRefused(problems)
    resolution = await resolve_requirements(
        installation.python, lines, held, request.packages, reporter.on_output
    )
    return PackPlan(fetched=fetched, findings=findings, resolution=resolution)


async def install_packs(request: PackInstallRequest, reporter: PackReporter) -> PackInstallResult:
    """Install exactly the packs of the lock file, replacing the installed set.

    The set is resolved, installed into a copy of ComfyUI's environment and started once before it is used;
    the earlier set stays in use if anything fails. Raises PackError.
    """
    try:
        return await _install(request, reporter)
    except (SubprocessFailed, OSError) as error:
        raise PackError(f"the packs are not installed: {error}") from error


async def try_installed(request: PackInstallRequest, installation: Installation) -> TrialResult:
    """Start the installed set once. Raises PackError."""
    seconds = request.startup_seconds + SECONDS_PER_PACK * len(installation.packs.packs)
    return await try_packs(installation, request.gpus, seconds, core_class_names(installation))


def require_installation(comfyui_dir: Path) -> Installation:
    """Return ComfyUI under `comfyui_dir`. Raises PackError if there is none."""
    installation = find_installation(comfyui_dir)
    if installation is None:
        raise PackError(
            f"ComfyUI is not installed in {comfyui_dir}: run `pixelfactory comfyui install` first"
        )
    return installation


async def _install(request: PackInstallRequest, reporter: PackReporter) -> PackInstallResult:
    directory, before = request.comfyui_dir, read_pack_record(request.comfyui_dir)
    if not request.lock.pins:
        record = PackRecord()
        _use_record(directory, request.lock, record, before)
        return PackInstallResult(record=record, trial=None)
    try:
        tried = await try_set(request, reporter)
        if tried.trial.problems:
            raise PacksRefused(tried.trial.problems)
        record = _with_classes(tried.record, tried.trial)
        _write_facts(directory, record, tried.trial)
        _use_record(directory, request.lock, record, before)
    except BaseException:
        # The earlier set is still recorded, and with it the environment that instances use.
        _delete_unused(directory, request.lock, before)
        raise
    return PackInstallResult(record=record, trial=tried.trial)


@dataclass(frozen=True, slots=True)
class TriedSet:
    """A set in an environment of its own, and what its start showed."""

    #: Without the classes.
    record: PackRecord
    trial: TrialResult


async def try_set(request: PackInstallRequest, reporter: PackReporter) -> TriedSet:
    """Make the environment of the packs of `request`, and start ComfyUI once with them.

    The caller uses or deletes the environment. Raises PackError, SubprocessFailed, OSError.
    """
    plan = await plan_packs(request, reporter)
    installation, id = require_installation(request.comfyui_dir), secrets.token_hex(6)
    environment = environment_directory(request.comfyui_dir, id)
    await _build_environment(installation, environment, plan.resolution, request, reporter)
    reporter.on_step(PackStep.TRIAL)
    record = await _describe(installation, request.lock, id)
    trial = await try_installed(request, replace(installation, packs=record))
    for note in trial.notes:
        reporter.on_note(note)
    return TriedSet(record, trial)


async def _fetch(request: PackInstallRequest, pin: PackPin, reporter: PackReporter) -> FetchedPack:
    origin = mirrored_origin(pin.url, request.mirror)
    fetched = await fetch_pack(request.comfyui_dir, pin.name, origin, pin.commit, reporter.on_output)
    await verify_pinned(pin, fetched)
    for note in fetched.notes:
        reporter.on_note(note)
    return fetched


def _read_all_requirements(
    request: PackInstallRequest, fetched: Mapping[str, FetchedPack], reporter: PackReporter
) -> list[RequirementLine]:
    shared = default_overrides(has_gpu=bool(request.gpus))
    lines: list[RequirementLine] = []
    for pin in request.lock.pins:
        found, notes = read_requirements(pin.name, fetched[pin.name].directory, shared, pin.overrides)
        lines += found
        for note in notes:
            reporter.on_note(note)
    return lines


async def _build_environment(
    installation: Installation,
    environment: Path,
    resolution: Resolution,
    request: PackInstallRequest,
    reporter: PackReporter,
) -> None:
    """Make the environment of the set. Raises PacksRefused, SubprocessFailed, OSError."""
    reporter.on_step(PackStep.ENVIRONMENT)
    held = await list_distributions(installation.python)
    await copy_environment(installation.directory / "venv", environment)
    reporter.on_step(PackStep.PACKAGES)
    python = venv_python(environment)
    await install_packages(python, resolution, request.packages, reporter.on_output)
    notes = await keep_one_of_each_family(
        python, request.packages, has_gpu=bool(request.gpus), on_output=reporter.on_output
    )
    for note in notes:
        reporter.on_note(note)
    await check_environment(python, installation.python, held)


async def _describe(installation: Installation, lock: PackLock, environment: str) -> PackRecord:
    """Return the record of the set, without the classes, which only the trial shows."""
    held = await list_distributions(installation.python)
    python = venv_python(environment_directory(installation.directory, environment))
    packages = await list_distributions(python)
    return PackRecord(
        environment=environment,
        comfyui_commit=await read_head_commit(installation.source) or "",
        comfyui_version=installation.version or "",
        installed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        packs=tuple(
            InstalledPack(
                name=pin.name,
                url=pin.url,
                ref=pin.ref,
                commit=pin.commit,
                tree=pin.tree,
                requirements_sha256=pin.requirements_sha256,
            )
            for pin in lock.pins
        ),
        packages=tuple(
            f"{name}=={version}" for name, version in sorted(packages.items()) if held.get(name) != version
        ),
    )


def _with_classes(record: PackRecord, trial: TrialResult) -> PackRecord:
    packs = (replace(pack, classes=tuple(sorted(trial.nodes[pack.name]))) for pack in record.packs)
    return replace(record, packs=tuple(packs))


def _write_facts(directory: Path, record: PackRecord, trial: TrialResult) -> None:
    for pack in record.packs:
        keep_earlier_facts(directory, pack)
        write_pack_facts(facts_file(directory, pack.name), describe_pack(pack, trial))


def _use_record(directory: Path, lock: PackLock, record: PackRecord, before: PackRecord) -> None:
    """Make a set the installed one. What the earlier set uses stays, for instances that run with it."""
    write_pack_record(directory, record)
    _delete_unused(directory, lock, record, before)
    names = {pack.name for pack in record.packs}
    for file in (facts_file(directory, pack.name) for pack in before.packs if pack.name not in names):
        file.unlink(missing_ok=True)


def _delete_unused(directory: Path, lock: PackLock, *records: PackRecord) -> None:
    """Delete the environments that none of the sets uses, and sources that the lock file has not either."""
    delete_all_but(directory / ENVIRONMENTS_FOLDER, [record.environment for record in records])
    used = [(pack.name, pack.commit) for record in records for pack in record.packs]
    used += [(pin.name, pin.commit) for pin in lock.pins]
    for folder in (directory / SOURCES_FOLDER).glob("*"):
        delete_all_but(folder, [commit[:12] for name, commit in used if name == folder.name])
