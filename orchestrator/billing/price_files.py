"""Loading of tariffs, plans and costs, from the shipped files or the operator's."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from orchestrator.billing.own_prices import OWN_PRICES_NAME, LiveTariffs, add_own_prices, read_own_prices
from orchestrator.catalog import Catalog, CatalogError, Model
from orchestrator.settings import Settings, SettingsError
from pricing.book import TariffRevisions
from pricing.costs import CostRates
from pricing.plans import Plans
from pricing.rates import TariffError
from pricing.tariff import DEFAULT_TARIFF, SHIPPED_TARIFFS


def load_tariffs_for_catalog(settings: Settings, catalog: Catalog, today: date) -> TariffRevisions:
    """Return all tariffs. Raises TariffError, and SettingsError if the default tariff lacks a model."""
    book = load_tariffs(settings)
    for model in catalog:
        try:
            check_model_priced(model, book, today)
        except CatalogError as error:
            raise SettingsError(str(error)) from error
    return book


def load_tariffs(settings: Settings) -> TariffRevisions:
    """Return all tariffs with own price classes, without checking the models. Raises TariffError."""
    file = own_prices_file(settings)
    revisions = TariffRevisions.load(settings.tariffs_dir or SHIPPED_TARIFFS)
    return add_own_prices(revisions, read_own_prices(file), file)


def own_prices_file(settings: Settings) -> Path:
    """Return the file of the operator's price classes."""
    return settings.published_path / OWN_PRICES_NAME


def open_live_tariffs(settings: Settings) -> LiveTariffs:
    """Return the tariffs of a running service. Raises TariffError."""
    return LiveTariffs(lambda: load_tariffs(settings), own_prices_file(settings))


def check_model_priced(model: Model, revisions: TariffRevisions, today: date) -> None:
    """Raise CatalogError if the default tariff, current or future, has no price for the model."""
    coming = [one for one in revisions.tariffs if one.id == DEFAULT_TARIFF and one.effective > today]
    try:
        current = revisions.in_force_on(DEFAULT_TARIFF, today)
    except TariffError as error:
        raise CatalogError(str(error), file=model.id, where="price_class") from error
    for tariff in (current, *coming):
        if model.price_class not in tariff:
            reason = (
                f"price class {model.price_class!r} is not in tariff {tariff.id} of {tariff.effective}; there"
                f" are {', '.join(sorted(tariff.prices))}; `pixelfactory prices new` makes one"
            )
            raise CatalogError(reason, file=model.id, where="price_class")


def load_plans(settings: Settings) -> Plans:
    """Raises PlanError."""
    return Plans.load(settings.plans_file) if settings.plans_file else Plans.load()


def load_costs(settings: Settings) -> CostRates:
    """Raises CostsError."""
    return CostRates.load(settings.costs_file) if settings.costs_file else CostRates.load()
