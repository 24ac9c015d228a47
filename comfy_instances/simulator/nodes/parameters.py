"""The parameter nodes and the output node of our node pack (`custom_nodes/pixel_factory`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction, NodeResult
from comfy_instances.simulator.nodes.files.loading import load_audio, load_image, load_mask, load_video
from comfy_instances.simulator.nodes.files.saving import make_save_audio_node, save_image, save_video
from comfy_instances.simulator.nodes.images.images import batch_images
from comfy_instances.simulator.nodes.models.stand_in import run_placeholder_node
from comfy_instances.simulator.nodes.values import AudioClip, ImageArray, MaskArray, VideoClip

#: The option of a row of the LoRA list node without a LoRA.
NO_LORA = "none"


def output_value(value: Any, **declaration: object) -> tuple[Any]:
    return (value,)


def load_parameter_image(
    context: NodeContext, image: str, **declaration: object
) -> tuple[ImageArray, MaskArray]:
    return load_image(context, image)


def load_parameter_mask(
    context: NodeContext, image: str, channel: str, **declaration: object
) -> tuple[MaskArray]:
    return load_mask(context, image, channel)


def load_parameter_images(
    context: NodeContext, images: str | list[str], **declaration: object
) -> tuple[ImageArray]:
    names = [images] if isinstance(images, str) else images
    return batch_images({name: load_image(context, name)[0] for name in names})


def load_parameter_video(context: NodeContext, file: str, **declaration: object) -> tuple[VideoClip]:
    return load_video(context, file)


def load_parameter_audio(context: NodeContext, audio: str, **declaration: object) -> tuple[AudioClip]:
    return load_audio(context, audio)


def apply_loras(context: NodeContext, model: Any, clip: Any = None, **values: Any) -> tuple[Any, ...]:
    """Return a changed model; LoRAs with a strength of 0 leave it unchanged, as on a real instance."""
    numbers = [key.removeprefix("lora_") for key in values if key.startswith("lora_")]
    used = {
        f"{key}_{number}": values[f"{key}_{number}"]
        for number in numbers
        if values[f"lora_{number}"] != NO_LORA and values[f"strength_{number}"]
        for key in ("lora", "strength")
    }
    return run_placeholder_node(context, model=model, clip=clip, **used) if used else (model, clip)


def save_result(context: NodeContext, result: Any, name: str) -> NodeResult:
    """Save an image, a video or audio, by the type of the value; the node itself has no outputs."""
    if isinstance(result, VideoClip):
        saved = save_video(context, result, "auto", {"codec": "auto"}, name)
    elif isinstance(result, AudioClip):
        saved = make_save_audio_node(".flac")(context, result, name)
    else:
        saved = save_image(context, result, name)
    return replace(saved, outputs=())


NODES: Mapping[str, NodeFunction] = {
    **dict.fromkeys(
        (
            "PixelFactoryText",
            "PixelFactoryInteger",
            "PixelFactoryNumber",
            "PixelFactoryBoolean",
            "PixelFactoryChoice",
        ),
        output_value,
    ),
    "PixelFactoryImage": load_parameter_image,
    "PixelFactoryMask": load_parameter_mask,
    "PixelFactoryImages": load_parameter_images,
    "PixelFactoryVideo": load_parameter_video,
    "PixelFactoryAudio": load_parameter_audio,
    "PixelFactoryLoras": apply_loras,
    "PixelFactoryOutput": save_result,
}
