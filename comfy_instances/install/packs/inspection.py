"""Reads a node pack's files before anything of it is executed, and lists what an operator should know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: Larger source files are not searched.
MAX_SOURCE_BYTES = 2**21
#: Findings of one kind that are listed.
MAX_PLACES = 5


class FindingKind(StrEnum):
    """What was found. The values are shown to the operator."""

    INSTALL_SCRIPT = "has an install script, which is not run"
    MORE_REQUIREMENTS = (
        "has further files of requirements, which are not read: name what it needs of them with"
        " --override NAME=REQUIREMENT"
    )
    PRESTART_SCRIPT = "has a script that runs before each start"
    RUNS_PIP = "calls or mentions pip; while it runs, pip has no index"
    UPDATES_ITSELF = "runs git or updates itself"
    DOWNLOADS = "downloads files while it runs"
    ROUTES = "adds routes without a key to ComfyUI's server"
    REPLACES_NODES = "changes ComfyUI's table of nodes"


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of finding and where it is, `FILE` or `FILE:LINE`."""

    kind: FindingKind
    places: tuple[str, ...]

    def __str__(self) -> str:
        rest = len(self.places) - MAX_PLACES
        more = f" and {rest} more" if rest > 0 else ""
        return f"{self.kind} ({', '.join(self.places[:MAX_PLACES])}{more})"


_SCRIPTS = {"install.py": FindingKind.INSTALL_SCRIPT, "prestartup_script.py": FindingKind.PRESTART_SCRIPT}
_PATTERNS = {
    FindingKind.RUNS_PIP: re.compile(
        r"""['"]pip3?['"]\s*,|-m\s*pip\b|\bpip\.main\b|_internal.*\bmain\b|\b(?:uv|pip3?) install\b"""
    ),
    FindingKind.UPDATES_ITSELF: re.compile(
        r"""\bpygit2\b|\bgit\.Repo\b|['"]git['"]\s*,|\bgit (?:pull|clone|fetch|rev-parse)\b"""
    ),
    FindingKind.DOWNLOADS: re.compile(
        r"\b(?:hf_hub_download|snapshot_download|urlretrieve|load_file_from_url|download_url_to_file)\("
    ),
    FindingKind.ROUTES: re.compile(r"\.routes\.(?:get|post|put|delete|patch|view|static)\(|\.router\.add_"),
    FindingKind.REPLACES_NODES: re.compile(
        r"\bnodes\.NODE_CLASS_MAPPINGS(?:\[[^\]]+\]\s*=[^=]|\.(?:update|pop)\()"
    ),
}


def inspect_pack(directory: Path) -> list[Finding]:
    """Return the findings about a pack's source, by kind."""
    places: dict[FindingKind, list[str]] = {}
    for name, kind in _SCRIPTS.items():
        if (directory / name).is_file():
            places.setdefault(kind, []).append(name)
    more = (file.relative_to(directory) for file in sorted(directory.rglob("requirements*.txt")))
    places[FindingKind.MORE_REQUIREMENTS] = [str(file) for file in more if len(file.parts) > 1]
    for file in sorted(directory.rglob("*.py")):
        for kind, line in _search_source(file):
            places.setdefault(kind, []).append(f"{file.relative_to(directory)}:{line}")
    return [Finding(kind, tuple(places[kind])) for kind in FindingKind if places.get(kind)]


def _search_source(file: Path) -> Iterator[tuple[FindingKind, int]]:
    if file.is_symlink() or file.stat().st_size > MAX_SOURCE_BYTES:
        return
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        for kind, pattern in _PATTERNS.items():
            if pattern.search(line):
                yield kind, number
