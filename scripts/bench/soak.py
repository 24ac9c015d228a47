"""Runs the service at a moderate load for minutes and shows what grows.

    .venv/bin/python -m scripts.bench.soak [--minutes 15] [--seed 1] [--quick]

Memory, descriptors, threads and tasks are sampled every few seconds; the first third of the run warms up. The
exit status is 1 if the median of the last third lies above the median of the second by more than TOLERANCE.
Database and log grow with the work: their bytes per operation are compared likewise.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from scripts.bench.campaign.caller import Caller
from scripts.bench.campaign.operations import OPERATIONS, draw_operations
from scripts.bench.campaign.rig import Rig
from scripts.bench.report import save_results

CALLERS = 4
#: Pause of a caller between two operations: two cores are then busy by about a half.
PAUSE_SECONDS = 0.4
#: Allowed growth of the medians, as a ratio.
TOLERANCE = 1.10
#: Growth in absolute terms that is never a leak.
_NOISE = {"rss_bytes": 8_000_000.0, "descriptors": 8.0, "threads": 2.0, "tasks": 12.0}


@dataclass(frozen=True)
class Sample:
    seconds: float
    operations: int
    rss_bytes: float
    descriptors: float
    threads: float
    tasks: float
    database_bytes: float
    log_bytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="half a minute; saves no result")
    options = parser.parse_args()
    seconds = 30.0 if options.quick else options.minutes * 60
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        soak = Soak(Rig(Path(directory), time_scale=0.05), options.seed)
        samples = asyncio.run(soak.run(seconds))
    growth = measure_growth(samples)
    grown = [name for name, (early, late) in growth.items() if has_grown(name, early, late)]
    for name, (early, late) in growth.items():
        print(f"{name:28} {early:14.1f} -> {late:14.1f}  {'GROWS' if name in grown else 'flat'}")
    print(f"{samples[-1].operations} operations in {samples[-1].seconds:.0f} s, {len(samples)} samples")
    if not options.quick:
        save_results("soak", {"growth": growth, "grown": grown, "last": asdict(samples[-1])})
    sys.exit(1 if grown else 0)


class Soak:
    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig, self._seed = rig, seed
        self._operations = 0

    async def run(self, seconds: float) -> list[Sample]:
        await self._rig.receiver.start()
        self._rig.shift_clock(0)
        await self._rig.start()
        try:
            await self._rig.create_accounts()
            deadline = time.monotonic() + seconds
            callers = [asyncio.create_task(self._call(number, deadline)) for number in range(CALLERS)]
            samples = [await self._sample(seconds - (deadline - time.monotonic()))]
            while time.monotonic() < deadline:
                await asyncio.sleep(min(seconds / 60, 10))
                samples.append(await self._sample(seconds - (deadline - time.monotonic())))
            await asyncio.gather(*callers)
        finally:
            await self._rig.stop(signal.SIGTERM)
            await self._rig.receiver.stop()
        return samples

    async def _call(self, number: int, deadline: float) -> None:
        rng = random.Random(f"{self._seed} {number}")
        caller = Caller(self._rig, self._rig.accounts[number], rng)
        while time.monotonic() < deadline:
            for kind in draw_operations(50, rng):
                if time.monotonic() > deadline:
                    return
                await caller.run(self._operations, OPERATIONS[kind])
                self._operations += 1
                await asyncio.sleep(PAUSE_SECONDS * rng.random() * 2)
            caller.finished.clear()

    async def _sample(self, seconds: float) -> Sample:
        process = psutil.Process(self._rig.pid)
        tasks = re.search(r"^pixelfactory_tasks (\S+)$", str(await self._rig.admin("/metrics")), re.MULTILINE)
        files = self._rig.data_dir.glob("pixelfactory.db*")
        return Sample(
            seconds=round(seconds, 1),
            operations=self._operations,
            rss_bytes=process.memory_info().rss,
            descriptors=process.num_fds(),
            threads=process.num_threads(),
            tasks=float(tasks[1]) if tasks else 0.0,
            database_bytes=sum(path.stat().st_size for path in files),
            log_bytes=self._rig.log_file.stat().st_size,
        )


def measure_growth(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Return each measure in the second and in the last third: medians, and bytes per operation of files."""
    third = len(samples) // 3
    early, late = samples[third : 2 * third], samples[2 * third :]
    growth = {
        name: (
            statistics.median(getattr(sample, name) for sample in early),
            statistics.median(getattr(sample, name) for sample in late),
        )
        for name in _NOISE
    }
    for name in ("database_bytes", "log_bytes"):
        growth[f"{name}_per_operation"] = (_rate(early, name), _rate(late, name))
    return growth


def _rate(samples: Sequence[Sample], name: str) -> float:
    operations = max(samples[-1].operations - samples[0].operations, 1)
    return float(getattr(samples[-1], name) - getattr(samples[0], name)) / operations


def has_grown(name: str, early: float, late: float) -> bool:
    # Rates of files jump with the write-ahead log, which is emptied now and then.
    tolerance = 2.0 if name.endswith("_per_operation") else TOLERANCE
    return late > early * tolerance and late - early > _NOISE.get(name, 500.0)


if __name__ == "__main__":
    main()
