"""Loading of tariffs, plans and costs, from the shipped files or the operator's."""

from __future__ import annotations

from datetime import date

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
    """Return all tariffs without checking the models. Raises TariffError."""
    return TariffRevisions.load(settings.tariffs_dir or SHIPPED_TARIFFS)


def check_model_priced(model: Model, revisions: TariffRevisions, today: date) -> None:
    """Raise CatalogError if the default tariff, current or future, has no price for the model."""
    coming = [one for one in revisions.tariffs if one.id == DEFAULT_TARIFF and one.effective > today]
    try:
        current = revisions.in_force_on(DEFAULT_TARIFF, today)
    except TariffError as error:
        raise CatalogError(str(error), file=model.id, where="price_class") from error
    for tariff in (current, *coming):
        if model.price_class not in tariff:
            reason = f"price class {model.price_class!r} is not in tariff {tariff.id} of {tariff.effective}"
            raise CatalogError(reason, file=model.id, where="price_class")


def load_plans(settings: Settings) -> Plans:
    """Raises PlanError."""
    return Plans.load(settings.plans_file) if settings.plans_file else Plans.load()


def load_costs(settings: Settings) -> CostRates:
    """Raises CostsError."""
    return CostRates.load(settings.costs_file) if settings.costs_file else CostRates.load()
