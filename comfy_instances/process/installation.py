"""Finds and describes what `pixelfactory comfyui install` has installed.

DIR/source/          ComfyUI's source, a git checkout
DIR/venv/            its Python environment
DIR/custom_nodes/    links to the node packs that instances load; they load no others
DIR/node-facts.json  the inputs and outputs of its nodes, from its `/object_info`
DIR/installed.json   the install record, written last
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

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
