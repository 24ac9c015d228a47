"""Programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def run_program(directory: Path, *command: str, **environment: str) -> str:
    """Run a program in a directory and return what it prints; it must end with 0."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
