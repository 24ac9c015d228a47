"""Nodes that read files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Pictures
from PIL import ImageOps, ImageSequence

from comfy_instances.simulator.files import find_input
from comfy_instances.simulator.nodes.call import Call, NodeFunction
from comfy_instances.simulator.nodes.files.containers import read_audio, read_video
from comfy_instances.simulator.nodes.images.masks import from_image
from comfy_instances.simulator.nodes.images.resizing import check_size
from comfy_instances.simulator.nodes.values import Audio, Floats, Image, Latent, Mask, Video
from comfy_instances.simulator.options import Folders

#: Suffixes that LoadImage takes through the video decoder.
_VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov")


def load_image(call: Call, image: str) -> tuple[Image, Mask]:
    """The picture, or all of its frames that have the first one's size, and what its alpha hides."""
    path = find_input(call.folders, image)
    if path.suffix.lower() in _VIDEO_SUFFIXES:
        frames = read_video(path).frames
        return frames, np.zeros((len(frames), 64, 64), np.float32)
    images: list[Image] = []
    masks: list[Floats] = []
    with Pictures.open(path) as file:
        check_size(getattr(file, "n_frames", 1), file.height, file.width, 3)
        for frame in ImageSequence.Iterator(file):
            upright = ImageOps.exif_transpose(frame)
            if images and upright.size != images[0].shape[1::-1]:
                continue
            images.append(np.asarray(upright.convert("RGB")))
            masks.append(_hidden(upright))
    return np.stack(images), np.stack(masks)


def _hidden(picture: Pictures.Image) -> Floats:
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return np.zeros((64, 64), np.float32)
    return 1 - np.asarray(picture.convert("RGBA").getchannel("A"), np.float32) / 255


def load_mask(call: Call, image: str, channel: str) -> tuple[Mask]:
    with Pictures.open(find_input(call.folders, image)) as file:
        pixels = np.asarray(ImageOps.exif_transpose(file).convert("RGBA"))
    (mask,) = from_image(pixels[None], channel)
    return (1 - mask if channel == "alpha" else mask,)


def load_video(call: Call, file: str) -> tuple[Video]:
    return (read_video(find_input(call.folders, file)),)


def load_audio(call: Call, audio: str) -> tuple[Audio]:
    return (read_audio(find_input(call.folders, audio)),)


def load_latent(call: Call, latent: str) -> tuple[Latent]:
    with find_input(call.folders, latent).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        spatial, temporal = (int(number) for number in arrays["geometry"])
        return (Latent(samples=arrays["samples"], spatial=spatial, temporal=temporal),)


def file_state(folders: Folders, class_type: str, name: str) -> str | float:
    """What a loader's result depends on beside its inputs. Raises OSError if the file is not there."""
    path: Path = find_input(folders, name)
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
