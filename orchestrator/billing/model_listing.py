"""A model as lists show it, with its price."""

from __future__ import annotations

from calendar import timegm
from dataclasses import dataclass

from orchestrator.catalog import Model
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


def list_model(model: Model, tariff: Tariff, name: str | None = None) -> ModelListing:
    """Return a model and its price, under its id or another `name` that requests may use."""
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
        price_per_image_cents=tariff.base_cents(model.price_class),
        featured=model.manifest.featured,
    )
