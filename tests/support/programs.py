"""Programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_program(directory: Path, *command: str, **environment: str) -> str:
    """Run a program in a directory and return what it prints; it must end with 0."""
    return run_command(directory, command, environment)


def run_command(
    directory: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    seconds: float = 100,
    code: int = 0,
) -> str:
    """The same for one that takes longer, or that ends with another `code`."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == code, done.stderr or done.stdout
    return done.stdout
