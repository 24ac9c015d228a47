"""How far an installed ComfyUI is from the pinned one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_instances.installation import Install, find_install, requirements_digest
from comfy_instances.lock import Lock
from comfy_instances.source import changed_files, commit_of


@dataclass(frozen=True, slots=True)
class Status:
    """What is installed."""

    #: None: nothing that could be launched.
    install: Install | None
    #: The commit that is checked out; None where the source is no git checkout.
    commit: str | None
    #: What differs from the pin, one line each.
    drift: tuple[str, ...]


async def look_at(directory: Path, lock: Lock) -> Status:
    """The state of the installation under `directory`."""
    install = find_install(directory)
    if install is None:
        return Status(None, None, ("not installed",))
    commit = await commit_of(install.source)
    changed = await changed_files(install.source)
    return Status(install, commit, tuple(drift(install, lock, commit, changed)))


def drift(install: Install, lock: Lock, commit: str | None, changed: Sequence[str]) -> list[str]:
    """What differs from the pin, one line each; [] where nothing does."""
    record, found = install.record, []
    if install.version != lock.version:
        found.append(f"version {install.version} instead of {lock.version}")
    if commit is not None and commit != lock.commit:
        found.append(f"commit {commit} instead of {lock.commit}")
    if changed:
        found.append(f"changed by hand: {', '.join(changed[:5])}")
    requirements = requirements_digest(install.source)
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
