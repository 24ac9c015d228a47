"""How measurements are told: medians, facts about the machine, one JSON file for each bench."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS_DIR = Path(__file__).resolve().parent / "results"


def latency_percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: median, 95th percentile, and the 10th, which other work on the machine hardly touches."""
    return {
        "p10_ms": round(statistics.quantiles(seconds, n=10)[0] * 1e3, 2),
        "median_ms": round(statistics.median(seconds) * 1e3, 2),
        "p95_ms": round(statistics.quantiles(seconds, n=20)[-1] * 1e3, 2),
    }


def save_results(name: str, result: Mapping[str, Any]) -> None:
    """Writes results/NAME.json: the result, when it was had, and on what."""
    RESULTS_DIR.mkdir(exist_ok=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"bench": name, "at": at, "machine": describe_machine(), "result": result}, indent=2)
    (RESULTS_DIR / f"{name}.json").write_text(text + "\n", "utf-8")


def describe_machine() -> dict[str, Any]:
    """What numbers depend on; nothing that names the machine."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        # Processes that wanted a core during the last minute: above `cores` the numbers are too high.
        "load": round(os.getloadavg()[0], 1),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
