"""Nodes that train LoRAs: datasets of images and captions, training, files of tensors.

A placeholder LoRA has the right format, pairs of small matrices, and depends on all relevant inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image as PILImage
from PIL import ImageOps

from comfy_instances.simulator.execution.device import WORKING_BYTES_PER_POSITION, estimate_step_seconds
from comfy_instances.simulator.files import is_within, open_file_series
from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction, NodeResult
from comfy_instances.simulator.nodes.files.saving import SIMULATED_METADATA_KEY
from comfy_instances.simulator.nodes.files.tensors import encode_tensors
from comfy_instances.simulator.nodes.models.placeholder_media import seeded_generator
from comfy_instances.simulator.nodes.models.sampling import vae_encode
from comfy_instances.simulator.nodes.values import FloatArray, ImageArray, Latent, OpaqueValue, fingerprint

#: Nodes that run once for all members of their input lists: every input is a list.
LIST_INPUT_NODE_CLASSES = frozenset({"MakeTrainingDataset", "TrainLoraNode"})

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
#: Duration of a training step in runs of the model: forward and backward pass, half of it twice.
MODEL_RUNS_PER_STEP = 3
#: Number and width of the trained layers.
LAYER_COUNT, LAYER_WIDTH = 2, 64

#: Name -> float32 array.
Tensors = Mapping[str, FloatArray]


def load_image_dataset(context: NodeContext, folder: str) -> tuple[list[ImageArray]]:
    return (load_image_text_dataset(context, folder)[0],)


def load_image_text_dataset(context: NodeContext, folder: str) -> tuple[list[ImageArray], list[str]]:
    """Load all images of an input folder, and their captions from text files of the same name."""
    place = context.folders.input / folder
    if not is_within(context.folders.input, place):
        raise ValueError(f"Invalid folder name {folder!r}")
    files = sorted(file for file in place.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError("No valid images found in input")
    images, texts = [], []
    for file in files:
        with PILImage.open(file) as image:
            images.append(np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[None])
        caption = file.with_suffix(".txt")
        texts.append(caption.read_text("utf-8").strip() if caption.exists() else "")
    return images, texts


def make_training_dataset(
    context: NodeContext,
    images: list[ImageArray],
    vae: list[OpaqueValue],
    clip: list[OpaqueValue],
    texts: list[str] | None = None,
) -> tuple[list[Latent], list[OpaqueValue]]:
    texts = texts or [""]
    texts = texts * len(images) if len(texts) == 1 else texts
    if len(texts) != len(images):
        raise ValueError(f"Number of texts ({len(texts)}) does not match number of images ({len(images)}).")
    context.device.load_weights(clip[0].weights)
    latents = [vae_encode(context, image, vae[0])[0] for image in images]
    return latents, [_encode_caption(clip[0], text) for text in texts]


def _encode_caption(clip: OpaqueValue, text: str) -> OpaqueValue:
    return OpaqueValue(type="CONDITIONING", fingerprint=fingerprint([clip, text]), settings={})


def train_lora(
    context: NodeContext,
    model: list[OpaqueValue],
    latents: list[Latent],
    positive: list[OpaqueValue],
    **inputs: list[Any],
) -> tuple[Tensors, Mapping[str, list[float]], int]:
    """Train a LoRA. Return the LoRA, the losses and the number of steps."""
    conditions, image_count = len(positive), len(latents)
    if conditions not in (1, image_count):
        raise ValueError(
            f"Number of positive conditions ({conditions}) does not match number of images ({image_count})."
        )
    steps, rank = inputs["steps"][0], inputs["rank"][0]
    positions = max(latent.positions for latent in latents)
    context.device.load_weights(model[0].weights, working_bytes=positions * WORKING_BYTES_PER_POSITION)
    seconds = MODEL_RUNS_PER_STEP * estimate_step_seconds(model[0].weights, positions, guided=False)
    for step in range(1, steps + 1):
        context.device.simulate_work(seconds)
        context.update_progress(step, steps)
    digest = fingerprint([model, latents, positive, inputs])
    losses = np.sort(seeded_generator(digest).random(steps))[::-1]
    return _make_lora_tensors(digest, rank), {"loss": [float(loss) for loss in losses]}, steps


def _make_lora_tensors(digest: str, rank: int) -> Tensors:
    numbers = seeded_generator(digest)
    tensors = {}
    for layer in range(LAYER_COUNT):
        for name, shape in (("lora_up", (LAYER_WIDTH, rank)), ("lora_down", (rank, LAYER_WIDTH))):
            key = f"diffusion_model.simulated.{layer}.{name}.weight"
            tensors[key] = numbers.standard_normal(shape, dtype=np.float32)
    return tensors


def save_lora(context: NodeContext, lora: Tensors, prefix: str, steps: int | None = None) -> NodeResult:
    """Save a LoRA. The node reports no output file, as in ComfyUI."""
    series = open_file_series(context.folders.output, prefix)
    trained = "" if steps is None else f"{steps}_steps_"
    file = series.folder / f"{series.base_name}_{trained}{series.next_number:05}_.safetensors"
    file.write_bytes(encode_tensors(lora, {SIMULATED_METADATA_KEY: "true"}))
    return NodeResult({})


NODES: Mapping[str, NodeFunction] = {
    "LoadImageDataSetFromFolder": load_image_dataset,
    "LoadImageTextDataSetFromFolder": load_image_text_dataset,
    "MakeTrainingDataset": make_training_dataset,
    "TrainLoraNode": train_lora,
    "SaveLoRA": save_lora,
}
