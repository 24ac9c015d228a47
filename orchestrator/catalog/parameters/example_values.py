"""Valid values for parameters that must be given, where a graph is rendered only to be looked at."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.catalog.parameters.values import Dataset, Image, Images, Integer, Number, Parameter, Text

#: The names of a picture and of a dataset's folder.
EXAMPLE_IMAGE, EXAMPLE_FOLDER = "example.png", "example"


def example_value(spec: Parameter) -> Any:
    """A valid value."""
    match spec:
        case Image():
            return EXAMPLE_IMAGE
        case Images():
            return [EXAMPLE_IMAGE]
        case Dataset():
            return EXAMPLE_FOLDER
        case _ if spec.default not in (None, ""):
            return spec.default
        case Text():
            return next(iter(spec.choices), "a lighthouse at dusk")
        case Integer():
            return math.ceil(spec.minimum / spec.step) * spec.step
        case _:
            return spec.minimum if isinstance(spec, Number) else 0
