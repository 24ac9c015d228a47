"""From `scripts/demo --once` on an installed tree to the first image, as a newcomer would see it.

    .venv/bin/python -m scripts.bench.first_image [--quick]

Every run starts from nothing: its own data directory, database, bucket and instances. The reference is what
starting Python and importing the service alone takes, which is the floor under the service's own start.
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
#: Lines of the demo that mark a moment, by what the moment is called.
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
    floors, walks = zip(*((measure_import_seconds(), run_demo()) for _ in range(runs)), strict=True)
    medians = {"imports alone": statistics.median(floors)}
    medians |= {name: statistics.median(walk[name] for walk in walks) for name in walks[0]}
    for name, seconds in medians.items():
        print(f"{name:14} after {seconds:5.2f} s")
    worst = max(walk["first image"] for walk in walks)
    print(f"{runs} run(s); slowest first image after {worst:.2f} s")
    rounded = {name: round(seconds, 2) for name, seconds in medians.items()}
    if not quick:
        save_results(
            "first_image", {"runs": runs, "seconds": rounded, "slowest_first_image": round(worst, 2)}
        )


def measure_import_seconds() -> float:
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import orchestrator.cli"], check=True)
    return time.monotonic() - begun


def run_demo() -> dict[str, float]:
    """Seconds from the command to each of its moments, and to its end. Exits where the demo fails."""
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
        sys.exit(f"scripts/demo --once ended with {process.returncode}, having come to {sorted(moments)}")
    return moments


if __name__ == "__main__":
    main()
