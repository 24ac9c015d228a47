"""What `pixelfactory comfyui install` leaves behind, found again.

DIR/source/          ComfyUI's own tree, a git checkout
DIR/venv/            its own Python environment
DIR/custom_nodes/    links to the node packs that instances load, and no others
DIR/node-facts.json  what its nodes take and give, as it said itself
DIR/installed.json   what was installed, written last
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

#: A node of ComfyUI's own that it keeps among the custom ones.
BUNDLED_NODE_PACK = "websocket_image_save.py"


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """A ComfyUI that can be launched."""

    directory: Path
    #: Python of its environment.
    python: Path
    #: `main.py` of its source.
    main: Path
    #: As its source says; None where it does not.
    version: str | None
    #: What `comfyui install` recorded: `commit`, `torch`, `requirements_sha256`, `lacks`, ...; empty where it
    #: was put there in another way or not to its end.
    record: Mapping[str, Any]

    @property
    def source(self) -> Path:
        return self.main.parent

    @property
    def node_packs(self) -> tuple[Path, ...]:
        """Node packs that instances load: those linked into `custom_nodes`, and ComfyUI's own."""
        linked = self.directory / "custom_nodes"
        packs = sorted(path for path in linked.iterdir() if path.exists()) if linked.is_dir() else []
        own = self.source / "custom_nodes" / BUNDLED_NODE_PACK
        return (*packs, own) if own.exists() else tuple(packs)


def find_installation(directory: Path) -> Installation | None:
    """The ComfyUI under `directory`; None where its source or its Python is missing."""
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
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def read_comfyui_version(source: Path) -> str | None:
    """What `comfyui_version.py` says, read and not run."""
    try:
        text = (source / "comfyui_version.py").read_text("utf-8")
    except OSError:
        return None
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    return found.group(1) if found else None


def hash_requirements(source: Path) -> str | None:
    """SHA-256 of its requirements.txt; None where there is none."""
    try:
        return sha256((source / "requirements.txt").read_bytes()).hexdigest()
    except OSError:
        return None


def read_install_record(directory: Path) -> Mapping[str, Any]:
    try:
        record = json.loads((directory / "installed.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def write_install_record(directory: Path, record: Mapping[str, Any]) -> None:
    """All or nothing. Raises OSError."""
    partial = directory / "installed.json.partial"
    partial.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", "utf-8")
    partial.replace(directory / "installed.json")
