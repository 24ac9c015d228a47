"""PixelDojo's view of the models: prices in credits, features and parameters."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal, TypeAlias

from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog import Model, ModelKind, OutputSizes, build_request_schema
from orchestrator.web.dialects.credits import to_json_number
from orchestrator.web.dialects.dimensions import ASPECT_RATIOS
from orchestrator.web.dialects.model_selection import max_input_images
from orchestrator.web.dialects.pixeldojo.schemas import (
    CreditCost,
    PixelDojoModelDetails,
    PixelDojoModelFields,
)
from orchestrator.web.dialects.pixeldojo.translation import TARIFF
from pricing.rates import ModelPrice, Rate, Scale

#: Credits, or tables of them by resolution or length.
CreditTable: TypeAlias = int | float | dict[str, Any]


def to_model_fields(model: Model, prices: PriceBook) -> PixelDojoModelFields:
    """Return what the list of models reports for PixelDojo's clients."""
    return PixelDojoModelFields(
        apiId=api_id(model, prices),
        name=model.name,
        description=model.description,
        modality=modality(model),
        creditCost=model_credit_cost(model, prices),
        features=model_features(model),
        aliases=list(model.aliases),
    )


def to_model_details(model: Model, prices: PriceBook) -> PixelDojoModelDetails:
    """Return the fields of the list and the parameters of a run."""
    schema = run_schema(model)
    return PixelDojoModelDetails(
        **dict(to_model_fields(model, prices)), parameters=schema["properties"], requestSchema=schema
    )


def modality(model: Model) -> Literal["image", "video", "training"]:
    """Return what the model makes, as PixelDojo groups models."""
    if model.makes_video:
        return "video"
    return "training" if model.kind is ModelKind.TRAINER else "image"


def api_id(model: Model, prices: PriceBook) -> str:
    """Return the name of the model in PixelDojo's price list, or its id if the list does not name it."""
    row = prices.find_price(TARIFF, model)
    if row is None:
        return model.id
    name, _ = row
    return name


def model_credit_cost(model: Model, prices: PriceBook) -> CreditCost:
    """Return the price of a result (or a second of it) with default parameters, and by resolution."""
    row = prices.find_price(TARIFF, model)
    if row is None:
        micros = Fraction(prices.example_quote(TARIFF, model).micros)
        amount = to_json_number(micros / prices.micros_per_unit(TARIFF))
        return CreditCost(default=amount, type="fixed", amount=amount)
    _, price = row
    return to_credit_cost(price)


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


def run_schema(model: Model) -> dict[str, Any]:
    """Return the JSON Schema of a run's body: the model's parameters and those of the dialect."""
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
    text = {"type": "string"}
    properties: dict[str, Any] = {}
    if OutputSizes.from_model(model) is not None:
        properties["aspect_ratio"] = text | {
            "enum": list(ASPECT_RATIOS),
            "description": "Aspect ratio of the result.",
        }
        properties["resolution"] = text | {
            "description": "Size of the result, such as 720p, 1K, 0.5 MP or 1024x1024."
        }
    if "num_frames" in model.parameters:
        properties["duration"] = {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "Length of the video in seconds.",
        }
    properties |= _image_properties(max_input_images(model))
    if "loras" in model.parameters:
        properties["lora_weights"] = {
            "type": ["string", "array"],
            "items": text,
            "description": "Name of a LoRA, or names of several.",
        }
        properties["lora_scale"] = {
            "type": ["number", "array"],
            "items": {"type": "number"},
            "default": 1,
            "description": "Strength of all LoRAs, or of each.",
        }
    properties["webhook_url"] = text | {
        "format": "uri",
        "description": "URL that is called when the job is finished.",
    }
    return properties


def _image_properties(max_images: int) -> dict[str, Any]:
    if not max_images:
        return {}
    image = {"type": "string", "description": "Input image: base64 text, data URL or http(s) URL."}
    return {
        "image_url": image,
        "reference_images": {
            "type": "array",
            "items": image,
            "maxItems": max_images,
            "description": "Input images.",
        },
    }


def _to_credit_table(rate: Rate) -> CreditTable:
    if isinstance(rate, Fraction):
        return to_json_number(rate)
    return {tier.label: _to_credit_table(tier.rate) for tier in rate}
