"""Prices, plans and costs: the files that ship, or the operator's own."""

from __future__ import annotations

from datetime import date

from orchestrator.catalog import Catalog
from orchestrator.settings import Settings, SettingsError
from pricing.book import TariffBook
from pricing.costs import Costs
from pricing.plans import Plans
from pricing.tariff import DEFAULT, SHIPPED


def load_prices(settings: Settings, catalog: Catalog, today: date) -> TariffBook:
    """All price lists. Raises TariffError; SettingsError where ours lacks a model, today or later."""
    book = TariffBook.load(settings.tariffs_dir or SHIPPED)
    coming = [one for one in book.tariffs if one.id == DEFAULT and one.effective > today]
    for tariff in (book.at(DEFAULT, today), *coming):
        for model in catalog:
            if model.price_class not in tariff:
                raise SettingsError(
                    f"{model.id}: price class {model.price_class!r} is not in tariff {tariff.id}"
                    f" of {tariff.effective}"
                )
    return book


def load_plans(settings: Settings) -> Plans:
    """Raises PlanError."""
    return Plans.load(settings.plans_file) if settings.plans_file else Plans.load()


def load_costs(settings: Settings) -> Costs:
    """Raises CostsError."""
    return Costs.load(settings.costs_file) if settings.costs_file else Costs.load()
