"""Nodes that write files or send pictures."""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pictures
from PIL.PngImagePlugin import PngInfo

from comfy_instances.simulator.files import Series, open_series
from comfy_instances.simulator.nodes.call import Call, NodeFunction, Shown
from comfy_instances.simulator.nodes.files.containers import write_audio, write_video
from comfy_instances.simulator.nodes.images.masks import to_image
from comfy_instances.simulator.nodes.values import Audio, Image, Latent, Mask, Video

#: Metadata key that tells our files from a real instance's.
SIMULATED = "pixelfactory_simulated"

#: A triangle: the least that is a valid binary glTF mesh.
_TRIANGLE = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)


def save_image(call: Call, images: Image, filename_prefix: str = "ComfyUI") -> Shown:
    series = _series(call, filename_prefix, images)
    return _saved_pngs(call, images, series, "output", level=4)


def preview_image(call: Call, images: Image) -> Shown:
    """Into the temporary folder, under a name that no one else has."""
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))
    series = open_series(call.folders.temp, f"ComfyUI_temp_{letters}")
    return _saved_pngs(call, images, series, "temp", level=1)


def preview_mask(call: Call, mask: Mask) -> Shown:
    return Shown(preview_image(call, to_image(mask)[0]).ui, (mask,))


def save_image_advanced(
    call: Call, images: Image, format: Mapping[str, Any], filename_prefix: str = "ComfyUI"
) -> Shown:
    """PNG whatever the format asked for, unless Pillow writes it by its name."""
    suffix = {"jpeg": "jpg", "jpg": "jpg", "webp": "webp"}.get(format["format"])
    if suffix is None:
        return save_image(call, images, filename_prefix)
    series, rows = _series(call, filename_prefix, images), []
    for index, frame in enumerate(images):
        path = series.next(f".{suffix}", index)
        Pictures.fromarray(np.ascontiguousarray(frame[..., :3])).save(path, quality=90)
        rows.append(_row(path, series))
    return Shown({"images": rows}, (images,))


def send_image(call: Call, images: Image) -> Shown:
    """Over the websocket as PNG, with nothing written and nothing reported."""
    for index, frame in enumerate(images):
        call.progress(index, len(images), Pictures.fromarray(np.ascontiguousarray(frame)), "PNG")
    return Shown({})


def save_animated_webp(
    call: Call,
    images: Image,
    fps: float,
    filename_prefix: str = "ComfyUI",
    lossless: bool = True,
    quality: int = 80,
    method: str = "default",
) -> Shown:
    series = _series(call, filename_prefix, images)
    path = series.next(".webp")
    first, *others = [Pictures.fromarray(np.ascontiguousarray(frame)) for frame in images]
    effort = {"fastest": 0, "slowest": 6}.get(method, 4)
    options: dict[str, Any] = {"lossless": lossless, "quality": quality, "method": effort}
    options["duration"] = int(1000 / fps)
    first.save(path, save_all=True, append_images=others, loop=0, **options)
    return Shown({"images": [_row(path, series)], "animated": [True]}, (images,))


def save_animated_png(
    call: Call, images: Image, fps: float, filename_prefix: str = "ComfyUI", compress_level: int = 4
) -> Shown:
    series = _series(call, filename_prefix, images)
    path = series.next(".png")
    first, *others = [Pictures.fromarray(np.ascontiguousarray(frame)) for frame in images]
    options: dict[str, Any] = {"compress_level": compress_level, "duration": int(1000 / fps)}
    first.save(path, save_all=True, append_images=others, pnginfo=_png_info(call), **options)
    return Shown({"images": [_row(path, series)], "animated": [True]}, (images,))


def save_video(
    call: Call, video: Video, format: str, codec: Mapping[str, Any], filename_prefix: str = "video/ComfyUI"
) -> Shown:
    """H.264 in MP4, whatever of the two is `auto`."""
    encoding = codec.get("encoding") or {}
    series = _series(call, filename_prefix, video.frames)
    path = series.next(".mp4")
    write_video(path, video, "h264", _metadata(call), encoding.get("crf"))
    return Shown({"images": [_row(path, series)], "animated": [True]}, (video,))


def save_webm(
    call: Call, images: Image, codec: str, fps: float, crf: float, filename_prefix: str = "ComfyUI"
) -> Shown:
    series = _series(call, filename_prefix, images)
    path = series.next(".webm")
    write_video(path, Video(images, Fraction(fps)), codec, _metadata(call), crf)
    return Shown({"images": [_row(path, series)], "animated": [True]}, (images,))


def save_audio_as(suffix: str) -> Callable[..., Shown]:
    """A node that writes sound with that suffix."""

    def save(call: Call, audio: Audio, filename_prefix: str = "audio/ComfyUI", quality: str = "") -> Shown:
        return _saved_audio(call, audio, filename_prefix, suffix)

    return save


def save_audio_advanced(
    call: Call, audio: Audio, format: Mapping[str, Any], filename_prefix: str = "audio/ComfyUI"
) -> Shown:
    return _saved_audio(call, audio, filename_prefix, f".{format['format']}")


def preview_audio(call: Call, audio: Audio) -> Shown:
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))
    series = open_series(call.folders.temp, f"ComfyUI_temp_{letters}")
    path = series.next(".flac")
    write_audio(path, audio, _metadata(call))
    return Shown({"audio": [_row(path, series, "temp")]}, (audio,))


def save_latent(call: Call, samples: Latent, filename_prefix: str = "latents/ComfyUI") -> Shown:
    series = open_series(call.folders.output, filename_prefix)
    path = series.next(".latent")
    with path.open("wb") as file:
        np.savez(file, samples=samples.samples, geometry=np.array([samples.spatial, samples.temporal]))
    return Shown({"latents": [_row(path, series)]}, (samples,))


def save_text(call: Call, text: str, format: str = "txt", filename_prefix: str = "ComfyUI") -> Shown:
    series = open_series(call.folders.output, filename_prefix)
    path = series.next(f".{format}")
    path.write_text(text, encoding="utf-8")
    return Shown({"text": [text], "files": [_row(path, series)]}, (text,))


def save_mesh(call: Call, mesh: Any, filename_prefix: str = "3d/ComfyUI") -> Shown:
    series = open_series(call.folders.output, filename_prefix)
    path = series.next(".glb")
    path.write_bytes(
        _glb({"generator": "Pixel Factory simulator", "version": "2.0", "extras": _metadata(call)})
    )
    return Shown({"3d": [_row(path, series)]})


def _glb(asset: Mapping[str, Any]) -> bytes:
    """A binary glTF file of one triangle."""
    bounds = {"min": [0, 0, 0], "max": [1, 1, 0]}
    scene = {
        "asset": asset,
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", **bounds}],
        "bufferViews": [{"buffer": 0, "byteLength": len(_TRIANGLE)}],
        "buffers": [{"byteLength": len(_TRIANGLE)}],
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(_TRIANGLE), b"BIN\0") + _TRIANGLE
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _series(call: Call, prefix: str, images: Image) -> Series:
    return open_series(call.folders.output, prefix, width=images.shape[2], height=images.shape[1])


def _saved_pngs(call: Call, images: Image, series: Series, kind: str, level: int) -> Shown:
    rows, info = [], _png_info(call)
    for index, frame in enumerate(images):
        path = series.next(".png", index)
        Pictures.fromarray(np.ascontiguousarray(frame)).save(path, pnginfo=info, compress_level=level)
        rows.append(_row(path, series, kind))
    return Shown({"images": rows}, (images,))


def _saved_audio(call: Call, audio: Audio, prefix: str, suffix: str) -> Shown:
    series = open_series(call.folders.output, prefix)
    path = series.next(suffix)
    write_audio(path, audio, _metadata(call))
    return Shown({"audio": [_row(path, series)]}, (audio,))


def _row(path: Path, series: Series, kind: str = "output") -> dict[str, str]:
    return {"filename": path.name, "subfolder": series.subfolder, "type": kind}


def _metadata(call: Call) -> dict[str, str]:
    """The graph and whatever the caller sent along, and the word that a simulator made it."""
    texts = {"prompt": call.prompt, **call.extra_pnginfo, SIMULATED: True}
    return {key: json.dumps(value) for key, value in texts.items()}


def _png_info(call: Call) -> PngInfo:
    info = PngInfo()
    for key, text in _metadata(call).items():
        info.add_text(key, text)
    return info


NODES: Mapping[str, NodeFunction] = {
    "SaveImage": save_image,
    "PreviewImage": preview_image,
    "MaskPreview": preview_mask,
    "SaveImageAdvanced": save_image_advanced,
    "SaveImageWebsocket": send_image,
    "SaveAnimatedWEBP": save_animated_webp,
    "SaveAnimatedPNG": save_animated_png,
    "SaveVideo": save_video,
    "SaveWEBM": save_webm,
    "SaveAudio": save_audio_as(".flac"),
    "SaveAudioMP3": save_audio_as(".mp3"),
    "SaveAudioOpus": save_audio_as(".opus"),
    "SaveAudioAdvanced": save_audio_advanced,
    "PreviewAudio": preview_audio,
    "SaveLatent": save_latent,
    "SaveText": save_text,
    "SaveGLB": save_mesh,
}
