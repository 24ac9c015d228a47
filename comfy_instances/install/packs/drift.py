"""Compares the installed packs with the lock file, their sources, ComfyUI, and their repositories."""

from __future__ import annotations

from pathlib import Path

from comfy_instances.install.git_checkout import read_head_commit
from comfy_instances.install.packs.adding import moved_pin
from comfy_instances.install.packs.environments import list_distributions
from comfy_instances.install.packs.errors import PackError
from comfy_instances.install.packs.lock_file import PackLock, PackPin
from comfy_instances.install.packs.repository import list_changes, mirrored_origin, resolve_ref
from comfy_instances.process.installation import Installation, venv_python
from comfy_instances.process.installed_packs import (
    InstalledPack,
    PackRecord,
    environment_directory,
    source_directory,
)

INSTALL = "run `pixelfactory packs install`"


def compare_with_lock(lock: PackLock, record: PackRecord) -> dict[str, str]:
    """Return how the lock file and the installed set differ, by pack. Pure."""
    drift: dict[str, str] = {}
    for pin in lock.pins:
        installed = record.find(pin.name)
        if installed is None:
            drift[pin.name] = f"is not installed: {INSTALL}"
        elif installed.commit != pin.commit:
            drift[pin.name] = (
                f"is installed at {installed.commit[:12]} instead of {pin.commit[:12]}: {INSTALL}"
            )
    for pack in record.packs:
        if lock.find(pack.name) is None:
            drift[pack.name] = f"is installed, but not in the lock file: {INSTALL}"
    return drift


async def find_installed_drift(installation: Installation) -> list[str]:
    """Return how the installed set differs from what was installed, one line each."""
    record, directory = installation.packs, installation.directory
    if not record.packs:
        return []
    lines = [line for pack in record.packs for line in await _find_source_drift(directory, pack)]
    commit = await read_head_commit(installation.source)
    if record.comfyui_commit and commit != record.comfyui_commit:
        lines.append(
            f"ComfyUI is now at {str(commit)[:12]}; the packs were tried with {record.comfyui_commit[:12]}:"
            f" {INSTALL}"
        )
    return [*lines, *await _find_environment_drift(directory, record)]


async def find_moved_refs(lock: PackLock, mirror: str | None) -> list[str]:
    """Return which versions name another commit at their repository now, or cannot be read."""
    lines = []
    for pin in lock.pins:
        try:
            line = await _find_moved_ref(pin, mirror)
        except PackError as error:
            line = f"{pin.name}: {error}"
        if line is not None:
            lines.append(line)
    return lines


async def _find_moved_ref(pin: PackPin, mirror: str | None) -> str | None:
    commit = await resolve_ref(mirrored_origin(pin.url, mirror), pin.ref)
    return moved_pin(pin, commit) if commit != pin.commit else None


async def _find_source_drift(directory: Path, pack: InstalledPack) -> list[str]:
    changed = await list_changes(source_directory(directory, pack.name, pack.commit))
    return (
        [f"{pack.name}: changed files in its source: {', '.join(changed[:5])}: {INSTALL}"] if changed else []
    )


async def _find_environment_drift(directory: Path, record: PackRecord) -> list[str]:
    python = venv_python(environment_directory(directory, record.environment))
    if not python.exists():
        return [f"the Python environment of the packs is missing: {INSTALL}"]
    now = await list_distributions(python)
    wanted = dict(package.split("==", 1) for package in record.packages)
    wrong = [
        f"{name} {now.get(name, 'missing')}" for name, version in wanted.items() if now.get(name) != version
    ]
    return (
        [f"Python packages differ from what was installed: {', '.join(wrong[:5])}: {INSTALL}"]
        if wrong
        else []
    )
