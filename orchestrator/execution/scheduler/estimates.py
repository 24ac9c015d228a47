"""Estimates run and load times from the manifest, corrected by measurements.

For each model and GPU speed the ratios measured / expected of the latest runs are kept, and their median
multiplies the manifest's estimate. The median ignores a single stalled run; the short window adapts within
minutes to a GPU that becomes slower.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

#: Number of latest runs that count.
RATIO_WINDOW = 15
#: Bounds of a ratio, against absurd measurements.
MIN_RATIO, MAX_RATIO = 1e-4, 1e4


@dataclass(slots=True)
class MovingMedian:
    """Moving median of the ratios measured / expected."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RATIO_WINDOW))
    value: float = 1.0

    def add(self, ratio: float) -> None:
        """Add a measurement and update `value`."""
        self.recent.append(min(max(ratio, MIN_RATIO), MAX_RATIO))
        self.value = median(self.recent)


@dataclass(slots=True)
class DurationEstimates:
    """Correction factors for run and load times, by model and GPU speed."""

    run_ratios: dict[tuple[str, float], MovingMedian] = field(default_factory=dict)
    load_ratios: dict[tuple[str, float], MovingMedian] = field(default_factory=dict)

    def run_seconds(self, model: str, expected: float, speed: float) -> float:
        """Return the estimated run time; `expected` is the time on the reference GPU."""
        return expected / speed * self._correction_factor(self.run_ratios, model, speed)

    def load_seconds(self, model: str, expected: float, speed: float) -> float:
        """Return the estimated load time."""
        return expected * self._correction_factor(self.load_ratios, model, speed)

    def record_run(self, model: str, speed: float, *, run: tuple[float, float], load: float = 0.0) -> None:
        """Learn from one run; `run` holds the measured and the expected seconds on this GPU.

        With an expected `load` time, the seconds beyond the estimated run time count as load time.
        """
        measured, expected = run
        if load > 0:
            known = self.run_seconds(model, expected * speed, speed)
            ratios = self.load_ratios.setdefault((model, speed), MovingMedian())
            ratios.add(max(measured - known, 0.0) / load)
        elif expected > 0:
            self.run_ratios.setdefault((model, speed), MovingMedian()).add(measured / expected)

    @staticmethod
    def _correction_factor(table: dict[tuple[str, float], MovingMedian], model: str, speed: float) -> float:
        ratios = table.get((model, speed))
        return ratios.value if ratios else 1.0
