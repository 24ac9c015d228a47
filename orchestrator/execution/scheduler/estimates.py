"""How long a run will take: the manifest's word, corrected by what was measured.

For each model and kind of card the ratio measured / expected of the last runs is kept; its median
multiplies the manifest's figure. A median forgets a single stalled run, and a short window follows a
card that became slower within minutes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

RATIO_WINDOW = 15
#: A first measurement may be far from the manifest, but not absurdly so.
MIN_RATIO, MAX_RATIO = 1e-4, 1e4


@dataclass(slots=True)
class MovingMedian:
    """The moving median of measured / expected."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RATIO_WINDOW))
    value: float = 1.0

    def add(self, ratio: float) -> None:
        self.recent.append(min(max(ratio, MIN_RATIO), MAX_RATIO))
        self.value = median(self.recent)


@dataclass(slots=True)
class DurationEstimates:
    """Learned factors for run and load times by (model, speed class of the card)."""

    run_ratios: dict[tuple[str, float], MovingMedian] = field(default_factory=dict)
    load_ratios: dict[tuple[str, float], MovingMedian] = field(default_factory=dict)

    def run_seconds(self, model: str, expected: float, speed: float) -> float:
        return expected / speed * self._correction_factor(self.run_ratios, model, speed)

    def load_seconds(self, model: str, expected: float, speed: float) -> float:
        return expected * self._correction_factor(self.load_ratios, model, speed)

    def record_run(self, model: str, speed: float, *, run: tuple[float, float], load: float = 0.0) -> None:
        """Learns from one run: `run` is (measured, expected on this card) in seconds.

        A cold run teaches the load time: what it took beyond the run time known so far.
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
