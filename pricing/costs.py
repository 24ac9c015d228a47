"""Operator costs of work, and margins."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pricing.money import MICROS_PER_DOLLAR, MoneyError, parse_rate, round_up

SHIPPED_COSTS = resources.files("pricing") / "costs.toml"
GIGABYTE = 10**9
K = TypeVar("K", bound=Hashable)


class CostsError(ValueError):
    """A costs file is invalid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeteredUsage:
    """Resources used by work of one day, model and device, and its revenue."""

    day: date
    model: str
    #: Name of the GPU, or `cpu`, or `simulated`.
    device: str
    #: Number of succeeded shards.
    shards: int = 0
    #: Seconds on the GPU, loading of weights included.
    gpu_seconds: float = 0.0
    load_seconds: float = 0.0
    #: Bytes of outputs put into the object store, and delivered from it.
    bytes_stored: int = 0
    bytes_sent: int = 0
    #: Micro-dollars captured, less what was refunded.
    revenue: int = 0

    def __add__(self, other: MeteredUsage) -> MeteredUsage:
        """Return both together; they are of the same day, model and device."""
        return replace(
            self,
            shards=self.shards + other.shards,
            gpu_seconds=self.gpu_seconds + other.gpu_seconds,
            load_seconds=self.load_seconds + other.load_seconds,
            bytes_stored=self.bytes_stored + other.bytes_stored,
            bytes_sent=self.bytes_sent + other.bytes_sent,
            revenue=self.revenue + other.revenue,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Margin(Generic[K]):
    """Revenue and cost of one group of work, in micro-dollars."""

    key: K
    shards: int
    gpu_seconds: float
    revenue: int
    cost: int

    @property
    def margin(self) -> int:
        return self.revenue - self.cost

    @property
    def revenue_per_gpu_second(self) -> float | None:
        """Micro-dollars; None where no GPU was used."""
        return self.revenue / self.gpu_seconds if self.gpu_seconds else None


@dataclass(frozen=True, kw_only=True, slots=True)
class CostRates:
    """The operator's own price list: micro-dollars per second and byte."""

    #: By a part of the device's name, in order of preference; the last one fits all.
    gpu_second: Mapping[str, Fraction]
    byte_stored: Fraction
    byte_sent: Fraction

    def cost_of(self, usage: MeteredUsage) -> Fraction:
        """Micro-dollars, exactly."""
        second = next(rate for part, rate in self.gpu_second.items() if part.lower() in usage.device.lower())
        stored, sent = usage.bytes_stored * self.byte_stored, usage.bytes_sent * self.byte_sent
        return Fraction(usage.gpu_seconds) * second + stored + sent

    def margins(self, rows: Iterable[MeteredUsage], group_by: Callable[[MeteredUsage], K]) -> list[Margin[K]]:
        """One row per heading, in order of first appearance; costs are rounded up once per heading."""
        groups: defaultdict[K, list[MeteredUsage]] = defaultdict(list)
        for row in rows:
            groups[group_by(row)].append(row)
        return [
            Margin(
                key=key,
                shards=sum(row.shards for row in group),
                gpu_seconds=sum(row.gpu_seconds for row in group),
                revenue=sum(row.revenue for row in group),
                cost=round_up(sum((self.cost_of(row) for row in group), Fraction(0))),
            )
            for key, group in groups.items()
        ]

    @classmethod
    def load(cls, path: Path | Traversable = SHIPPED_COSTS) -> Self:
        """Raises CostsError."""
        try:
            return cls.parse(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, tomllib.TOMLDecodeError, CostsError) as error:
            raise CostsError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Raises CostsError."""
        try:
            hours = {part: _parse_dollar_rate(rate) / 3600 for part, rate in data["per_gpu_hour"].items()}
            stored, sent = (
                _parse_dollar_rate(data[name]) / GIGABYTE for name in ("per_gb_stored", "per_gb_sent")
            )
        except KeyError as error:
            raise CostsError(f"{error} is missing") from error
        if "" not in hours:
            raise CostsError('per_gpu_hour has no "" for any other GPU')
        any_other = hours.pop("")
        return cls(gpu_second={**hours, "": any_other}, byte_stored=stored, byte_sent=sent)


def _parse_dollar_rate(text: object) -> Fraction:
    if not isinstance(text, str):
        raise CostsError(f"{text!r} must be a decimal number in quotes")
    try:
        return parse_rate(text) * MICROS_PER_DOLLAR
    except MoneyError as error:
        raise CostsError(str(error)) from error
