"""Response bodies of the Pixel Factory document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.http.response_model import JsonNumber, ResponseModel


class QuoteResponse(ResponseModel):
    """What a generation would cost."""

    model: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    path: str = Field(
        "",
        description="The path that takes the body, where that is not `/images/generations` beside the quote:"
        " `/v1/videos` for a body of a video, and `/v1/images/generations` for more than 4 images.",
        examples=["/v1/videos"],
    )
    cost_usd: JsonNumber = Field(description="Price in US dollars.", examples=[0.0005])
    cost_cents: JsonNumber = Field(description="Price in US cents; may have a fraction.", examples=[0.05])
    minimum_applied: bool = Field(description="Whether the minimum price was applied.", examples=[False])
    results: int = Field(
        0,
        description="Number of results that the price is for, where the model makes several for each of `n`.",
        examples=[4],
    )


class ServingModel(ResponseModel):
    """A model that serves the requests of a name for one task."""

    model: str = Field(description="Id of the model.", examples=["qwen-image-edit"])
    price_per_image_cents: JsonNumber = Field(
        description="Price of one result of the default size and length, in US cents.", examples=[1]
    )


class ModelEntry(ResponseModel):
    """A model and its price."""

    id: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    object: Literal["model"] = Field(description="Always `model`.")
    created: int = Field(
        description="Release date of the model, in seconds since 1970.", examples=[1722470400]
    )
    owned_by: str = Field(description="Organization that made the model.", examples=["black-forest-labs"])
    type: Literal["image", "video", "i2v", "upscale", "audio", "3d", "text", "trainer"] = Field(
        description="What the model does; `i2v` makes videos from images.", examples=["image"]
    )
    display_name: str = Field(description="Name for people.", examples=["FLUX.1 Schnell"])
    architecture: str = Field(description="Architecture of the model, for example `flux`.", examples=["flux"])
    max_resolution: str = Field(description="Largest result in pixels, WIDTHxHEIGHT.", examples=["2048x2048"])
    default_steps: int = Field(description="Number of denoising steps if a request sets none.", examples=[4])
    default_cfg: JsonNumber = Field(description="Guidance scale if a request sets none.", examples=[1])
    price_per_image_cents: JsonNumber = Field(
        description="Price of one result of the default size and length, in US cents.", examples=[0.05]
    )
    featured: bool = Field(description="Whether clients should show the model first.", examples=[True])
    license: str = Field(description="License of the model.", examples=["Apache-2.0"])
    license_use: str = Field(
        description="What the licenses of model and weights allow together: `commercial`, `conditions` (see"
        " their texts), `non-commercial`, or `unknown`.",
        examples=["commercial"],
    )
    served_by: dict[str, ServingModel] | None = Field(
        None,
        description="Only for a name that other models serve: these by task (`generate`, `edit`, `mask`,"
        " `variation`, `video`, `image_video`). The other fields are those of the first one.",
        examples=[None],
    )


class ModelEntryList(ResponseModel):
    """All models with their prices."""

    object: Literal["list"] = Field(description="Always `list`.")
    data: list[ModelEntry] = Field(description="The models.")
