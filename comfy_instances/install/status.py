"""How far an installed ComfyUI is from the pinned one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.install.git_checkout import list_changed_files, read_head_commit
from comfy_instances.install.lock import ComfyUILock
from comfy_instances.process.installation import Installation, find_installation, hash_requirements


@dataclass(frozen=True, slots=True)
class InstallationStatus:
    """What is installed."""

    #: None: nothing that could be launched.
    installation: Installation | None
    #: The commit that is checked out; None where the source is no git checkout.
    commit: str | None
    #: What differs from the pin, one line each.
    drift: tuple[str, ...]


async def check_installation(directory: Path, lock: ComfyUILock) -> InstallationStatus:
    """The state of the installation under `directory`."""
    install = find_installation(directory)
    if install is None:
        return InstallationStatus(None, None, ("not installed",))
    commit = await read_head_commit(install.source)
    changed = await list_changed_files(install.source)
    return InstallationStatus(install, commit, tuple(find_drift(install, lock, commit, changed)))


def find_drift(
    installation: Installation, lock: ComfyUILock, commit: str | None, changed: Sequence[str]
) -> list[str]:
    """What differs from the pin, one line each; [] where nothing does."""
    record, found = installation.record, []
    if installation.version != lock.version:
        found.append(f"version {installation.version} instead of {lock.version}")
    if commit is not None and commit != lock.commit:
        found.append(f"commit {commit} instead of {lock.commit}")
    if changed:
        found.append(f"changed by hand: {', '.join(changed[:5])}")
    requirements = hash_requirements(installation.source)
    if requirements != lock.requirements_sha256:
        found.append("its requirements.txt is not the pinned one")
    if not record:
        return [*found, "no record of its installation: it was interrupted, or put there in another way"]
    if record.get("requirements_sha256") != requirements:
        found.append("its requirements.txt has changed since it was installed")
    pins = [pin.packages for pin in lock.torch.values()]
    if tuple(record.get("torch", ())) not in pins:
        found.append(f"PyTorch {', '.join(record.get('torch', ()))} instead of {', '.join(pins[0])}")
    return [*found, *(f"lacks {path}" for path in record.get("lacks", ()))]
