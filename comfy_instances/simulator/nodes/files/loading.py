"""Nodes that read files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image as PILImage
from PIL import ImageOps, ImageSequence

from comfy_instances.simulator.files import resolve_input_path
from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction
from comfy_instances.simulator.nodes.files.containers import read_audio, read_video
from comfy_instances.simulator.nodes.files.tensors import LATENT_GEOMETRY_KEY, read_tensor
from comfy_instances.simulator.nodes.images.masks import mask_from_image
from comfy_instances.simulator.nodes.images.resizing import check_array_size
from comfy_instances.simulator.nodes.values import (
    AudioClip,
    FloatArray,
    ImageArray,
    Latent,
    MaskArray,
    VideoClip,
)
from comfy_instances.simulator.options import InstanceFolders

#: Suffixes of files that LoadImage reads with the video decoder.
_VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov")


def load_image(context: NodeContext, image: str) -> tuple[ImageArray, MaskArray]:
    """Load an image, or all frames of the first frame's size, and the mask from the alpha channel."""
    path = resolve_input_path(context.folders, image)
    if path.suffix.lower() in _VIDEO_SUFFIXES:
        frames = read_video(path).frames
        return frames, np.zeros((len(frames), 64, 64), np.float32)
    images: list[ImageArray] = []
    masks: list[FloatArray] = []
    with PILImage.open(path) as file:
        check_array_size(getattr(file, "n_frames", 1), file.height, file.width, 3)
        for frame in ImageSequence.Iterator(file):
            upright = ImageOps.exif_transpose(frame)
            if images and upright.size != images[0].shape[1::-1]:
                continue
            images.append(np.asarray(upright.convert("RGB")))
            masks.append(_transparency_mask(upright))
    return np.stack(images), np.stack(masks)


def _transparency_mask(image: PILImage.Image) -> FloatArray:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.zeros((64, 64), np.float32)
    return 1 - np.asarray(image.convert("RGBA").getchannel("A"), np.float32) / 255


def load_mask(context: NodeContext, image: str, channel: str) -> tuple[MaskArray]:
    with PILImage.open(resolve_input_path(context.folders, image)) as file:
        pixels = np.asarray(ImageOps.exif_transpose(file).convert("RGBA"))
    (mask,) = mask_from_image(pixels[None], channel)
    return (1 - mask if channel == "alpha" else mask,)


def load_video(context: NodeContext, file: str) -> tuple[VideoClip]:
    return (read_video(resolve_input_path(context.folders, file)),)


def load_audio(context: NodeContext, audio: str) -> tuple[AudioClip]:
    return (read_audio(resolve_input_path(context.folders, audio)),)


def load_latent(context: NodeContext, latent: str) -> tuple[Latent]:
    path = resolve_input_path(context.folders, latent)
    samples, metadata = read_tensor(path, "latent_tensor")
    spatial, temporal = json.loads(metadata.get(LATENT_GEOMETRY_KEY, "[8, 1]"))
    return (Latent(samples=samples, spatial=spatial, temporal=temporal),)


def compute_file_token(folders: InstanceFolders, class_type: str, name: str) -> str | float:
    """Return what a loader's result depends on besides its inputs. Raises OSError if the file is missing."""
    path: Path = resolve_input_path(folders, name)
    if class_type == "LoadVideo":
        return path.stat().st_mtime
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


NODES: Mapping[str, NodeFunction] = {
    "LoadImage": load_image,
    "LoadImageOutput": load_image,
    "LoadImageMask": load_mask,
    "LoadVideo": load_video,
    "LoadAudio": load_audio,
    "LoadLatent": load_latent,
}
