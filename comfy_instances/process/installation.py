"""Finds and describes what `pixelfactory comfyui install` has installed.

DIR/source/          ComfyUI's source, a git checkout
DIR/venv/            its Python environment
DIR/custom_nodes/    links to the node packs that instances load; they load no others
DIR/node-facts.json  the inputs and outputs of its nodes, from its `/object_info`
DIR/installed.json   the install record, written last
DIR/packs.json       the record of managed node packs, with what belongs to it: see `installed_packs.py`
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from comfy_instances.process.installed_packs import (
    PackRecord,
    PackSource,
    environment_directory,
    read_pack_record,
    source_directory,
)

#: A node that ComfyUI ships in its `custom_nodes` folder.
BUNDLED_NODE_PACK = "websocket_image_save.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """A ComfyUI that can be launched."""

    directory: Path
    #: The Python of its environment.
    python: Path
    #: The `main.py` of its source.
    main: Path
    #: From its source; None if that names no version.
    version: str | None
    #: The install record: `commit`, `torch`, `requirements_sha256`, `lacks`, ...; empty after an interrupted
    #: or a manual installation.
    record: Mapping[str, Any]
    #: The managed node packs; instances load those of them that models name.
    packs: PackRecord = field(default_factory=PackRecord)

    @property
    def source(self) -> Path:
        return self.main.parent

    @property
    def node_packs(self) -> tuple[Path, ...]:
        """Return the node packs that instances load: those linked into `custom_nodes` and the bundled one."""
        linked = self.directory / "custom_nodes"
        packs = sorted(path for path in linked.iterdir() if path.exists()) if linked.is_dir() else []
        own = self.source / "custom_nodes" / BUNDLED_NODE_PACK
        return (*packs, own) if own.exists() else tuple(packs)

    @property
    def packs_python(self) -> Path:
        """Return the Python of instances that load managed packs."""
        if not self.packs.environment:
            return self.python
        return venv_python(environment_directory(self.directory, self.packs.environment))

    def pack_sources(self, names: Collection[str]) -> tuple[PackSource, ...]:
        """Return the sources of the installed packs of these names."""
        return tuple(
            PackSource(pack.name, source_directory(self.directory, pack.name, pack.commit))
            for pack in self.packs.packs
            if pack.name in names
        )


def find_installation(directory: Path) -> Installation | None:
    """Return the ComfyUI under `directory`; None if its source or its Python is missing."""
    main, python = directory / "source" / "main.py", venv_python(directory / "venv")
    if not main.is_file() or not python.exists():
        return None
    return Installation(
        directory=directory,
        python=python,
        main=main,
        version=read_comfyui_version(main.parent),
        record=read_install_record(directory),
        packs=read_pack_record(directory),
    )


def venv_python(venv: Path) -> Path:
    """Return the path of a virtual environment's Python."""
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def read_comfyui_version(source: Path) -> str | None:
    """Return the version in `comfyui_version.py`, read without executing the file; None if there is none."""
    try:
        text = (source / "comfyui_version.py").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return found.group(1) if found else None


def hash_requirements(source: Path) -> str | None:
    """Return the SHA-256 of requirements.txt; None if the file is missing."""
    try:
        return sha256((source / "requirements.txt").read_bytes()).hexdigest()
    except OSError:
        return None


def read_install_record(directory: Path) -> Mapping[str, Any]:
    """Return the content of installed.json; empty if it is missing or damaged."""
    try:
        record = json.loads((directory / "installed.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_install_record(directory: Path, record: Mapping[str, Any]) -> None:
    """Write installed.json atomically. Raises OSError."""
    partial = directory / "installed.json.partial"
    partial.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", "utf-8")
    partial.replace(directory / "installed.json")
