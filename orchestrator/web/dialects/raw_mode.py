"""`raw` of FLUX 1.1 Pro Ultra: less processed, more natural images, by a lower guidance."""

from __future__ import annotations

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import NumberParameter
from orchestrator.errors import InvalidRequest

#: Guidance of a less processed, more natural image, as a multiple of the model's default.
RAW_GUIDANCE_FACTOR = 0.6
RAW_DESCRIPTION = "Less processed, more natural images: three fifths of the model's default guidance."


def raw_guidance(model: Model) -> dict[str, float]:
    """Return the guidance of a less processed image. Raises InvalidRequest if the model has none."""
    spec = model.parameters.get("cfg_scale")
    if not isinstance(spec, NumberParameter):
        raise InvalidRequest(
            f"`raw` must be false: {model.id} has no guidance to lower", code="unsupported_raw", param="raw"
        )
    return {"cfg_scale": max(round(model.default_cfg * RAW_GUIDANCE_FACTOR, 2), spec.minimum)}
