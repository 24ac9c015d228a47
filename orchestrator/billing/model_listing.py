"""A model as lists show it, with its price."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from orchestrator.billing.price_book import to_billable_work
from orchestrator.catalog import Model
from orchestrator.catalog.licenses import strictest_use
from pricing.tariff import Tariff


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelListing:
    """What the list of models says about one."""

    id: str
    #: Release date of the model, in seconds since 1970.
    created: int
    owned_by: str
    type: str
    display_name: str
    architecture: str
    max_resolution: str
    default_steps: int
    default_cfg: float
    price_per_image_cents: float
    featured: bool
    license: str
    #: What all licenses of the model and its weights allow together.
    license_use: str


def default_cents(model: Model, tariff: Tariff, values: Mapping[str, Any] = MappingProxyType({})) -> float:
    """Return the price in cents of one result of a request that sets nothing.

    The minimum of a request is left out. `values` are the size and length that belong to a name of the model.
    Raises ModelNotPriced.
    """
    work = to_billable_work(model, model.example_params(**values), None)
    return tariff.cents_before_minimum(replace(work, n=1))


def list_model(
    model: Model,
    tariff: Tariff,
    name: str | None = None,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> ModelListing:
    """Return a model and its price, under its id or another `name` that requests may use.

    `values` are as in `default_cents`.
    """
    return ModelListing(
        id=name or model.id,
        created=timegm(model.manifest.created.timetuple()),
        owned_by=model.manifest.owner,
        type=model.kind.value,
        display_name=model.name if name in (None, model.id, *model.aliases) else f"{name} ({model.name})",
        architecture=model.manifest.architecture,
        max_resolution=model.manifest.max_resolution,
        default_steps=model.default_steps,
        default_cfg=model.default_cfg,
        price_per_image_cents=default_cents(model, tariff, values),
        featured=model.manifest.featured,
        license=model.manifest.license,
        license_use=strictest_use(model.manifest),
    )
