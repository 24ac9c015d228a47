"""The price of one model: a rate, optionally in tiers, and its multiplier. Exact fractions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias

from pricing.money import MoneyError, parse_rate
from pricing.usage import BillableWork

#: Pixels at which an image has its base price, and one "MP" of a tier.
BASE_PIXELS = 1024 * 1024
#: Frames at which a video has its base price.
BASE_FRAMES = 81
#: Steps at which a training has its base price.
BASE_STEPS = 1000


class TariffError(ValueError):
    """A tariff is invalid or does not exist; the message names the file and the entry."""


class Scale(StrEnum):
    """What a rate is multiplied by, besides the number of outputs."""

    FLAT = "flat"
    MEGAPIXELS = "megapixels"  #: area / (1024 x 1024)
    FRAMES = "frames"  #: frames / 81
    SECONDS = "seconds"  #: length of the video
    STEPS = "steps"  #: steps of training / 1000

    def factor_for(self, work: BillableWork) -> Fraction:
        return _FACTORS[self](work)


_FACTORS: Mapping[Scale, Callable[[BillableWork], Fraction]] = {
    Scale.FLAT: lambda work: Fraction(1),
    Scale.MEGAPIXELS: lambda work: Fraction(work.pixels, BASE_PIXELS),
    Scale.FRAMES: lambda work: Fraction(work.frames, BASE_FRAMES),
    Scale.SECONDS: lambda work: work.seconds,
    Scale.STEPS: lambda work: Fraction(work.steps, BASE_STEPS),
}


class TierMeasure(StrEnum):
    """The quantity that a tier limits."""

    AREA = "area"  #: pixels
    LINES = "lines"  #: the shorter side, or that of 16:9 with as many pixels if it is less
    SECONDS = "seconds"  #: length of the video

    def value_for(self, work: BillableWork) -> Fraction:
        match self:
            case TierMeasure.AREA:
                return Fraction(work.pixels)
            case TierMeasure.LINES:
                # A portrait of 736x1232 has fewer pixels than 1280x720, and costs no more.
                of_same_area = Fraction(math.isqrt(work.pixels * 9 // 16))
                return min(Fraction(min(work.width, work.height)), of_same_area)
            case TierMeasure.SECONDS:
                return work.seconds


_TIER_LABEL_PATTERN = re.compile(r"(?P<number>[0-9.]+) ?(?P<unit>MP|K|p|s|x(?P<height>[0-9]+))", re.ASCII)


def parse_tier_label(label: str) -> tuple[TierMeasure, Fraction]:
    """Parse a tier's limit: `0.5 MP`, `4K` (a square of 4 x 1024), `512x512`, `720p`, `6s`.

    Raises TariffError.
    """
    match = _TIER_LABEL_PATTERN.fullmatch(label)
    if match is None:
        raise TariffError(f"tier {label!r} is not written like 0.5 MP, 4K, 512x512, 720p or 6s")
    number = parse_decimal(match["number"])
    match match["unit"]:
        case "MP":
            return TierMeasure.AREA, number * BASE_PIXELS
        case "K":
            return TierMeasure.AREA, (number * 1024) ** 2
        case "p":
            return TierMeasure.LINES, number
        case "s":
            return TierMeasure.SECONDS, number
        case _:
            return TierMeasure.AREA, number * int(match["height"])


@dataclass(frozen=True, slots=True)
class Tier:
    """A rate for outputs up to a limit."""

    label: str
    measure: TierMeasure
    limit: Fraction
    rate: Rate

    def covers(self, work: BillableWork) -> bool:
        return self.measure.value_for(work) <= self.limit

    @classmethod
    def parse(cls, label: str, value: object) -> Tier:
        """Raises TariffError."""
        measure, limit = parse_tier_label(label)
        return cls(label, measure, limit, parse_rate_or_tiers(value))


#: Units of the tariff, or tiers in rising order that lead to them.
Rate: TypeAlias = Fraction | tuple[Tier, ...]


def parse_decimal(value: object) -> Fraction:
    """A decimal number in quotes. Raises TariffError."""
    if not isinstance(value, str):
        raise TariffError(f"{value!r} must be a decimal number in quotes")
    try:
        return parse_rate(value)
    except MoneyError as error:
        raise TariffError(str(error)) from error


def parse_rate_or_tiers(value: object) -> Rate:
    """An amount, or a table of tiers. Raises TariffError."""
    if not isinstance(value, Mapping):
        return parse_decimal(value)
    tiers = sorted((Tier.parse(label, rate) for label, rate in value.items()), key=lambda tier: tier.limit)
    if len({tier.measure for tier in tiers}) != 1:
        raise TariffError(f"tiers must all measure one thing: {', '.join(map(str, value))}")
    return tuple(tiers)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPrice:
    """The price of one model, in units of its tariff."""

    #: Price of one output of base size, for the model list.
    base: Fraction
    #: None selects the tariff's default for the model's kind.
    scale: Scale | None = None
    #: If not empty, tiers replace the base price.
    tiers: tuple[Tier, ...] = ()

    def rate_for(self, work: BillableWork) -> Fraction:
        """Return the first tier that the work fits, or the last one if it fits none."""
        rate: Rate = self.tiers or self.base
        while not isinstance(rate, Fraction):
            rate = next((tier for tier in rate if tier.covers(work)), rate[-1]).rate
        return rate

    @classmethod
    def parse(cls, entry: object) -> ModelPrice:
        """`"0.0005"`, or a table with `price` and perhaps `scale` and `tiers`. Raises TariffError."""
        if not isinstance(entry, Mapping):
            return cls(base=parse_decimal(entry))
        unknown = set(entry) - {"price", "scale", "tiers"}
        if unknown or "price" not in entry:
            raise TariffError(f"a price has `price`, `scale`, `tiers`; not {sorted(entry)}")
        scale = entry.get("scale")
        if scale is not None and scale not in list(Scale):
            raise TariffError(f"scale {scale!r} is none of {', '.join(Scale)}")
        tiers = parse_rate_or_tiers(entry["tiers"]) if "tiers" in entry else ()
        if isinstance(tiers, Fraction):
            raise TariffError("`tiers` must be a table")
        return cls(base=parse_decimal(entry["price"]), scale=scale and Scale(scale), tiers=tiers)
