"""The price of one model: a rate, perhaps in tiers, and what it is multiplied by. All in exact fractions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TypeAlias

from pricing.money import MoneyError, parse_rate
from pricing.usage import Work

#: Pixels at which an image has its base price, and one "MP" of a tier.
BASE_PIXELS = 1024 * 1024
#: Frames at which a video has its base price.
BASE_FRAMES = 81


class TariffError(ValueError):
    """A price list that can not be read; the text names the file and the entry."""


class Scale(StrEnum):
    """What a rate is multiplied by, besides the number of outputs."""

    FLAT = "flat"
    MEGAPIXELS = "megapixels"  #: area / (1024 x 1024)
    FRAMES = "frames"  #: frames / 81
    SECONDS = "seconds"  #: length of the video

    def factor(self, work: Work) -> Fraction:
        return _FACTORS[self](work)


_FACTORS: Mapping[Scale, Callable[[Work], Fraction]] = {
    Scale.FLAT: lambda work: Fraction(1),
    Scale.MEGAPIXELS: lambda work: Fraction(work.pixels, BASE_PIXELS),
    Scale.FRAMES: lambda work: Fraction(work.frames, BASE_FRAMES),
    Scale.SECONDS: lambda work: work.seconds,
}


class Measure(StrEnum):
    """What a tier limits, by the ending of its label."""

    MEGAPIXELS = "MP"  #: area, in steps of 1024 x 1024
    SQUARE = "K"  #: area of a square of so many times 1024 pixels
    LINES = "p"  #: the shorter side
    SECONDS = "s"  #: length of the video

    def of(self, work: Work) -> Fraction:
        match self:
            case Measure.MEGAPIXELS | Measure.SQUARE:
                return Fraction(work.pixels)
            case Measure.LINES:
                return Fraction(min(work.width, work.height))
            case Measure.SECONDS:
                return work.seconds

    def limit(self, number: Fraction) -> Fraction:
        """The largest measure that a label with this number takes in."""
        match self:
            case Measure.MEGAPIXELS:
                return number * BASE_PIXELS
            case Measure.SQUARE:
                return (number * 1024) ** 2
            case Measure.LINES | Measure.SECONDS:
                return number


@dataclass(frozen=True, slots=True)
class Tier:
    """A rate for outputs up to a limit."""

    label: str
    measure: Measure
    limit: Fraction
    rate: Rate

    def takes(self, work: Work) -> bool:
        return self.measure.of(work) <= self.limit

    @classmethod
    def parse(cls, label: str, value: object) -> Tier:
        """Raises TariffError."""
        for measure in Measure:
            if label.endswith(measure.value):
                number = parse_amount(label.removesuffix(measure.value).strip())
                return cls(label, measure, measure.limit(number), parse_tiers(value))
        raise TariffError(f"tier {label!r} must end in one of {', '.join(Measure)}")


#: Units of the tariff, or tiers in rising order that lead to them.
Rate: TypeAlias = Fraction | tuple[Tier, ...]


def parse_amount(value: object) -> Fraction:
    """A decimal number in quotes. Raises TariffError."""
    if not isinstance(value, str):
        raise TariffError(f"{value!r} must be a decimal number in quotes")
    try:
        return parse_rate(value)
    except MoneyError as error:
        raise TariffError(str(error)) from error


def parse_tiers(value: object) -> Rate:
    """An amount, or a table of tiers. Raises TariffError."""
    if not isinstance(value, Mapping):
        return parse_amount(value)
    tiers = sorted((Tier.parse(label, rate) for label, rate in value.items()), key=lambda tier: tier.limit)
    if len({tier.measure for tier in tiers}) != 1 and {tier.measure for tier in tiers} != _AREA:
        raise TariffError(f"tiers must all measure one thing: {', '.join(map(str, value))}")
    return tuple(tiers)


_AREA = {Measure.MEGAPIXELS, Measure.SQUARE}


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """The price of one model, in units of its tariff."""

    #: For the model list: one output of base size.
    base: Fraction
    #: None: as the tariff says for the model's kind.
    scale: Scale | None = None
    #: Replaces the base price where it is not empty.
    tiers: tuple[Tier, ...] = ()

    def rate(self, work: Work) -> Fraction:
        """The first tier that the work fits; what fits none pays the last."""
        rate: Rate = self.tiers or self.base
        while not isinstance(rate, Fraction):
            rate = next((tier for tier in rate if tier.takes(work)), rate[-1]).rate
        return rate

    @classmethod
    def parse(cls, entry: object) -> Price:
        """`"0.0005"`, or a table with `price` and perhaps `scale` and `tiers`. Raises TariffError."""
        if not isinstance(entry, Mapping):
            return cls(base=parse_amount(entry))
        unknown = set(entry) - {"price", "scale", "tiers"}
        if unknown or "price" not in entry:
            raise TariffError(f"a price has `price`, `scale`, `tiers`; not {sorted(entry)}")
        scale = entry.get("scale")
        if scale is not None and scale not in list(Scale):
            raise TariffError(f"scale {scale!r} is none of {', '.join(Scale)}")
        tiers = parse_tiers(entry["tiers"]) if "tiers" in entry else ()
        if isinstance(tiers, Fraction):
            raise TariffError("`tiers` must be a table")
        return cls(base=parse_amount(entry["price"]), scale=scale and Scale(scale), tiers=tiers)
