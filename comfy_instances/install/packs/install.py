"""Installs the packs of the lock file as one set: all of them work together, or nothing changes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

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
from comfy_instances.install.packs.weight_folders import FILE_FOLDERS_KEY, INPUT_FOLDER, LINK_TYPES_KEY
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
from comfy_instances.protocol.node_facts import extract_node_facts


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
    plan = await plan_packs(request, reporter)
    installation = require_installation(directory)
    id = secrets.token_hex(6)
    environment = environment_directory(directory, id)
    try:
        await _build_environment(installation, environment, plan.resolution, request, reporter)
        reporter.on_step(PackStep.TRIAL)
        record = await _describe(installation, request.lock, id)
        trial = await try_installed(request, replace(installation, packs=record))
        for note in trial.notes:
            reporter.on_note(note)
        if trial.problems:
            raise PacksRefused(trial.problems)
        record = _with_classes(record, trial)
        _write_facts(directory, record, trial)
        _use_record(directory, request.lock, record, before)
    except BaseException:
        # The earlier set is still recorded, and with it the environment that instances use.
        _delete_unused(directory, request.lock, before)
        raise
    return PackInstallResult(record=record, trial=trial)


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
        content: dict[str, Any] = {
            "pack": pack.name,
            "url": pack.url,
            "commit": pack.commit,
            "comfyui_version": trial.version,
            "nodes": _with_link_types(
                _with_folders(
                    _without_file_lists(extract_node_facts(trial.nodes[pack.name])), trial.file_folders
                ),
                trial.link_types,
            ),
        }
        file = facts_file(directory, pack.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(content, separators=(",", ":")), "utf-8")
        partial.replace(file)


def _without_file_lists(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts whose empty choices are open: they list files of folders that the trial leaves empty."""
    return {
        name: {
            **facts,
            "input": {
                section: {key: _open_choice(spec) for key, spec in inputs.items()}
                for section, inputs in facts["input"].items()
            },
        }
        for name, facts in nodes.items()
    }


def _with_link_types(nodes: dict[str, Any], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return facts with the types that links may have besides those of `/object_info`."""
    return {
        name: {**facts, LINK_TYPES_KEY: found[name]} if name in found else facts
        for name, facts in nodes.items()
    }


def _with_folders(
    nodes: Mapping[str, Any], folders: Mapping[str, Mapping[str, Sequence[str]]]
) -> dict[str, Any]:
    """Return facts with the folders of the inputs that name weights.

    The choices of all inputs that list files are open, also those with a fixed one such as `None`.
    """
    return {name: _describe_files(facts, folders.get(name, {})) for name, facts in nodes.items()}


def _describe_files(facts: Mapping[str, Any], folders: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    if not folders:
        return dict(facts)
    inputs = {
        section: {
            key: ["COMBO", *_file_options(spec)] if key in folders else spec for key, spec in specs.items()
        }
        for section, specs in facts["input"].items()
    }
    weights = {key: [*found] for key, found in folders.items() if INPUT_FOLDER not in found}
    return {**facts, "input": inputs} | ({FILE_FOLDERS_KEY: weights} if weights else {})


def _file_options(spec: list[Any]) -> list[Any]:
    """Return the options of an input without its choices."""
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    kept = {key: value for key, value in options.items() if key not in ("options", "default")}
    return [kept] if kept else []


def _open_choice(spec: Any) -> Any:
    return ["COMBO", *spec[1:]] if isinstance(spec, list) and spec and spec[0] == [] else spec


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
