"""PixelDojo's view of the models: what each costs in credits, can do and takes."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeAlias

from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog import Model, ModelKind, OutputSizes, build_request_schema
from orchestrator.web.dialects.credits import to_json_number
from orchestrator.web.dialects.model_selection import max_input_images
from orchestrator.web.dialects.pixeldojo.sizes import ASPECT_RATIOS
from orchestrator.web.dialects.pixeldojo.translation import TARIFF
from pricing.rates import ModelPrice, Rate, Scale

#: Credits, or tables of them by resolution or length.
CreditCosts: TypeAlias = int | float | dict[str, Any]


def to_model_fields(model: Model, prices: PriceBook) -> dict[str, Any]:
    """What the list of models says of one, besides what others' clients read of it."""
    return {
        "apiId": api_id(model, prices),
        "name": model.name,
        "description": model.description,
        "modality": modality(model),
        "creditCost": model_credit_cost(model, prices),
        "features": model_features(model),
        "aliases": list(model.aliases),
    }


def to_model_details(model: Model, prices: PriceBook) -> dict[str, Any]:
    """The same and what a run takes."""
    schema = run_schema(model)
    return to_model_fields(model, prices) | {"parameters": schema["properties"], "requestSchema": schema}


def modality(model: Model) -> str:
    if model.makes_video:
        return "video"
    return "training" if model.kind is ModelKind.TRAINER else "image"


def api_id(model: Model, prices: PriceBook) -> str:
    """The name by which the price list knows the model, else ours."""
    row = prices.find_price(TARIFF, model)
    return row[0] if row else model.id


def model_credit_cost(model: Model, prices: PriceBook) -> dict[str, Any]:
    """Credits for a result, or a second of one, where nothing but the prompt is said; and by resolution."""
    row = prices.find_price(TARIFF, model)
    if row is None:
        usual = Fraction(prices.example_quote(TARIFF, model).micros) / prices.micros_per_unit(TARIFF)
        return {"default": to_json_number(usual), "type": "fixed", "amount": to_json_number(usual)}
    return to_credit_price(row[1])


def to_credit_price(price: ModelPrice) -> dict[str, Any]:
    """A price of PixelDojo's list."""
    kind = "per_second" if price.scale is Scale.SECONDS else "fixed"
    tiers = {"byResolution": _to_credit_costs(price.tiers)} if price.tiers else {}
    return {
        "default": to_json_number(price.base),
        "type": kind,
        "amount": to_json_number(price.base),
        **tiers,
    }


def format_credit_cost(cost: Mapping[str, Any]) -> str:
    """`1.5 credit(s) (by resolution: 0.5 MP=1, 1 MP=1.5)`, as the document prints it."""
    per_second = cost["type"] == "per_second"
    line = f"{cost['amount']} credits/sec" if per_second else f"{cost['amount']} credit(s)"
    tiers = cost.get("byResolution", {})
    if any(isinstance(value, dict) for value in tiers.values()):
        rows = (
            f"{name}: " + "/".join(f"{key}={value}" for key, value in row.items())
            for name, row in tiers.items()
        )
        return f"{line} ({'; '.join(rows)})"
    if not tiers:
        return line
    listed = ", ".join(f"{name}={value}" for name, value in tiers.items())
    return f"{line} (by resolution: {listed}{' /sec' if per_second else ''})"


def model_features(model: Model) -> list[str]:
    named = {
        "LoRA": "loras" in model.parameters,
        "Editing": not model.makes_video and max_input_images(model) > 0,
    }
    return [name for name, has in named.items() if has]


def run_schema(model: Model) -> dict[str, Any]:
    """The JSON Schema of a run's body: the manifest's parameters and the dialect's own."""
    schema = build_request_schema(model)
    properties = schema["properties"] | _dialect_properties(model)
    if "image" not in schema["required"]:
        return schema | {"properties": properties}
    return schema | {
        "properties": properties,
        "required": [name for name in schema["required"] if name != "image"],
        "anyOf": [{"required": [name]} for name in ("image", "image_url", "reference_images")],
    }


def _dialect_properties(model: Model) -> dict[str, Any]:
    text, picture = {"type": "string"}, {"type": "string", "description": "Base64, data URL or http(s) URL."}
    properties: dict[str, Any] = {}
    if OutputSizes.from_model(model) is not None:
        properties["aspect_ratio"] = text | {
            "enum": list(ASPECT_RATIOS),
            "description": "Shape of the result.",
        }
        properties["resolution"] = text | {"description": "Such as 720p, 1K, 0.5 MP or 1024x1024."}
    if "num_frames" in model.parameters:
        properties["duration"] = {"type": "number", "exclusiveMinimum": 0, "description": "Seconds."}
    pictures = max_input_images(model)
    if pictures:
        properties["image_url"] = picture
        properties["reference_images"] = {"type": "array", "items": picture, "maxItems": pictures}
    if "loras" in model.parameters:
        properties["lora_weights"] = {
            "type": ["string", "array"],
            "items": text,
            "description": "Names of LoRAs.",
        }
        properties["lora_scale"] = {"type": ["number", "array"], "items": {"type": "number"}, "default": 1}
    properties["webhook_url"] = text | {"format": "uri", "description": "Is told when the job is finished."}
    return properties


def _to_credit_costs(rate: Rate) -> CreditCosts:
    if isinstance(rate, Fraction):
        return to_json_number(rate)
    return {tier.label: _to_credit_costs(tier.rate) for tier in rate}
