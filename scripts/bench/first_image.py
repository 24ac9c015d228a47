"""Measures the time from `scripts/demo --once` on an installed tree to the first image.

    .venv/bin/python -m scripts.bench.first_image [--quick]

Every run starts with an empty data directory, database and bucket, and with new instances. The reference is
the time of starting Python and importing the service, the least that a start can take.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.bench.report import save_results

ROOT = Path(__file__).resolve().parent.parent.parent
#: Milestones, and the output line of the demo that marks each.
MILESTONES = {
    "service ready": re.compile(r"service ready after"),
    "first image": re.compile(r"first image written"),
    "video": re.compile(r"demo-output/video"),
    "upscale": re.compile(r"demo-output/upscaled"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one run instead of five")
    quick = parser.parse_args().quick
    runs = 1 if quick else 5
    subprocess.run([ROOT / "scripts" / "install"], check=True)
    imports, demos = zip(*((measure_import_seconds(), run_demo()) for _ in range(runs)), strict=True)
    medians = {"imports alone": statistics.median(imports)}
    medians |= {name: statistics.median(demo[name] for demo in demos) for name in demos[0]}
    for name, seconds in medians.items():
        print(f"{name:14} after {seconds:5.2f} s")
    worst = max(demo["first image"] for demo in demos)
    print(f"{runs} run(s); slowest first image after {worst:.2f} s")
    rounded = {name: round(seconds, 2) for name, seconds in medians.items()}
    if not quick:
        save_results(
            "first_image", {"runs": runs, "seconds": rounded, "slowest_first_image": round(worst, 2)}
        )


def measure_import_seconds() -> float:
    """Return the seconds of starting Python and importing the command line."""
    started_at = time.monotonic()
    subprocess.run([sys.executable, "-c", "import orchestrator.cli.commands.up"], check=True)
    return time.monotonic() - started_at


def run_demo() -> dict[str, float]:
    """Return the seconds from the start of the demo to each milestone and to its end. Exits if it fails."""
    moments: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        begun = time.monotonic()
        with subprocess.Popen(
            [ROOT / "scripts" / "demo", "--once"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PIXELFACTORY_DATA_DIR": directory},
        ) as process:
            for line in process.stdout or ():
                for name, marked in MILESTONES.items():
                    if marked.search(line):
                        moments.setdefault(name, time.monotonic() - begun)
        moments["end"] = time.monotonic() - begun
    if process.returncode or MILESTONES.keys() - moments.keys():
        sys.exit(f"scripts/demo --once exited with {process.returncode} after {sorted(moments)}")
    return moments


if __name__ == "__main__":
    main()
