"""Places the input image of a request, and its mask, on the canvas of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.canvases import plan_canvas
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.intake.input_reader import (
    ALPHA_CHANNEL,
    MASK_CHANNEL_PARAM,
    InputFile,
    InputFiles,
    input_object_key,
)
from orchestrator.intake.input_slots import InputKind, InputOwner, InputSlots
from orchestrator.media.canvas import CanvasLayout, Padding, place_image
from orchestrator.media.inputs.input_images import InputImage, transform_input_image


async def fit_canvas(
    owner: InputOwner, model: Model, given: Mapping[str, Any], files: InputFiles, slots: InputSlots
) -> InputFiles:
    """Return the files and parameters with the image, and its mask, on the canvas of the output.

    `given` are the parameters that the request sets; those of `files` include the size of the output.
    """
    plan = plan_canvas(model, given, files.params, Size(*files.main_image_size or (1, 1)))
    if plan is None or files.main_image_size is None:
        return files
    layout = CanvasLayout(image=plan.image, canvas=plan.canvas, bordered=plan.made)
    planned = {name: value for name, value in plan.params.items() if name in model.parameters}
    params = {**files.params, **planned}
    files_by_key = dict(files.files_by_key)
    for name in ("image", "mask"):
        key = params.get(name)
        image = files_by_key.get(key) if isinstance(key, str) else None
        if isinstance(image, InputImage):
            async with slots.decode(owner, InputKind.IMAGE):
                placed = await _place(image, layout, _mask_padding(name, params))
            params[name] = input_object_key(placed)
            files_by_key[params[name]] = placed
    return replace(files, params=params, files_by_key=_used_files(model, params, files_by_key))


async def _place(image: InputImage, layout: CanvasLayout, padding: Padding) -> InputImage:
    return await transform_input_image(lambda: place_image(image, layout, padding))


def _mask_padding(name: str, params: Mapping[str, Any]) -> Padding:
    """Return the padding that marks an area to be filled in."""
    is_channel_mask = name == "mask" and params.get(MASK_CHANNEL_PARAM, ALPHA_CHANNEL) != ALPHA_CHANNEL
    return Padding.WHITE if is_channel_mask else Padding.TRANSPARENT


def _used_files(
    model: Model, params: Mapping[str, Any], files: Mapping[str, InputFile]
) -> dict[str, InputFile]:
    values = (params.get(name) for name in model.file_inputs)
    used = {key for value in values for key in (value if isinstance(value, list) else [value])}
    return {key: file for key, file in files.items() if key in used}
