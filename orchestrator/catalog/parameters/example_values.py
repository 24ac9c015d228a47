"""Valid example values for required parameters, to render a graph that is only validated."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.catalog.parameters.values import (
    AudioParameter,
    DatasetParameter,
    ImageListParameter,
    ImageParameter,
    IntegerParameter,
    NumberParameter,
    Parameter,
    TextParameter,
    VideoParameter,
)

#: Names of an image, of a video, of audio and of a dataset's folder.
EXAMPLE_IMAGE, EXAMPLE_VIDEO, EXAMPLE_DATASET_FOLDER = "example.png", "example.mp4", "example"
EXAMPLE_AUDIO = "example.wav"


def example_value(spec: Parameter) -> Any:
    """Return a valid value for a parameter."""
    match spec:
        case ImageParameter():
            return EXAMPLE_IMAGE
        case ImageListParameter():
            return [EXAMPLE_IMAGE]
        case VideoParameter():
            return EXAMPLE_VIDEO
        case AudioParameter():
            return EXAMPLE_AUDIO
        case DatasetParameter():
            return EXAMPLE_DATASET_FOLDER
        case _ if spec.default not in (None, ""):
            return spec.default
        case TextParameter():
            return next(iter(spec.choices), "a lighthouse at dusk")
        case IntegerParameter():
            return math.ceil(spec.minimum / spec.step) * spec.step
        case _:
            return spec.minimum if isinstance(spec, NumberParameter) else 0
