"""Tariffs (price lists) as data, and the pure function `quote`.

A tariff file names its unit (dollars or credits), its minimum, how each kind of model scales, and a
price per model:

    id = "pixel-factory"
    effective = 2025-01-01           # a later file with the same id takes over from its date on
    unit = "1"                       # dollars per unit of price
    minimum = "0.01"                 # units per request
    [scale]                          # one line per kind
    image = "megapixels"
    [models]
    "flux-1-schnell" = "0.0005"      # scaled as its kind says
    "p-video" = { price = "0.5", scale = "seconds", tiers = { "720p" = "0.5", "1080p" = "1" } }

A request costs `rate x scale x n`, exactly, rounded up once, and at least the minimum.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

from pricing.money import MICROS_PER_DOLLAR, round_up, to_cents, to_usd
from pricing.rates import ModelPrice, Scale, TariffError, parse_decimal
from pricing.usage import BillableWork, ModelKind

DEFAULT_TARIFF = "pixel-factory"
SHIPPED_TARIFFS = resources.files("pricing") / "tariffs"


class ModelNotPriced(LookupError):
    """The tariff has no price for this model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """The price of a request: held when it is accepted, captured when it succeeds."""

    micros: int
    #: Whether the minimum charge exceeds the calculated price.
    minimum_applied: bool
    #: Tariff of the quote and the first day of its revision.
    tariff_id: str
    effective: date
    #: The price in the tariff's own unit (dollars or credits), minimum included.
    units: Fraction
    #: The minimum charge of a request; 0 if there is none.
    minimum_micros: int = 0

    @property
    def usd(self) -> float:
        return to_usd(self.micros)

    @property
    def cents(self) -> float:
        return to_cents(self.micros)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tariff:
    """One revision of a tariff."""

    id: str
    #: First day (UTC) in force.
    effective: date
    #: Micro-dollars per unit of price.
    unit: Fraction
    #: Minimum charge of a request, in units.
    minimum: Fraction
    scales: Mapping[ModelKind, Scale]
    prices: Mapping[str, ModelPrice]

    def __contains__(self, model: object) -> bool:
        return model in self.prices

    def quote(self, work: BillableWork) -> Quote:
        """Return the price of a request. Raises ModelNotPriced."""
        exact = self._exact_units(work)
        units = max(exact, self.minimum)
        return Quote(
            micros=round_up(units * self.unit),
            minimum_applied=exact < self.minimum,
            tariff_id=self.id,
            effective=self.effective,
            units=units,
            minimum_micros=round_up(self.minimum * self.unit),
        )

    def cents_before_minimum(self, work: BillableWork) -> float:
        """Return the price in cents without the minimum of a request (`0.05`). Raises ModelNotPriced."""
        return to_cents(round_up(self._exact_units(work) * self.unit))

    def base_micros(self, model: str) -> Fraction:
        """Return the price of one output of base size, before the minimum. Raises ModelNotPriced."""
        return self._find_price(model).base * self.unit

    def base_cents(self, model: str) -> float:
        """Return the base price in cents for the model list (`0.05`). Raises ModelNotPriced."""
        return float(self.base_micros(model) / 10_000)

    def with_price(self, model: str, price: object) -> Self:
        """Return the tariff with one price added or replaced.

        `price` is written as in a tariff file, or `{"like": "<priced model>"}` for the price of another
        model. Raises TariffError.
        """
        match price:
            case {"like": str(other), **rest} if not rest:
                if other not in self.prices:
                    raise TariffError(f"{model}: there is no price of {other!r} to take")
                entry = self.prices[other]
            case _:
                entry = _parse_price(model, price)
        return replace(self, prices={**self.prices, model: entry})

    def _exact_units(self, work: BillableWork) -> Fraction:
        """Return the price in units, before rounding and the minimum. Raises ModelNotPriced."""
        price = self._find_price(work.model)
        scale = price.scale or self.scales[work.kind]
        return price.rate_for(work) * scale.factor_for(work) * work.n

    def _find_price(self, model: str) -> ModelPrice:
        try:
            return self.prices[model]
        except KeyError:
            raise ModelNotPriced(f"{self.id} has no price for {model!r}") from None

    @classmethod
    def load(cls, path: Path | Traversable | None = None) -> Self:
        """Read a file, or the shipped default tariff if None. Raises TariffError."""
        path = path or SHIPPED_TARIFFS / f"{DEFAULT_TARIFF}.toml"
        try:
            return cls.parse(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, tomllib.TOMLDecodeError, TariffError) as error:
            raise TariffError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Raises TariffError."""
        wanted = {"id", "effective", "unit", "minimum", "scale", "models"}
        if set(data) != wanted:
            raise TariffError(
                f"a tariff has {', '.join(sorted(wanted))}; this one: {', '.join(sorted(data))}"
            )
        if type(data["effective"]) is not date:
            raise TariffError(f"effective: {data['effective']!r} must be a date")
        return cls(
            id=str(data["id"]),
            effective=data["effective"],
            unit=parse_decimal(data["unit"]) * MICROS_PER_DOLLAR,
            minimum=parse_decimal(data["minimum"]),
            scales=_parse_scales(data["scale"]),
            prices={model: _parse_price(model, entry) for model, entry in data["models"].items()},
        )


def _parse_scales(table: Mapping[str, str]) -> Mapping[ModelKind, Scale]:
    try:
        scales = {ModelKind(kind): Scale(scale) for kind, scale in table.items()}
    except ValueError as error:
        raise TariffError(f"scale: {error}") from error
    # Tariffs of operators may be older than these kinds.
    scales = {ModelKind.AUDIO: Scale.FLAT, ModelKind.TEXT: Scale.FLAT} | scales
    missing = set(ModelKind) - set(scales)
    if missing:
        raise TariffError(f"scale: nothing said about {', '.join(sorted(missing))}")
    return scales


def _parse_price(model: str, entry: object) -> ModelPrice:
    try:
        return ModelPrice.parse(entry)
    except TariffError as error:
        raise TariffError(f"{model}: {error}") from error
