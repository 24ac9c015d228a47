"""Summarises measurements and saves them, with facts about the machine, as one JSON file per benchmark."""

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
    """Return the 10th percentile (hardly affected by other work on the machine), median and 95th, in ms."""
    return {
        "p10_ms": round(statistics.quantiles(seconds, n=10)[0] * 1e3, 2),
        "median_ms": round(statistics.median(seconds) * 1e3, 2),
        "p95_ms": round(statistics.quantiles(seconds, n=20)[-1] * 1e3, 2),
    }


def save_results(name: str, result: Mapping[str, Any]) -> None:
    """Write results/NAME.json: the result, the time of the measurement, and the machine."""
    RESULTS_DIR.mkdir(exist_ok=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"bench": name, "at": at, "machine": describe_machine(), "result": result}, indent=2)
    (RESULTS_DIR / f"{name}.json").write_text(text + "\n", "utf-8")


def describe_machine() -> dict[str, Any]:
    """Return the properties of the machine that affect results, but nothing that identifies it."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        # Average number of runnable processes in the last minute; above `cores` the times are too high.
        "load": round(os.getloadavg()[0], 1),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
