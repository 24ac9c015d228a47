"""Reads and writes the record of the node packs that `pixelfactory packs install` has installed.

DIR/packs.json               the record; replaced in one step when a set of packs is installed
DIR/packs/NAME/COMMIT/       source of a pack, a git checkout; instances load copies of it
DIR/pack-environments/ID/    the Python environment of a set of packs
DIR/pack-facts/NAME.json     the inputs and outputs of a pack's nodes
DIR/pack-versions/NAME@COMMIT.json  the same of further versions, with which graphs were saved
DIR/pack-histories/NAME.json        the inputs that the nodes of a pack have had in all of its versions
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

RECORD_FILE = "packs.json"
SOURCES_FOLDER = "packs"
ENVIRONMENTS_FOLDER = "pack-environments"
FACTS_FOLDER = "pack-facts"
VERSIONS_FOLDER = "pack-versions"
HISTORIES_FOLDER = "pack-histories"
#: Environment of every instance that loads packs. Several packs call pip when they are imported or when
#: `/object_info` is read: pip then has no index, and refuses URLs, which have no hash.
PACK_ENVIRONMENT = {
    "PIP_NO_INDEX": "1",
    "PIP_REQUIRE_HASHES": "1",
    "PIP_NO_INPUT": "1",
    "UV_OFFLINE": "1",
    "WAS_BLOCK_AUTO_INSTALL": "true",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class InstalledPack:
    """One pack of the installed set."""

    name: str
    url: str
    #: Branch, tag or commit that was asked for.
    ref: str
    commit: str
    #: Git's hash of the commit's files.
    tree: str
    #: SHA-256 of requirements.txt; empty if there is none.
    requirements_sha256: str = ""
    #: Its node classes.
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PackRecord:
    """The installed set of packs."""

    #: Folder name of its Python environment; empty for that of ComfyUI.
    environment: str = ""
    #: ComfyUI's commit and version that the set was tried with.
    comfyui_commit: str = ""
    comfyui_version: str = ""
    installed_at: str = ""
    packs: tuple[InstalledPack, ...] = ()
    #: Python packages that were added for the packs, `name==version`.
    packages: tuple[str, ...] = ()

    def find(self, name: str) -> InstalledPack | None:
        """Return the pack of this name, in any case."""
        return next((pack for pack in self.packs if pack.name.casefold() == name.casefold()), None)


@dataclass(frozen=True, slots=True)
class PackSource:
    """The source of a pack that an instance loads."""

    name: str
    directory: Path


#: Chooses the packs to load, by name.
PackChoice = Callable[[Sequence[InstalledPack]], Collection[str]]


def load_no_packs(installed: Sequence[InstalledPack]) -> Collection[str]:
    """Choose no packs."""
    return ()


def load_all_packs(installed: Sequence[InstalledPack]) -> Collection[str]:
    """Choose every installed pack."""
    return [pack.name for pack in installed]


def read_pack_record(directory: Path) -> PackRecord:
    """Return the record; an empty one if it is missing or damaged."""
    try:
        content = json.loads((directory / RECORD_FILE).read_text("utf-8"))
        packs = tuple(
            InstalledPack(**{**row, "classes": tuple(row["classes"])}) for row in content.pop("packs")
        )
        return PackRecord(**{**content, "packages": tuple(content["packages"])}, packs=packs)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return PackRecord()


def write_pack_record(directory: Path, record: PackRecord) -> None:
    """Write the record atomically. Raises OSError."""
    partial = directory / f"{RECORD_FILE}.partial"
    partial.write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")
    partial.replace(directory / RECORD_FILE)


def drop_pack(directory: Path, name: str) -> bool:
    """Take a pack out of the record, so that no instance loads it; whether it was there. Raises OSError."""
    record = read_pack_record(directory)
    pack = record.find(name)
    if pack is None:
        return False
    write_pack_record(directory, replace(record, packs=tuple(one for one in record.packs if one is not pack)))
    facts_file(directory, pack.name).unlink(missing_ok=True)
    return True


def source_directory(directory: Path, name: str, commit: str) -> Path:
    """Return the folder of a pack's source at a commit."""
    return directory / SOURCES_FOLDER / name / commit[:12]


def environment_directory(directory: Path, id: str) -> Path:
    """Return the folder of a set's Python environment."""
    return directory / ENVIRONMENTS_FOLDER / id


def facts_file(directory: Path, name: str) -> Path:
    """Return the file with the facts of a pack's nodes."""
    return directory / FACTS_FOLDER / f"{name}.json"


def version_facts_file(directory: Path, name: str, commit: str) -> Path:
    """Return the file with the facts of a version of a pack that need not be installed."""
    return directory / VERSIONS_FOLDER / f"{name}@{commit[:12]}.json"


def history_file(directory: Path, name: str) -> Path:
    """Return the file with the inputs that the nodes of a pack have had in all of its versions."""
    return directory / HISTORIES_FOLDER / f"{name}.json"


def load_version_facts(directory: Path) -> list[Mapping[str, Any]]:
    """Return what the files of further versions say; those that cannot be read are left out."""
    return _load_all(directory / VERSIONS_FOLDER, "nodes")


def load_pack_histories(directory: Path) -> list[Mapping[str, Any]]:
    """Return what the files of histories say; those that cannot be read are left out."""
    return _load_all(directory / HISTORIES_FOLDER, "layouts")


def _load_all(folder: Path, field: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and isinstance(content.get(field), dict):
            found.append(content)
    return found


def load_installed_pack_facts(directory: Path) -> dict[str, Any]:
    """Return the facts of the nodes of all installed packs, by class; those that cannot be read are
    left out."""
    nodes: dict[str, Any] = {}
    for pack in read_pack_record(directory).packs:
        try:
            content: Mapping[str, Any] = json.loads(facts_file(directory, pack.name).read_text("utf-8"))
            nodes |= content["nodes"]
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return nodes
