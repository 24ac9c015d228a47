"""Pins packs in the lock file: resolves a version to a commit, fetches it, and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from comfy_instances.install.commands import OutputCallback, SubprocessFailed
from comfy_instances.install.packs.errors import PackError
from comfy_instances.install.packs.inspection import Finding, inspect_pack
from comfy_instances.install.packs.lock_file import PackLock, PackPin, check_pack_name
from comfy_instances.install.packs.repository import (
    FetchedPack,
    PackAddress,
    fetch_pack,
    mirrored_origin,
    resolve_ref,
)


@dataclass(frozen=True, slots=True)
class AddedPack:
    """A pin and what reading its source has shown."""

    pin: PackPin
    #: The pin that it replaces.
    before: PackPin | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


async def pin_pack(
    lock: PackLock,
    address: PackAddress,
    *,
    comfyui_dir: Path,
    name: str | None,
    mirror: str | None,
    overrides: Mapping[str, str],
    on_output: OutputCallback,
) -> AddedPack:
    """Return the pin of a pack at the commit that its version names now; nothing of it is executed.

    Raises PackError if the repository or the version does not exist, or if another pack has the name.
    """
    name = name or address.name
    check_pack_name(name)
    before = lock.find(name)
    if before is not None and before.url.casefold() != address.url.casefold():
        raise PackError(
            f"{name} is already the pack of {before.url}: remove it first, or choose another name with --name"
        )
    origin = mirrored_origin(address.url, mirror)
    try:
        commit = await resolve_ref(origin, address.ref)
        fetched = await fetch_pack(comfyui_dir, name, origin, commit, on_output)
    except SubprocessFailed as error:
        raise PackError(f"{name}: {error}") from error
    _check_is_pack(name, fetched)
    pin = PackPin(
        name=name,
        url=address.url,
        ref=address.ref,
        commit=commit,
        tree=fetched.tree,
        requirements_sha256=fetched.requirements_sha256,
        overrides={**(before.overrides if before else {}), **overrides},
    )
    return AddedPack(pin, before, tuple(inspect_pack(fetched.directory)), fetched.notes)


async def update_pin(
    lock: PackLock,
    pin: PackPin,
    *,
    ref: str | None,
    comfyui_dir: Path,
    mirror: str | None,
    on_output: OutputCallback,
) -> AddedPack:
    """Return the pin moved to what `ref`, or the version asked for before, names now. Raises PackError."""
    address = PackAddress(pin.url, ref or pin.ref)
    return await pin_pack(
        lock,
        address,
        comfyui_dir=comfyui_dir,
        name=pin.name,
        mirror=mirror,
        overrides={},
        on_output=on_output,
    )


def parse_overrides(values: list[str]) -> dict[str, str]:
    """Return `NAME=REQUIREMENT` texts as a mapping. Raises PackError."""
    overrides: dict[str, str] = {}
    for value in values:
        name, separator, requirement = value.partition("=")
        if not separator or not name.strip():
            raise PackError(f"--override must be NAME=REQUIREMENT, or NAME= to leave it out (got {value!r})")
        overrides[name.strip()] = requirement.strip()
    return overrides


def _check_is_pack(name: str, fetched: FetchedPack) -> None:
    if not (fetched.directory / "__init__.py").is_file():
        raise PackError(f"{name} is no node pack of ComfyUI: {fetched.commit} has no __init__.py")


def moved_pin(pin: PackPin, commit: str) -> str:
    """Return the text for a version that names another commit than the lock file."""
    return (
        f"{pin.name}: {pin.ref} of {pin.url} is now {commit[:12]}, the lock file has {pin.commit[:12]}:"
        f" `pixelfactory packs update {pin.name}` takes it"
    )


def with_added(lock: PackLock, added: AddedPack) -> PackLock:
    """Return the lock with the added pin."""
    return lock.with_pin(replace(added.pin))
