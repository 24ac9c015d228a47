"""The benchmarks run; what they measure is judged by a person, on a quiet machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_abuse_benchmark_compares_images_with_and_without_misuse() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench.abuse", "--quick"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["quiet", "misused", "ratio"]
    assert re.search(r"ratio of medians \d+\.\d+ ", done.stdout)
