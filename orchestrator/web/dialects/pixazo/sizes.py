"""Pixazo's names of image sizes, and the width and height that they stand for."""

from __future__ import annotations

from typing import Literal

from orchestrator.catalog import Model, OutputSizes
from orchestrator.web.dialects.dimensions import NAMED_SIZES

#: Names that the older models use, as fal.ai does.
FalImageSize = Literal[
    "square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"
]
#: Names that FLUX.2 Pro uses.
Flux2ProImageSize = Literal[
    "portrait_4_5",
    "portrait_9_16",
    "square_1_1",
    "landscape_3_2",
    "landscape_4_3",
    "landscape_16_9",
    "landscape_21_9",
]
AspectRatio = Literal["21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21"]


def size_name_to_dimensions(model: Model, name: str | None) -> dict[str, int]:
    """Return the width and height of the model that are closest to a named size.

    Returns nothing if no name is given or the model has no width and height.
    """
    sizes = OutputSizes.from_model(model)
    if name is None or sizes is None:
        return {}
    return sizes.fit_size(*NAMED_SIZES[name]).to_params()
