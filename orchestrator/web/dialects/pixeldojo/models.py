"""PixelDojo's view of the models: prices in credits, features and parameters."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from orchestrator.billing.price_book import PriceBook, to_billable_work
from orchestrator.catalog import Catalog, Model, ModelKind
from orchestrator.intake.name_defaults import default_params
from orchestrator.web.dialects.credits import to_json_number
from orchestrator.web.dialects.input_image_models import max_input_images
from orchestrator.web.dialects.pixeldojo.schemas import (
    CreditCost,
    PixelDojoModelDetails,
    PixelDojoModelFields,
)
from orchestrator.web.dialects.pixeldojo.shown_tiers import limit_tiers
from orchestrator.web.dialects.pixeldojo.translation import TARIFF
from pricing.rates import ModelPrice, Rate, Scale

#: Credits, or tables of them by resolution or length.
CreditTable: TypeAlias = int | float | dict[str, Any]


def to_model_fields(
    model: Model, prices: PriceBook, name: str | None = None, catalog: Catalog | None = None
) -> PixelDojoModelFields:
    """Return what the list of models reports for PixelDojo's clients; prices depend on the `name` used.

    `catalog` has the other models of the name, and its default size and length.
    """
    return PixelDojoModelFields(
        apiId=api_id(model, prices, name),
        name=model.name,
        description=model.description,
        modality=modality(model),
        creditCost=model_credit_cost(model, prices, name, catalog),
        features=model_features(model),
        aliases=list(model.aliases) if name in (None, model.id, *model.aliases) else [],
    )


def to_model_details(
    model: Model,
    prices: PriceBook,
    schema: dict[str, Any],
    name: str | None = None,
    catalog: Catalog | None = None,
) -> PixelDojoModelDetails:
    """Return the fields of the list and the parameters of a run, which has the `schema`."""
    return PixelDojoModelDetails(
        **dict(to_model_fields(model, prices, name, catalog)),
        parameters=schema["properties"],
        requestSchema=schema,
    )


def modality(model: Model) -> Literal["image", "video", "training"]:
    """Return what the model makes, as PixelDojo groups models."""
    if model.makes_video:
        return "video"
    return "training" if model.kind is ModelKind.TRAINER else "image"


def api_id(model: Model, prices: PriceBook, name: str | None = None) -> str:
    """Return the name to run the model with: the given one, that of PixelDojo's price list, or the id."""
    if name is not None:
        return name
    row = prices.find_price(TARIFF, model)
    return model.id if row is None else row[0]


def model_credit_cost(
    model: Model, prices: PriceBook, name: str | None = None, catalog: Catalog | None = None
) -> CreditCost:
    """Return the price of a result (or a second of it) with default parameters, and by resolution.

    Resolutions that no model of the name makes are left out.
    """
    defaults = {} if catalog is None else default_params(catalog.defaults_of(name), model)
    row = prices.find_price(TARIFF, model, name)
    if row is None:
        micros = Fraction(prices.example_quote(TARIFF, model, defaults).micros)
        amount = to_json_number(micros / prices.micros_per_unit(TARIFF))
        return CreditCost(default=amount, type="fixed", amount=amount)
    _, price = row
    models = [model] if catalog is None or name is None else catalog.models_of(name)
    tiers = limit_tiers(price.tiers, models)
    work = to_billable_work(model, model.example_params(**defaults), None)
    return to_credit_cost(
        replace(price, base=price.rate_for(work), tiers=() if isinstance(tiers, Fraction) else tiers)
    )


def to_credit_cost(price: ModelPrice) -> CreditCost:
    """Return a price of PixelDojo's list as its clients read it."""
    amount = to_json_number(price.base)
    tiers = {"byResolution": _to_credit_table(price.tiers)} if price.tiers else {}
    return CreditCost.model_validate(
        {
            "default": amount,
            "type": "per_second" if price.scale is Scale.SECONDS else "fixed",
            "amount": amount,
            **tiers,
        }
    )


def model_features(model: Model) -> list[str]:
    """Return the model's abilities besides making a result from a prompt."""
    features = {
        "LoRA": "loras" in model.parameters,
        "Editing": not model.makes_video and max_input_images(model) > 0,
    }
    return [name for name, has_feature in features.items() if has_feature]


def _to_credit_table(rate: Rate) -> CreditTable:
    if isinstance(rate, Fraction):
        return to_json_number(rate)
    return {tier.label: _to_credit_table(tier.rate) for tier in rate}
