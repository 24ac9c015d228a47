"""Response bodies of the Pixel Factory document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.http.response_model import JsonNumber, ResponseModel


class QuoteResponse(ResponseModel):
    """What a generation would cost."""

    model: str = Field(description="Id of the model.")
    cost_usd: JsonNumber = Field(description="Price in US dollars.")
    cost_cents: JsonNumber = Field(description="Price in US cents; may have a fraction.")
    minimum_applied: bool = Field(description="Whether the minimum price was applied.")


class ModelEntry(ResponseModel):
    """A model and its price."""

    id: str = Field(description="Id of the model.")
    object: Literal["model"] = Field(description="Always `model`.")
    created: int = Field(description="Release date of the model, in seconds since 1970.")
    owned_by: str = Field(description="Organization that made the model.")
    type: Literal["image", "video", "i2v", "upscale", "3d", "trainer"] = Field(
        description="What the model does; `i2v` makes videos from images."
    )
    display_name: str = Field(description="Name for people.")
    architecture: str = Field(description="Architecture of the model, for example `flux`.")
    max_resolution: str = Field(description="Largest result in pixels, WIDTHxHEIGHT.")
    default_steps: int = Field(description="Number of denoising steps if a request sets none.")
    default_cfg: JsonNumber = Field(description="Guidance scale if a request sets none.")
    price_per_image_cents: JsonNumber = Field(description="Price of one result of base size, in US cents.")
    featured: bool = Field(description="Whether clients should show the model first.")


class ModelEntryList(ResponseModel):
    """All models with their prices."""

    object: Literal["list"] = Field(description="Always `list`.")
    data: list[ModelEntry] = Field(description="The models.")
