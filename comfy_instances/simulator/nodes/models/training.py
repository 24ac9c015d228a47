"""Nodes that make LoRAs: data sets of pictures and captions, training, files of tensors.

What is trained here depends on all that would matter, and is of the right form: pairs of small matrices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image as Pictures
from PIL import ImageOps

from comfy_instances.simulator.execution.device import WORKING_BYTES, step_seconds
from comfy_instances.simulator.files import open_series, within
from comfy_instances.simulator.nodes.call import Call, NodeFunction, Shown
from comfy_instances.simulator.nodes.files.saving import SIMULATED
from comfy_instances.simulator.nodes.models.placeholder_media import generator
from comfy_instances.simulator.nodes.models.sampling import vae_encode
from comfy_instances.simulator.nodes.values import Floats, Image, Latent, Opaque, fingerprint

#: Nodes that are run once for all members of their input lists: every input comes as a list.
TAKES_LISTS = frozenset({"MakeTrainingDataset", "TrainLoraNode"})

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
#: Runs of the model that one step of training takes as long as: there and back, half of it twice.
RUNS_PER_STEP = 3
#: Layers that are trained, and how wide they are.
LAYERS, WIDTH = 2, 64

#: Name -> float32 array.
Tensors = Mapping[str, Floats]


def load_images(call: Call, folder: str) -> tuple[list[Image]]:
    return (load_pairs(call, folder)[0],)


def load_pairs(call: Call, folder: str) -> tuple[list[Image], list[str]]:
    """All pictures of an input folder, and the texts in the files that are named like them."""
    place = call.folders.input / folder
    if not within(call.folders.input, place):
        raise ValueError(f"Invalid folder name {folder!r}")
    files = sorted(file for file in place.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise ValueError("No valid images found in input")
    pictures, texts = [], []
    for file in files:
        with Pictures.open(file) as picture:
            pictures.append(np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))[None])
        caption = file.with_suffix(".txt")
        texts.append(caption.read_text("utf-8").strip() if caption.exists() else "")
    return pictures, texts


def make_dataset(
    call: Call, images: list[Image], vae: list[Opaque], clip: list[Opaque], texts: list[str] | None = None
) -> tuple[list[Latent], list[Opaque]]:
    texts = texts or [""]
    texts = texts * len(images) if len(texts) == 1 else texts
    if len(texts) != len(images):
        raise ValueError(f"Number of texts ({len(texts)}) does not match number of images ({len(images)}).")
    call.device.use(clip[0].weights)
    latents = [vae_encode(call, image, vae[0])[0] for image in images]
    return latents, [_conditioning(clip[0], text) for text in texts]


def _conditioning(clip: Opaque, text: str) -> Opaque:
    return Opaque(type="CONDITIONING", fingerprint=fingerprint([clip, text]), settings={})


def train(
    call: Call, model: list[Opaque], latents: list[Latent], positive: list[Opaque], **inputs: list[Any]
) -> tuple[Tensors, Mapping[str, list[float]], int]:
    """LoRA, losses, steps."""
    conditions, pictures = len(positive), len(latents)
    if conditions not in (1, pictures):
        raise ValueError(
            f"Number of positive conditions ({conditions}) does not match number of images ({pictures})."
        )
    steps, rank = inputs["steps"][0], inputs["rank"][0]
    positions = max(latent.positions for latent in latents)
    call.device.use(model[0].weights, working=positions * WORKING_BYTES)
    seconds = RUNS_PER_STEP * step_seconds(model[0].weights, positions, guided=False)
    for step in range(1, steps + 1):
        call.device.spend(seconds)
        call.progress(step, steps)
    digest = fingerprint([model, latents, positive, inputs])
    losses = np.sort(generator(digest).random(steps))[::-1]
    return _tensors(digest, rank), {"loss": [float(loss) for loss in losses]}, steps


def _tensors(digest: str, rank: int) -> Tensors:
    numbers = generator(digest)
    tensors = {}
    for layer in range(LAYERS):
        for name, shape in (("lora_up", (WIDTH, rank)), ("lora_down", (rank, WIDTH))):
            key = f"diffusion_model.simulated.{layer}.{name}.weight"
            tensors[key] = numbers.standard_normal(shape, dtype=np.float32)
    return tensors


def save_lora(call: Call, lora: Tensors, prefix: str, steps: int | None = None) -> Shown:
    """Reports nothing, as the real node."""
    series = open_series(call.folders.output, prefix)
    trained = "" if steps is None else f"{steps}_steps_"
    file = series.folder / f"{series.name}_{trained}{series.counter:05}_.safetensors"
    file.write_bytes(_safetensors(lora))
    return Shown({})


def _safetensors(tensors: Tensors) -> bytes:
    header: dict[str, Any] = {"__metadata__": {SIMULATED: "true"}}
    at = 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in tensors.values())


NODES: Mapping[str, NodeFunction] = {
    "LoadImageDataSetFromFolder": load_images,
    "LoadImageTextDataSetFromFolder": load_pairs,
    "MakeTrainingDataset": make_dataset,
    "TrainLoraNode": train,
    "SaveLoRA": save_lora,
}
