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


def test_cluster_simulation_answers_every_question() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "scripts.bench.simulate_cluster",
            "--quick",
            "--postgres-transactions",
            "2500",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    titles = [text.splitlines()[0] for text in done.stdout.split("\n\n")[1:]]
    assert [title.split()[0] for title in titles] == [
        "Per",
        "GPUs",
        "calibration",
        "sizes",
        "loads",
        "loop",
        "pooling",
        "Dollars",
        "Dollars",
    ]
    assert "PostgreSQL, 2500 transactions/s" in done.stdout
    assert "images and videos apart" in done.stdout
