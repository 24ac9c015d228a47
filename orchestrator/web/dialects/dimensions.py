"""Sizes and durations as callers write them, converted to a model's width, height and number of frames."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from types import MappingProxyType

from orchestrator.catalog import Model, OutputSizes, parse_size
from orchestrator.catalog.parameters.output_sizes import STANDARD_SHAPE_TOLERANCE
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.intake.field_names import errors_name_fields
from pricing.rates import TariffError, TierMeasure, parse_tier_label

#: A size as a request may write it.
SizeField = str | int | dict[str, int]
#: Names of sizes in other APIs. Portraits may swap the numbers: `portrait_16_9` is 9 wide, 16 high.
NAMED_SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "square": Size(512, 512),
        "square_hd": Size(1024, 1024),
        "portrait_4_3": Size(768, 1024),
        "portrait_16_9": Size(576, 1024),
        "landscape_4_3": Size(1024, 768),
        "landscape_16_9": Size(1024, 576),
        "portrait_4_5": Size(768, 960),
        "portrait_9_16": Size(576, 1024),
        "square_1_1": Size(1024, 1024),
        "landscape_3_2": Size(1008, 672),
        "landscape_21_9": Size(1008, 432),
    }
)
_ASPECT_RATIO_TEXT = re.compile(r"[0-9]{1,2}:[0-9]{1,2}", re.ASCII)
_RESOLUTION_TEXT = re.compile(r"([0-9.]{1,5}) ?(k|p|mp)", re.ASCII | re.IGNORECASE)
_SIZE_TEXT = re.compile(r"[0-9]+ ?[xX*\u00d7] ?[0-9]+", re.ASCII)
_SIDE_TEXT = re.compile(r"[0-9]{1,5}", re.ASCII)
_RESOLUTION_UNITS = {"k": "K", "p": "p", "mp": " MP"}
ASPECT_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9", "9:21")
#: How far a named resolution may exceed the model's largest area: 480p is 853x480, its model makes 832x480.
AREA_TOLERANCE = 1.05
#: How far a size may be from an aspect ratio that is sent with it, as a logarithm: 1366x768 is 16:9.
SHAPE_TOLERANCE = 0.02
#: How far a length may be from a whole number of frames, in seconds: callers round to two decimals.
SECONDS_TOLERANCE = 0.005
#: Frame rate of a video model whose `fps` has no default.
DEFAULT_FPS = 16


def size_to_dimensions(
    model: Model,
    size: SizeField | None,
    *,
    aspect_ratio: str | None = None,
    resolution: str | None = None,
) -> dict[str, int]:
    """Return the width and height that `size`, or an aspect ratio and a resolution, ask for.

    A size is `WIDTHxHEIGHT`, `{"width": ..., "height": ...}`, the name of one (see `NAMED_SIZES`), an aspect
    ratio or a resolution. Nothing and `auto` leave the size to the model. A model with a parameter `size` of
    its own, the side of squares, gets that. Raises InvalidRequest.
    """
    if isinstance(model.parameters.get("size"), IntegerParameter) and size not in (None, "", "auto"):
        return {"size": _parse_side(size)}
    if isinstance(size, str):
        size = size.strip().lower()
        if _ASPECT_RATIO_TEXT.fullmatch(size):
            ratio = _require_one("size", "aspect_ratio", size, aspect_ratio)
            with errors_name_fields({} if aspect_ratio else {"aspect_ratio": "size"}):
                return size_to_dimensions(model, None, aspect_ratio=ratio, resolution=resolution)
        if _RESOLUTION_TEXT.fullmatch(size):
            label = _require_one("size", "resolution", size, resolution)
            with errors_name_fields({} if resolution else {"resolution": "size"}):
                return size_to_dimensions(model, None, aspect_ratio=aspect_ratio, resolution=label)
    if size in (None, "", "auto"):
        _require_sizes(model, aspect_ratio=aspect_ratio, resolution=resolution)
        return aspect_ratio_to_dimensions(model, aspect_ratio, resolution)
    for name, value in (("aspect_ratio", aspect_ratio), ("resolution", resolution)):
        _require_one(name, "size", None, value)
    dimensions = _parse_size_field(size).to_params()
    _require_sizes(model, size=size)
    return dimensions


def _parse_side(size: SizeField | None) -> int:
    """Return the side of a square that is written as a number or as a size."""
    text = str(size).strip()
    if _SIDE_TEXT.fullmatch(text):
        return int(text)
    if isinstance(size, int) or not _SIZE_TEXT.fullmatch(text):
        raise invalid_field("size", f"must be the side of a square in pixels (got {text[:40]!r})")
    width, height = parse_size(text)
    if width != height:
        raise invalid_field("size", f"must be a square, such as {width}x{width} or {width} (got {text!r})")
    return width


def _parse_size_field(size: SizeField | None) -> Size:
    if isinstance(size, str):
        return NAMED_SIZES.get(size) or _parse_written_size(size)
    sides = size if isinstance(size, dict) else {}
    if set(sides) != {"width", "height"} or not all(type(side) is int for side in sides.values()):
        given = repr(size) if isinstance(size, str) else json.dumps(size)
        raise invalid_field(
            "size", f'must be WIDTHxHEIGHT or {{"width": ..., "height": ...}} in pixels (got {given[:60]})'
        )
    return Size(sides["width"], sides["height"])


def _parse_written_size(text: str) -> Size:
    if not _SIZE_TEXT.fullmatch(text):
        known = ", ".join(NAMED_SIZES)
        raise invalid_field(
            "size", f"must be WIDTHxHEIGHT, for example 1024x1024, or one of {known} (got {text[:40]!r})"
        )
    return parse_size(text)


def _require_one(name: str, other: str, value: str | None, given: str | None) -> str | None:
    """Return the value of one of two fields. Raises InvalidRequest if both are set, and differ."""
    if given is not None and given != value:
        raise InvalidRequest(
            f"`{name}` and `{other}` both set the size; send one of them",
            code="conflicting_fields",
            param=name,
        )
    return value


def _require_sizes(model: Model, **fields: object) -> None:
    """Raise InvalidRequest if one of the fields is set and the model decides on the size itself."""
    given = next((name for name, value in fields.items() if value is not None), None)
    if given is not None and OutputSizes.from_model(model) is None:
        raise InvalidRequest(
            f"Model {model.id} does not take a `{given}`: its input decides on the size of the result",
            code=f"unsupported_{given}",
            param=given,
        )


def aspect_ratio_to_dimensions(
    model: Model, aspect_ratio: str | None, resolution: str | None = None
) -> dict[str, int]:
    """Return width and height of the model that are closest to an aspect ratio and a resolution.

    Returns nothing if neither is given or the model has no width and height. The result has no more pixels
    than the resolution's name says, so that it falls into its price tier. Raises InvalidRequest.
    """
    sizes = OutputSizes.from_model(model)
    if sizes is None or (aspect_ratio is None and resolution is None):
        return {}
    if resolution is not None and _SIZE_TEXT.fullmatch(resolution.strip()):
        size = parse_size(resolution.strip(), param="resolution")
        _check_shape(size, aspect_ratio)
        return size.to_params()
    if aspect_ratio is None and resolution is not None and (standard := _standard_size(sizes, resolution)):
        return standard.to_params()
    ratio = Fraction(*sizes.default_size) if aspect_ratio is None else _parse_aspect_ratio(aspect_ratio)
    area = sizes.default_area(ratio) if resolution is None else _parse_max_pixels(resolution, ratio)
    found = None
    if area <= sizes.max_pixels * AREA_TOLERANCE:
        is_exact = aspect_ratio is not None
        found = sizes.fit_exact_ratio(ratio, area) if is_exact else sizes.fit_aspect_ratio(float(ratio), area)
    if found is None:
        largest = model.manifest.max_resolution
        raise invalid_field(
            "resolution", f"must be a size that {model.id} supports, at most {largest} (got {resolution!r})"
        )
    return found.to_params()


def pixels_by_shape(
    size: SizeField | None, aspect_ratio: str | None, resolution: str | None
) -> Callable[[float], float] | None:
    """Return the largest number of pixels by aspect ratio, if a request sets a resolution and no shape.

    The result then has the shape of the input image, if there is one.
    """
    text = resolution or (size if isinstance(size, str) else None)
    if text is None or aspect_ratio or not _RESOLUTION_TEXT.fullmatch(text.strip()):
        return None
    return partial(_parse_max_pixels, text)


def asked_aspect_ratio(size: SizeField | None, aspect_ratio: str | None) -> Fraction | None:
    """Return the aspect ratio that a request asks for by its name. Raises InvalidRequest."""
    text = aspect_ratio or (size.strip() if isinstance(size, str) else "")
    return _parse_aspect_ratio(text) if _ASPECT_RATIO_TEXT.fullmatch(text) else None


def _standard_size(sizes: OutputSizes, resolution: str) -> Size | None:
    """Return 1920x1080 for `1080p` and so on, for a model whose default has about this shape."""
    label = _RESOLUTION_TEXT.fullmatch(resolution.strip())
    default = sizes.default_size
    if label is None or label[2].lower() != "p" or not label[1].isdecimal():
        return None
    longer, rest = divmod(int(label[1]) * 16, 9)
    shape = max(default) / min(default)
    if rest or abs(math.log(shape / (16 / 9))) > STANDARD_SHAPE_TOLERANCE:
        return None
    size = Size(longer, int(label[1])) if default.width >= default.height else Size(int(label[1]), longer)
    return size if size.area <= sizes.max_pixels and sizes.fit_size(*size) == size else None


def seconds_to_frames(
    model: Model, seconds: float, fps: object, *, field: str, exact: bool = False
) -> dict[str, int] | None:
    """Return the number of frames of a video of that length; None if the model has no such field.

    `fps` is the requested frame rate, None for the model's default; `field` names the length in errors. For a
    length between two frames, it is the longer one, or an error that names both if `exact` is set. Raises
    InvalidRequest.
    """
    frames_spec = model.parameters.get("num_frames")
    if not isinstance(frames_spec, IntegerParameter) or "fps" not in model.parameters:
        return None
    rate = frame_rate(model, fps)
    least, most = frames_spec.minimum, frames_spec.largest_allowed
    shown = str(seconds)[:20]
    if not least / rate - SECONDS_TOLERANCE <= seconds <= most / rate + SECONDS_TOLERANCE:
        raise invalid_field(
            field,
            f"must be between {format_seconds(least / rate)} and {format_seconds(most / rate)} seconds for"
            f" {model.id} at {rate} fps (got {shown})",
        )
    frames = min(max(math.ceil((seconds - SECONDS_TOLERANCE) * rate), least), most)
    is_between = abs(seconds - frames / rate) > SECONDS_TOLERANCE
    if (is_between and exact) or not frames_spec.allows(frames):
        below = math.floor(seconds * rate)
        near = {*frames_spec.nearest_allowed(below), *frames_spec.nearest_allowed(below + 1)}
        nearest = sorted(sorted(near, key=lambda one: abs(one - seconds * rate))[:2])
        raise invalid_field(
            field,
            f"must be a number of frames that {model.id} makes, at {rate} fps (got {shown}); the nearest"
            f" values are {' and '.join(format_seconds(one / rate) for one in nearest)}",
        )
    return {"num_frames": frames}


def check_seconds_at_any_rate(model: Model, seconds: float, *, field: str) -> None:
    """Raise InvalidRequest for a length that the model makes at no frame rate."""
    frames, fps = model.parameters.get("num_frames"), model.parameters.get("fps")
    if not isinstance(frames, IntegerParameter) or not isinstance(fps, IntegerParameter):
        return
    least, most = frames.minimum / fps.largest_allowed, frames.largest_allowed / fps.minimum
    if not least - SECONDS_TOLERANCE <= seconds <= most + SECONDS_TOLERANCE:
        raise invalid_field(
            field,
            f"must be between {format_seconds(least)} and {format_seconds(most)} seconds for {model.id}"
            f" (got {str(seconds)[:20]})",
        )


def frame_rate(model: Model, fps: object) -> int:
    """Return the requested frame rate, or the model's default. Raises InvalidRequest."""
    spec = model.parameters.get("fps")
    if not isinstance(spec, IntegerParameter):
        return DEFAULT_FPS
    return spec.default or DEFAULT_FPS if fps is None else spec.validate_value("fps", fps)


def format_seconds(seconds: float) -> str:
    """Return a length as text, to the tenth of a millisecond: `4`, `5.0625`, `4.3333`."""
    return f"{seconds:.4f}".rstrip("0").rstrip(".")


def _check_shape(size: Size, aspect_ratio: str | None) -> None:
    """Raise InvalidRequest if a size does not have the aspect ratio that was also asked for."""
    if aspect_ratio is None or not size.area:
        return
    if abs(math.log(size.width / size.height / _parse_aspect_ratio(aspect_ratio))) > SHAPE_TOLERANCE:
        raise InvalidRequest(
            f"`resolution` {size.width}x{size.height} does not have the `aspect_ratio` {aspect_ratio}; send"
            " one of them",
            code="conflicting_fields",
            param="aspect_ratio",
        )


def _parse_aspect_ratio(text: str) -> Fraction:
    if text not in ASPECT_RATIOS:
        raise invalid_field("aspect_ratio", f"must be one of {', '.join(ASPECT_RATIOS)} (got {text[:20]!r})")
    width, _, height = text.partition(":")
    return Fraction(int(width), int(height))


def _parse_max_pixels(resolution: str, ratio: float | Fraction) -> float:
    """Return the largest number of pixels that `720p`, `2K` or `0.5 MP` stands for."""
    try:
        short = _RESOLUTION_TEXT.fullmatch(resolution.strip())
        label = short[1] + _RESOLUTION_UNITS[short[2].lower()] if short else resolution
        measure, number = parse_tier_label(label)
    except TariffError as error:
        raise _invalid_resolution(resolution) from error
    match measure:
        case TierMeasure.AREA:
            return float(number)
        case TierMeasure.LINES:
            return float(number**2) * float(max(ratio, 1 / ratio))
        case TierMeasure.SECONDS:
            raise _invalid_resolution(resolution)


def _invalid_resolution(resolution: str) -> InvalidRequest:
    return invalid_field(
        "resolution", f"must be a size such as 720p, 1K, 0.5 MP or 1024x1024 (got {resolution!r})"
    )
