"""The JSON Schema of a run's body: what a model takes, as narrow as the service checks it.

A schema cannot say whether a text is an image, whether a host is public, and which LoRAs there are. Of
resolutions it lists those that have a name, though the service takes others (`0.7 MP`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from orchestrator.catalog import Model, OutputSizes, build_request_schema
from orchestrator.catalog.parameters.loras import LORA_REFERENCE_PATTERN
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import ImageListParameter, IntegerParameter, LoraListParameter
from orchestrator.errors import InvalidRequest
from orchestrator.intake.video_following import follows_rate
from orchestrator.net.webhook_urls import MAX_WEBHOOK_URL_LENGTH
from orchestrator.web.dialects.dimensions import (
    ASPECT_RATIOS,
    DEFAULT_FPS,
    aspect_ratio_to_dimensions,
)
from orchestrator.web.dialects.input_image_models import max_input_images

#: The resolutions that a schema lists, if the model has them.
RESOLUTION_NAMES = (
    *("240p", "360p", "480p", "540p", "576p", "720p", "768p", "1080p", "1440p", "2160p"),
    *("0.25 MP", "0.5 MP", "1 MP", "2 MP", "4 MP", "1K", "2K", "4K"),
)
#: The sizes that a schema lists for a model whose sides may not be long together.
COMMON_SIZES = tuple(
    Size(*sides)
    for width, height in (
        *((640, 360), (640, 480), (720, 480), (768, 512), (832, 480), (848, 480), (960, 544), (1024, 576)),
        *((1280, 704), (1280, 720), (1360, 768), (1920, 1080), (512, 512), (768, 768), (1024, 1024)),
    )
    for sides in dict.fromkeys([(width, height), (height, width)])
)
IMAGE_FIELDS = ("image", "image_url", "images", "reference_images")

MAX_CACHED_SCHEMAS = 256

Schema = dict[str, Any]


@lru_cache(MAX_CACHED_SCHEMAS)
def run_schema(model: Model) -> Schema:
    """Return the JSON Schema of a run's body: the model's parameters and those of the dialect."""
    setters = {"image": IMAGE_FIELDS, "images": IMAGE_FIELDS}
    schema = build_request_schema(model, setters)
    properties, rules = schema["properties"], list(schema.get("allOf", ()))
    for part in (_size_part(model), _duration_part(model), _image_part(model), _lora_part(model)):
        properties = properties | part[0]
        rules += part[1]
    properties["webhook_url"] = {
        "type": "string",
        "format": "uri",
        "pattern": "^https?://",
        "maxLength": MAX_WEBHOOK_URL_LENGTH,
        "description": "URL that is called when the job is finished.",
    }
    return schema | {"properties": properties} | ({"allOf": rules} if rules else {})


#: Properties and rules of one part of a body.
_Part = tuple[dict[str, Schema], list[Schema]]


def _size_part(model: Model) -> _Part:
    sizes = OutputSizes.from_model(model)
    if sizes is None:
        return {}, []
    names, texts = _resolution_names(model), _size_texts(sizes)
    properties: dict[str, Schema] = {
        "aspect_ratio": {
            "type": "string",
            "enum": list(ASPECT_RATIOS),
            "description": "Aspect ratio of the result.",
        },
        "resolution": {
            "type": "string",
            "anyOf": [{"enum": names}, texts],
            "description": "Size of the result, such as 720p, 1K, 0.5 MP or 1024x1024.",
        },
    }
    if "size" not in model.parameters:
        description = "Size of the result in pixels as WIDTHxHEIGHT."
        properties["size"] = {"type": "string", **texts, "description": description}
    rules = [exclude(field, side) for field in properties for side in ("width", "height")]
    rules += [exclude("size", field) for field in ("aspect_ratio", "resolution")]
    rules.append({"if": _has("aspect_ratio"), "then": {"properties": {"resolution": {"enum": names}}}})
    for ratio in ASPECT_RATIOS:
        fitting = [name for name in names if _is_supported(model, ratio, name)]
        if fitting != names:
            rules.append(
                {
                    "if": {"required": ["aspect_ratio"], "properties": {"aspect_ratio": {"const": ratio}}},
                    "then": {"properties": {"resolution": {"enum": fitting}}},
                }
            )
    return properties, rules + _area_rules(sizes)


def _resolution_names(model: Model) -> list[str]:
    return [name for name in RESOLUTION_NAMES if _is_supported(model, None, name)]


def supports_resolution(model: Model, resolution: str) -> bool:
    """Return whether requests to the model may ask for a resolution by its name or size."""
    return _is_supported(model, None, resolution)


def _is_supported(model: Model, aspect_ratio: str | None, resolution: str) -> bool:
    try:
        model_size = aspect_ratio_to_dimensions(model, aspect_ratio, resolution)
        sizes = OutputSizes.from_model(model)
    except InvalidRequest:
        return False
    return sizes is not None and sizes.allows(Size(**model_size))


def _size_texts(sizes: OutputSizes) -> Schema:
    """Return the schema of `WIDTHxHEIGHT`."""
    widths, heights = allowed_values(sizes.width), allowed_values(sizes.height)
    if sizes.allows(Size(widths[-1], heights[-1])):
        return {"pattern": f"^({_alternatives(widths)})x({_alternatives(heights)})$"}
    return {"enum": [f"{size.width}x{size.height}" for size in COMMON_SIZES if sizes.allows(size)]}


def _area_rules(sizes: OutputSizes) -> list[Schema]:
    """Return the largest heights by width, for sizes whose area is limited."""
    widths, heights = allowed_values(sizes.width), allowed_values(sizes.height)
    corners = _corners(sizes, widths, heights)
    if len(corners) < 2:
        return []
    rows = [
        {"properties": {"width": {"maximum": width}, "height": {"maximum": height}}}
        for height, width in corners.items()
    ]
    return [
        {"if": {"required": ["width", "height"]}, "then": {"anyOf": rows}},
        *_single_side_rules(sizes, widths, heights),
    ]


def _corners(sizes: OutputSizes, widths: list[int], heights: list[int]) -> dict[int, int]:
    """Return the largest width by height, for each height that is the largest of some width."""
    corners: dict[int, int] = {}
    tallest = len(heights) - 1
    for width in widths:
        while tallest >= 0 and not sizes.allows(Size(width, heights[tallest])):
            tallest -= 1
        if tallest >= 0:
            corners[heights[tallest]] = width
    return corners


def _single_side_rules(sizes: OutputSizes, widths: list[int], heights: list[int]) -> list[Schema]:
    """Return the largest width and height beside the default of the other one."""
    default = sizes.default_size
    fitting = {
        "width": [width for width in widths if sizes.allows(Size(width, default.height))],
        "height": [height for height in heights if sizes.allows(Size(default.width, height))],
    }
    return [
        {
            "if": {"required": [side], "not": {"required": [other]}},
            "then": {"properties": {side: {"maximum": fitting[side][-1]}}},
        }
        for side, other in (("width", "height"), ("height", "width"))
        if fitting[side]
    ]


def allowed_values(spec: IntegerParameter) -> list[int]:
    """Return the values that requests may set."""
    first = -(-spec.minimum // spec.step) * spec.step
    return [value for value in range(first, spec.maximum + 1, spec.step) if spec.allows(value)]


def _alternatives(values: list[int]) -> str:
    """Return a regular expression of the numbers."""
    if values != list(range(values[0], values[-1] + 1)):
        return "|".join(map(str, values))
    return "|".join(_range_pattern(str(low), str(high)) for low, high in _split_range(values[0], values[-1]))


def _split_range(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield parts of a range in which each digit takes all values between those of the ends."""
    while low <= high:
        step = 1
        while (
            low % (10 * step) == 0 and low + 10 * step - 1 <= high and len(str(low)) > len(str(10 * step)) - 1
        ):
            step *= 10
        last = min(low // (10 * step) * (10 * step) + 10 * step - 1, 10 ** len(str(low)) - 1)
        end = last if last <= high else low + (high - low + 1) // step * step - 1
        yield low, end
        low = end + 1


def _range_pattern(low: str, high: str) -> str:
    """Return a regular expression of the numbers whose digits lie between those of both numbers."""
    digits = zip(low, high, strict=True)
    return "".join(one if one == other else f"[{one}-{other}]" for one, other in digits)


def _duration_part(model: Model) -> _Part:
    frames, fps = model.parameters.get("num_frames"), model.parameters.get("fps")
    if not isinstance(frames, IntegerParameter) or not isinstance(fps, IntegerParameter):
        return {}, []
    default = fps.default or DEFAULT_FPS
    lengths = {rate: _duration_range(frames, rate) for rate in allowed_values(fps)}
    everything = {
        "minimum": min(one["minimum"] for one in lengths.values()),
        "maximum": max(one["maximum"] for one in lengths.values()),
    }
    usual = lengths[default]
    # Without a rate, a model that continues a video has the rate of that video.
    without_rate = everything if follows_rate(model) else usual
    duration = {
        "type": "number",
        **everything,
        "description": f"Length of the video in seconds; {usual['minimum']:g} to {usual['maximum']:g} at"
        f" {default} frames per second.",
    }
    rows = [
        {"required": ["fps"], "properties": {"fps": {"const": rate}, "duration": length}}
        for rate, length in lengths.items()
    ]
    rule = {
        "if": _has("duration"),
        "then": {"anyOf": [{"not": _has("fps"), "properties": {"duration": without_rate}}, *rows]},
    }
    return {"duration": duration}, [exclude("duration", "num_frames"), rule]


def _duration_range(frames: IntegerParameter, fps: int) -> dict[str, Any]:
    """Return the schema of durations: a range, or all of them if not every number of frames is allowed."""
    allowed = allowed_values(frames)
    # Rounded down, so that none needs a frame more.
    lengths = [math.floor(1000 * number / fps) / 1000 for number in allowed]
    if allowed != list(range(allowed[0], allowed[-1] + 1)):
        return {"minimum": lengths[0], "maximum": lengths[-1], "enum": lengths}
    return {"minimum": math.ceil(1000 * allowed[0] / fps) / 1000, "maximum": lengths[-1]}


def _image_part(model: Model) -> _Part:
    most = max_input_images(model)
    if not most:
        return {}, []
    image = {
        "type": "string",
        "minLength": 1,
        "description": "Input image: base64 text, data URL or http(s) URL.",
    }
    images = {"type": "array", "items": image, "maxItems": most}
    properties: dict[str, Schema] = {
        "image": image,
        "image_url": image | {"description": "The same as `image`."},
        "images": images | {"description": "Input images."},
        "reference_images": images | {"description": "Further input images; they follow `images`."},
    }
    one = {"anyOf": [_has("image"), _has("image_url")]}
    rules: list[Schema] = [
        exclude("image", "image_url"),
        {"anyOf": list(_list_lengths(most))},
        {"if": one, "then": {"anyOf": list(_list_lengths(most - 1))}},
    ]
    spec = model.parameters.get("image") or model.parameters.get("images")
    if spec is not None and spec.description:
        properties["image"] = image | {"description": spec.description}
    if not isinstance(model.parameters.get("images"), ImageListParameter):
        properties["images"]["description"] = "A list with the input image."
    return properties, rules


def _list_lengths(most: int) -> Iterator[Schema]:
    """Yield the lengths of both lists that make at most `most` images."""
    for length in range(most + 1):
        yield {
            "properties": {"images": {"maxItems": length}, "reference_images": {"maxItems": most - length}}
        }


def _lora_part(model: Model) -> _Part:
    spec = model.parameters.get("loras")
    if not isinstance(spec, LoraListParameter):
        return {}, []
    name = {"type": "string", "pattern": LORA_REFERENCE_PATTERN}
    scale = {"type": "number", "minimum": spec.min_strength, "maximum": spec.max_strength}
    properties: dict[str, Schema] = {
        "lora_weights": {
            "anyOf": [name, {"type": "array", "items": name, "minItems": 1, "maxItems": spec.max_items}],
            "description": "A LoRA, or several: by name, by the id of the job that made it, or by its URL.",
        },
        "lora_scale": {
            "anyOf": [scale, {"type": "array", "items": scale, "minItems": 1, "maxItems": spec.max_items}],
            "default": 1,
            "description": "Strength of all LoRAs, or of each.",
        },
    }
    same_length = [
        {
            "properties": {
                "lora_weights": {"minItems": length, "maxItems": length}
                | ({} if length == 1 else {"type": "array"}),
                "lora_scale": {"minItems": length, "maxItems": length},
            }
        }
        for length in range(1, spec.max_items + 1)
    ]
    rules: list[Schema] = [
        exclude("lora_weights", "loras"),
        {"dependentRequired": {"lora_scale": ["lora_weights"]}},
        {
            "if": {"required": ["lora_scale"], "properties": {"lora_scale": {"type": "array"}}},
            "then": {"anyOf": same_length},
        },
    ]
    return properties, rules


def _has(field: str) -> Schema:
    return {"required": [field]}


def exclude(one: str, other: str) -> Schema:
    """Return the schema of an object that does not have both fields."""
    return {"not": {"required": [one, other]}}
