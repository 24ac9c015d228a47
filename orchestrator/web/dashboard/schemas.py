"""Bodies of the playground's API, and the functions that build them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from pydantic import Field

from orchestrator.billing.price_book import to_billable_work
from orchestrator.catalog import Model
from orchestrator.catalog.licenses import strictest_use
from orchestrator.web.account.billing_schemas import BudgetAlert, WalletBalance
from orchestrator.web.dashboard.presets import preset_sizes
from orchestrator.web.http.response_model import ResponseModel
from pricing.tariff import Tariff


class PlaygroundAccount(ResponseModel):
    """What the header of every page shows."""

    name: str = Field(description="Name of the account.")
    plan: str = Field(description="Plan of the account.")
    key: str = Field(description="The API key, masked.")
    scopes: list[str] = Field(description="Scopes of the API key.")
    balance: WalletBalance | None = Field(description="Balance; null without the scope `billing`.")
    alerts: list[BudgetAlert] = Field(description="Budget alerts that have fired.")
    simulated: bool = Field(description="Whether instances are simulated.")


class PlaygroundModel(ResponseModel):
    """A model with the parameters, sizes and price that its form needs."""

    id: str = Field(description="Id of the model.")
    name: str = Field(description="Its name.")
    kind: str = Field(description="What it makes.")
    description: str = Field(description="What it is good for.")
    license: str = Field(description="License of the model.")
    license_use: str = Field(description="What its licenses allow; see `GET /v1/models`.")
    max_n: int = Field(description="Most results of a job.")
    price_usd: float = Field(
        description="What a request with the defaults costs, the minimum included; at least, where an input"
        " decides."
    )
    price_depends_on_input: bool = Field(description="Whether the size of the input image decides the price.")
    parameters: dict[str, dict[str, Any]] = Field(description="Declarations of its parameters.")
    sizes: dict[str, tuple[int, int]] = Field(description="Width and height by aspect ratio.")
    example: dict[str, Any] = Field(description="The author's own values, such as the prompt.")
    example_picture: str = Field(
        description="A picture that the author has made, as a `data:` URL; or empty."
    )
    example_files: dict[str, str] = Field(description="Paths of the author's own input files, by parameter.")


class PlaygroundModelList(ResponseModel):
    """The models that the key may use."""

    models: list[PlaygroundModel] = Field(description="The models.")
    default: str = Field(description="Id of the model that the form shows first.")


class PlaygroundQuote(ResponseModel):
    """The price of a job."""

    cost_usd: float = Field(description="The price.")
    minimum_applied: bool = Field(description="Whether it is the smallest price of a request.")


def to_playground_model(
    name: str, model: Model, tariff: Tariff, values: Mapping[str, Any] = MappingProxyType({})
) -> PlaygroundModel:
    """Return a model as the playground shows it; `name` chooses it and has the defaults `values`."""
    return PlaygroundModel(
        id=name,
        name=model.name,
        kind=model.kind.value,
        description=model.description,
        license=model.manifest.license,
        license_use=strictest_use(model.manifest),
        max_n=model.max_n,
        price_usd=tariff.quote(to_billable_work(model, model.example_params(**values), None)).usd,
        price_depends_on_input=model.output_size(model.example_params(**values), None) is None,
        parameters={name: spec.model_dump(mode="json") for name, spec in model.parameters.items()},
        sizes=preset_sizes(model),
        example=model.manifest.example,
        example_picture=model.manifest.example_picture,
        example_files={
            parameter: f"/dashboard/api/models/{quote(name, safe='')}/examples/{parameter}"
            for parameter in model.example_files
        },
    )
