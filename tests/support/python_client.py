"""Client libraries in a Python process of their own, so that their settings and warnings stay there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.support.programs import run_program


def require_client(module: str) -> None:
    """Skip the test if the library is not installed."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module} (pip install -e '.[clients]')")


def run_python(directory: Path, script: str, **environment: str) -> str:
    """Run a program and return what it prints."""
    (directory / "script.py").write_text(script)
    return run_program(directory, sys.executable, "script.py", **environment)
