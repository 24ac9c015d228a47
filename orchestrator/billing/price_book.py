"""Quotes: the price of a request under the caller's tariff, or the default tariff if it lacks the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from orchestrator.catalog import Model
from pricing.book import TariffRevisions
from pricing.rates import ModelPrice
from pricing.tariff import DEFAULT_TARIFF, Quote, Tariff
from pricing.usage import BillableWork, ModelKind


def to_billable_work(
    model: Model, params: Mapping[str, Any], image_size: tuple[int, int] | None
) -> BillableWork:
    """Return the billable work of validated parameters; `image_size` is the input image's size in pixels."""
    width, height = model.output_size(params, image_size) or (1024, 1024)
    return BillableWork(
        model=model.price_class,
        kind=ModelKind(model.kind),
        n=params["n"] * model.manifest.batch,
        width=width,
        height=height,
        frames=params.get("num_frames") or 1,
        fps=params.get("fps") or 16.0,
        steps=params.get("steps") or 1,
    )


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All tariffs in force on one day (UTC)."""

    revisions: TariffRevisions
    day: date

    @property
    def default_tariff(self) -> Tariff:
        return self.revisions.in_force_on(DEFAULT_TARIFF, self.day)

    def micros_per_unit(self, tariff: str) -> Fraction:
        """Return the micro-dollars per unit (a dollar or a credit) of a tariff. Raises TariffError."""
        return self.revisions.in_force_on(tariff, self.day).unit

    def find_price(
        self, tariff: str, model: Model, requested_name: str | None = None
    ) -> tuple[str, ModelPrice] | None:
        """Return the model's name and price in a tariff: by the requested name, its id or an alias.

        The default tariff lists price classes only. Raises TariffError for an unknown tariff.
        """
        names = (
            (requested_name or model.id, model.id, *model.aliases)
            if tariff != DEFAULT_TARIFF
            else (model.price_class,)
        )
        prices = self.revisions.in_force_on(tariff, self.day).prices
        return next(((name, prices[name]) for name in names if name in prices), None)

    def quote(
        self, tariff: str, model: Model, work: BillableWork, requested_name: str | None = None
    ) -> Quote:
        """Return the price of a model's work. Raises TariffError for an unknown tariff."""
        found = self.find_price(tariff, model, requested_name)
        if found is None:
            return self.default_tariff.quote(work)
        return self.revisions.in_force_on(tariff, self.day).quote(replace(work, model=found[0]))

    def example_quote(
        self, tariff: str, model: Model, values: Mapping[str, Any] = MappingProxyType({})
    ) -> Quote:
        """Return the price of one result with these parameters and defaults. Raises TariffError."""
        return self.quote(tariff, model, to_billable_work(model, model.example_params(**values), None))
