"""The build backend: setuptools, and the documentation in wheels.

A wheel has the documentation as the site that `/docs` serves. An editable installation has none until
`python scripts/packaging/pixelfactory_build.py` builds it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

ROOT = Path(__file__).resolve().parents[2]
#: Where the service looks for the site.
SITE = ROOT / "orchestrator" / "web" / "docs_site"
ZENSICAL = "zensical>=0.0.70"


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return what setuptools needs, and what builds the site."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), ZENSICAL]


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Build the site, and a wheel with it; without the site where its sources were left out."""
    if (ROOT / "mkdocs.yml").exists():
        build_site()
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_site() -> Path:
    """Build the site into the package; return its folder. Raises CalledProcessError for a broken link."""
    # A program beside the interpreter, as in the environment of a build.
    program = shutil.which("zensical", path=str(Path(sys.executable).parent)) or "zensical"
    subprocess.run([program, "build", "--strict"], cwd=ROOT, check=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(ROOT / "site", SITE)
    return SITE


if __name__ == "__main__":
    print(build_site())
