"""Reads and writes `packs.lock.toml`: the node packs that an operator wants, each pinned to a commit."""

from __future__ import annotations

import fcntl
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import tomli_w

from comfy_instances.install.packs.errors import PackError

LOCK_FILE_NAME = "packs.lock.toml"
HEADER = "# Node packs of ComfyUI, written by `pixelfactory packs`.\n\n"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PackPin:
    """One wanted pack."""

    #: Name of its folder, which is that of its repository.
    name: str
    url: str
    #: Branch, tag or commit that was asked for; `HEAD` for the default branch.
    ref: str
    commit: str
    #: Git's hash of the commit's files.
    tree: str
    #: SHA-256 of requirements.txt; empty if there is none.
    requirements_sha256: str = ""
    #: Replacements of requirements, by the name of the Python package; an empty text leaves it out.
    overrides: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PackLock:
    """The wanted packs, sorted by name."""

    pins: tuple[PackPin, ...] = ()

    def find(self, name: str) -> PackPin | None:
        """Return the pin of a pack, by its name in any case or its URL."""
        wanted = name.casefold()
        return next((pin for pin in self.pins if wanted in (pin.name.casefold(), pin.url.casefold())), None)

    def with_pin(self, pin: PackPin) -> PackLock:
        """Return the lock with this pin, which replaces one of the same name."""
        others = [one for one in self.pins if one.name.casefold() != pin.name.casefold()]
        return PackLock(tuple(sorted([*others, pin], key=lambda one: one.name.casefold())))

    def without(self, pin: PackPin) -> PackLock:
        return replace(self, pins=tuple(one for one in self.pins if one is not pin))


def load_pack_lock(file: Path) -> PackLock:
    """Return the lock; an empty one if there is no file. Raises PackError for an invalid file."""
    try:
        rows = tomllib.loads(file.read_text("utf-8")).get("pack", [])
        lock = PackLock(tuple(PackPin(**row) for row in rows))
    except FileNotFoundError:
        return PackLock()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise PackError(f"{file} is invalid: {error}. Correct it, or restore it from a backup") from error
    for pin in lock.pins:
        check_pack_name(pin.name)
        if not _COMMIT.fullmatch(pin.commit):
            raise PackError(
                f"{file}: `commit` of {pin.name} must be 40 hexadecimal digits (got {pin.commit!r})"
            )
    return lock


def save_pack_lock(file: Path, lock: PackLock) -> None:
    """Write the lock atomically. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(HEADER + tomli_w.dumps({"pack": [asdict(pin) for pin in lock.pins]}), "utf-8")
    partial.replace(file)


def check_pack_name(name: str) -> None:
    """Raise PackError unless the name can be a folder of ComfyUI's `custom_nodes`."""
    if not _NAME.fullmatch(name) or name.endswith(".disabled"):
        raise PackError(
            f"the name of a pack must be letters, digits, `.`, `_` and `-`, and begin with a letter or a"
            f" digit (got {name!r}): give one with --name"
        )


@contextmanager
def exclusive_access(directory: Path) -> Iterator[None]:
    """Keep other pack commands out of `directory`. Raises PackError if one is running there, OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".packs-in-use").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PackError(
                f"another `pixelfactory packs` command is working in {directory}: wait until it has ended"
            ) from error
        yield
