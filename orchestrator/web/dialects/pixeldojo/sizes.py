"""Aspect ratios, resolutions and durations, as sides in pixels and numbers of frames that a model makes."""

from __future__ import annotations

from orchestrator.catalog import Model, OutputSizes
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.errors import InvalidRequest
from pricing.rates import TariffError, TierMeasure, parse_tier_label

ASPECT_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9", "9:21")
#: By how much a named resolution may lie above what the model makes: 480p is 853x480, its model 832x480.
AREA_TOLERANCE = 1.05


def aspect_ratio_to_dimensions(
    model: Model, aspect_ratio: str | None, resolution: str | None
) -> dict[str, int]:
    """Width and height by their names; nothing where nothing is asked for or the model has no such choice.

    The result has no more pixels than the resolution's name says, so that it falls into its price tier.
    Raises InvalidRequest.
    """
    frame = OutputSizes.from_model(model)
    if frame is None or (aspect_ratio is None and resolution is None):
        return {}
    usual = frame.default_size
    ratio = usual[0] / usual[1] if aspect_ratio is None else _parse_aspect_ratio(aspect_ratio)
    area = usual[0] * usual[1] if resolution is None else _parse_max_pixels(resolution, ratio)
    found = frame.fit_aspect_ratio(ratio, area) if area <= frame.max_pixels * AREA_TOLERANCE else None
    if found is None:
        raise _invalid_field("resolution", f"is nothing that {model.id} makes")
    return {"width": found[0], "height": found[1]}


def duration_to_frames(model: Model, duration: float | None, fps: int | None) -> dict[str, int]:
    """The number of frames of a film of so many seconds. Raises InvalidRequest."""
    spec, rate = model.parameters.get("num_frames"), model.parameters.get("fps")
    if duration is None or not isinstance(spec, IntegerParameter) or not isinstance(rate, IntegerParameter):
        return {}
    per_second = rate.default or 16 if fps is None else rate.validate_value("fps", fps)
    least, most = spec.minimum / per_second, spec.maximum / per_second
    if not least <= duration <= most:
        raise _invalid_field("duration", f"must be between {least:.2f} and {most:.2f} seconds")
    return {"num_frames": min(round(duration * per_second), spec.maximum)}


def _parse_aspect_ratio(text: str) -> float:
    if text not in ASPECT_RATIOS:
        raise _invalid_field("aspect_ratio", f"must be one of {', '.join(ASPECT_RATIOS)}")
    width, _, height = text.partition(":")
    return int(width) / int(height)


def _parse_max_pixels(resolution: str, ratio: float) -> float:
    """Most pixels of `720p`, `2K`, `0.5 MP`."""
    try:
        measure, number = parse_tier_label(resolution)
    except TariffError as error:
        raise _invalid_field("resolution", "must be written like 720p, 1K, 0.5 MP or 1024x1024") from error
    match measure:
        case TierMeasure.AREA:
            return float(number)
        case TierMeasure.LINES:
            return float(number**2) * max(ratio, 1 / ratio)
        case TierMeasure.SECONDS:
            raise _invalid_field("resolution", "is no length of time")


def _invalid_field(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"`{name}` {reason}", code=f"invalid_{name}", param=name)
