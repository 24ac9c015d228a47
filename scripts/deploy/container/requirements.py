"""Prints what the project requires, one requirement a line: a layer of the images that changes rarely.

Usage: python requirements.py PYPROJECT [EXTRA...]
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def list_requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Return the requirements of the project and of the extras. Raises KeyError for an unknown extra."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    found: list[str] = list(project["dependencies"])
    for extra in extras:
        found += project["optional-dependencies"][extra]
    return found


if __name__ == "__main__":
    print("\n".join(list_requirements(Path(sys.argv[1]), sys.argv[2:])))
