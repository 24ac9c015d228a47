"""Pixazo's names of image sizes, and the width and height that they stand for."""

from __future__ import annotations

from typing import Literal

from orchestrator.catalog import Model, OutputSizes

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

#: Width and height. Portraits of the older names swap the numbers: `portrait_16_9` is 9 wide, 16 high.
DIMENSIONS_BY_SIZE_NAME = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
    "portrait_4_5": (816, 1024),
    "portrait_9_16": (576, 1024),
    "square_1_1": (1024, 1024),
    "landscape_3_2": (1024, 688),
    "landscape_21_9": (1024, 448),
}


def size_name_to_dimensions(model: Model, name: str | None) -> dict[str, int]:
    """Return the width and height of the model that are closest to a named size.

    Returns nothing if no name is given or the model has no width and height.
    """
    sizes = OutputSizes.from_model(model)
    if name is None or sizes is None:
        return {}
    width, height = sizes.fit_size(*DIMENSIONS_BY_SIZE_NAME[name])
    return {"width": width, "height": height}
