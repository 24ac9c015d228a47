"""Compares an installed ComfyUI with the pinned one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.install.git_checkout import list_changed_files, read_head_commit
from comfy_instances.install.lock import ComfyUILock
from comfy_instances.process.installation import Installation, find_installation, hash_requirements


@dataclass(frozen=True, slots=True)
class InstallationStatus:
    """The installation and its differences from the pin."""

    #: None if nothing that can be launched is installed.
    installation: Installation | None
    #: The commit that is checked out; None if the source is no git checkout.
    commit: str | None
    #: Differences from the pin, one line each.
    drift: tuple[str, ...]


async def check_installation(directory: Path, lock: ComfyUILock) -> InstallationStatus:
    """Return the status of the installation under `directory`."""
    install = find_installation(directory)
    if install is None:
        return InstallationStatus(None, None, ("not installed",))
    commit = await read_head_commit(install.source)
    changed = await list_changed_files(install.source)
    return InstallationStatus(install, commit, tuple(find_drift(install, lock, commit, changed)))


def find_drift(
    installation: Installation, lock: ComfyUILock, commit: str | None, changed: Sequence[str]
) -> list[str]:
    """Return the differences from the pin, one line each. Pure but for reading requirements.txt."""
    record, found = installation.record, []
    if installation.version != lock.version:
        found.append(f"version {installation.version} instead of {lock.version}")
    if commit is not None and commit != lock.commit:
        found.append(f"commit {commit} instead of {lock.commit}")
    if changed:
        found.append(f"changed files: {', '.join(changed[:5])}")
    requirements = hash_requirements(installation.source)
    if requirements != lock.requirements_sha256:
        found.append("requirements.txt differs from the pinned one")
    if not record:
        return [*found, "no install record: the installation was interrupted or made by hand"]
    if record.get("requirements_sha256") != requirements:
        found.append("requirements.txt has changed since the installation")
    pins = [pin.packages for pin in lock.torch.values()]
    if tuple(record.get("torch", ())) not in pins:
        found.append(f"PyTorch {', '.join(record.get('torch', ()))} instead of {', '.join(pins[0])}")
    return [*found, *(f"missing file {path}" for path in record.get("lacks", ()))]
