"""Pixazo's names of image sizes; `NAMED_SIZES` has the width and height that they stand for."""

from __future__ import annotations

from typing import Literal

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
