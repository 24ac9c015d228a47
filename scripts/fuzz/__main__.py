"""Fuzz the parsers for a bounded time each: `python -m scripts.fuzz [--seconds 30] [TARGET...]`.

Starts from the corpus in the repository, and leaves it as it is. An input that makes a target fail is written
to `--output`; put it into `scripts/fuzz/corpus/TARGET/`, named after what is wrong, and mend it: the tests
read every file there. The exit code is 1 if a target failed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from scripts.fuzz.targets import CORPUS, TARGETS

#: Limits on one input: seconds, and MiB of memory. An input beyond them counts as a failure.
INPUT_SECONDS, MEMORY_MIB = 10, 1024
#: Largest input that libFuzzer makes, in bytes.
MAX_INPUT_BYTES = 16_384


def main() -> int:
    """Run the chosen targets, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Fuzz the parsers for a bounded time each.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=30, help="time for each target")
    parser.add_argument(
        "--output", type=Path, default=Path("fuzz-failures"), help="folder for failing inputs"
    )
    options = parser.parse_args()
    if unknown := [name for name in options.targets if name not in TARGETS]:
        parser.error(f"unknown targets: {', '.join(unknown)}")
    if find_spec("atheris") is None:
        parser.error("atheris is not installed; run: .venv/bin/pip install -e '.[fuzz]'")
    options.output.mkdir(parents=True, exist_ok=True)
    results = [fuzz(name, options.seconds, options.output) for name in options.targets or TARGETS]
    return 0 if all(results) else 1


def fuzz(name: str, seconds: int, output: Path) -> bool:
    """Fuzz one target, print a line about it, and return whether it held."""
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory) / "corpus"
        shutil.copytree(CORPUS / name, corpus)
        arguments = [
            f"-max_total_time={seconds}",
            f"-timeout={INPUT_SECONDS}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-artifact_prefix={output.resolve()}/{name}-",
            "-print_final_stats=1",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "scripts.fuzz.run_target", name, *arguments, str(corpus)],
            capture_output=True,
            text=True,
            errors="replace",
        )
    runs = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    verdict = "held" if done.returncode == 0 else f"FAILED ({done.returncode})"
    print(f"{name:20} {runs[1] if runs else '?':>10} inputs  {verdict}", flush=True)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
