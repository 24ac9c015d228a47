"""Nodes that write files or send images."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage
from PIL.PngImagePlugin import PngInfo

from comfy_instances.simulator.files import NumberedFileSeries, open_file_series
from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction, NodeResult
from comfy_instances.simulator.nodes.files.containers import write_audio, write_video
from comfy_instances.simulator.nodes.files.meshes import encode_glb, encode_ply
from comfy_instances.simulator.nodes.files.png import encode_png
from comfy_instances.simulator.nodes.files.stills import encode_deep_png, encode_exr
from comfy_instances.simulator.nodes.files.tensors import LATENT_GEOMETRY_KEY, encode_tensors
from comfy_instances.simulator.nodes.images.masks import mask_to_image
from comfy_instances.simulator.nodes.models.placeholder_media import seeded_generator
from comfy_instances.simulator.nodes.values import (
    AudioClip,
    FloatArray,
    ImageArray,
    Latent,
    MaskArray,
    VideoClip,
    fingerprint,
)

#: Metadata key that marks files of the simulator.
SIMULATED_METADATA_KEY = "pixelfactory_simulated"

#: Corners of the triangles of a placeholder mesh.
MESH_CORNERS = 3 * 64


def save_image(context: NodeContext, images: ImageArray, filename_prefix: str = "ComfyUI") -> NodeResult:
    series = _open_image_series(context, filename_prefix, images)
    return _save_pngs(context, images, series, "output")


def preview_image(context: NodeContext, images: ImageArray) -> NodeResult:
    """Save images to the temporary folder, under a unique name."""
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))
    series = open_file_series(context.folders.temp, f"ComfyUI_temp_{letters}")
    return _save_pngs(context, images, series, "temp")


def preview_mask(context: NodeContext, mask: MaskArray) -> NodeResult:
    return NodeResult(preview_image(context, mask_to_image(mask)[0]).ui, (mask,))


def save_image_advanced(
    context: NodeContext, images: ImageArray, format: Mapping[str, Any], filename_prefix: str = "ComfyUI"
) -> NodeResult:
    """Save images as PNG with 8 or 16 bits a channel, or as OpenEXR."""
    series = _open_image_series(context, filename_prefix, images)
    info, color_space = _png_info(context), format.get("input_color_space", "sRGB")
    if format["format"] == "exr":
        return _save_stills(images, series, ".exr", lambda frame: encode_exr(frame, color_space))
    encode = encode_deep_png if format.get("bit_depth") == "16-bit" else encode_png
    return _save_stills(images, series, ".png", lambda frame: encode(frame, info))


def save_image_websocket(context: NodeContext, images: ImageArray) -> NodeResult:
    """Send images over the websocket as PNG, without a file and without UI output."""
    for index, frame in enumerate(images):
        context.update_progress(index, len(images), PILImage.fromarray(np.ascontiguousarray(frame)), "PNG")
    return NodeResult({})


def save_animated_webp(
    context: NodeContext,
    images: ImageArray,
    fps: float,
    filename_prefix: str = "ComfyUI",
    lossless: bool = True,
    quality: int = 80,
    method: str = "default",
) -> NodeResult:
    series = _open_image_series(context, filename_prefix, images)
    path = series.next_path(".webp")
    first, *others = [PILImage.fromarray(np.ascontiguousarray(frame)) for frame in images]
    effort = {"fastest": 0, "slowest": 6}.get(method, 4)
    options: dict[str, Any] = {"lossless": lossless, "quality": quality, "method": effort}
    options["duration"] = int(1000 / fps)
    first.save(path, save_all=True, append_images=others, loop=0, **options)
    return NodeResult({"images": [_file_reference(path, series)], "animated": [True]}, (images,))


def save_animated_png(
    context: NodeContext,
    images: ImageArray,
    fps: float,
    filename_prefix: str = "ComfyUI",
    compress_level: int = 4,
) -> NodeResult:
    series = _open_image_series(context, filename_prefix, images)
    path = series.next_path(".png")
    first, *others = [PILImage.fromarray(np.ascontiguousarray(frame)) for frame in images]
    options: dict[str, Any] = {"compress_level": compress_level, "duration": int(1000 / fps)}
    first.save(path, save_all=True, append_images=others, pnginfo=_png_info(context), **options)
    return NodeResult({"images": [_file_reference(path, series)], "animated": [True]}, (images,))


def save_video(
    context: NodeContext,
    video: VideoClip,
    format: str,
    codec: Mapping[str, Any],
    filename_prefix: str = "video/ComfyUI",
) -> NodeResult:
    """Save a video as H.264 in MP4, also where `format` or `codec` is `auto`."""
    encoding = codec.get("encoding") or {}
    series = _open_image_series(context, filename_prefix, video.frames)
    path = series.next_path(".mp4")
    write_video(path, video, "h264", _file_metadata(context), encoding.get("crf"))
    return NodeResult({"images": [_file_reference(path, series)], "animated": [True]}, (video,))


def save_webm(
    context: NodeContext,
    images: ImageArray,
    codec: str,
    fps: float,
    crf: float,
    filename_prefix: str = "ComfyUI",
) -> NodeResult:
    series = _open_image_series(context, filename_prefix, images)
    path = series.next_path(".webm")
    write_video(path, VideoClip(images, Fraction(fps)), codec, _file_metadata(context), crf)
    return NodeResult({"images": [_file_reference(path, series)], "animated": [True]}, (images,))


def make_save_audio_node(suffix: str) -> Callable[..., NodeResult]:
    """Return the function of a node that saves audio with that suffix."""

    def save(
        context: NodeContext, audio: AudioClip, filename_prefix: str = "audio/ComfyUI", quality: str = ""
    ) -> NodeResult:
        return _save_audio(context, audio, filename_prefix, suffix)

    return save


def save_audio_advanced(
    context: NodeContext, audio: AudioClip, format: Mapping[str, Any], filename_prefix: str = "audio/ComfyUI"
) -> NodeResult:
    return _save_audio(context, audio, filename_prefix, f".{format['format']}")


def preview_audio(context: NodeContext, audio: AudioClip) -> NodeResult:
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))
    series = open_file_series(context.folders.temp, f"ComfyUI_temp_{letters}")
    path = series.next_path(".flac")
    write_audio(path, audio, _file_metadata(context))
    return NodeResult({"audio": [_file_reference(path, series, "temp")]}, (audio,))


def save_latent(
    context: NodeContext, samples: Latent, filename_prefix: str = "latents/ComfyUI"
) -> NodeResult:
    series = open_file_series(context.folders.output, filename_prefix)
    path = series.next_path(".latent")
    tensors = {"latent_tensor": samples.samples, "latent_format_version_0": np.zeros(0, np.float32)}
    geometry = json.dumps([samples.spatial, samples.temporal])
    path.write_bytes(encode_tensors(tensors, {**_file_metadata(context), LATENT_GEOMETRY_KEY: geometry}))
    return NodeResult({"latents": [_file_reference(path, series)]}, (samples,))


def save_text(
    context: NodeContext, text: str, format: str = "txt", filename_prefix: str = "ComfyUI"
) -> NodeResult:
    series = open_file_series(context.folders.output, filename_prefix)
    path = series.next_path(f".{format}")
    path.write_text(text, encoding="utf-8")
    return NodeResult({"text": [text], "files": [_file_reference(path, series)]}, (text,))


def save_mesh(context: NodeContext, mesh: Any, filename_prefix: str = "3d/ComfyUI") -> NodeResult:
    series = open_file_series(context.folders.output, filename_prefix)
    path = series.next_path(".glb")
    path.write_bytes(_placeholder_glb(context, mesh))
    return NodeResult({"3d": [_file_reference(path, series)]})


def save_3d_model(
    context: NodeContext,
    model_3d: Any,
    filename_prefix: str = "3d/ComfyUI",
    width: int = 1024,
    height: int = 1024,
    **view: Any,
) -> NodeResult:
    """Save a mesh as GLB, and splats and points as PLY. The node reports the path, not a file."""
    series = open_file_series(context.folders.output, filename_prefix)
    is_mesh = context.class_type == "Save3DAdvanced"
    path = series.next_path(".glb" if is_mesh else ".ply")
    path.write_bytes(
        _placeholder_glb(context, model_3d) if is_mesh else encode_ply(_placeholder_corners(model_3d))
    )
    place, camera = view.get("model_3d_info") or [], view.get("camera_info")
    name = f"{series.subfolder}/{path.name}" if series.subfolder else path.name
    return NodeResult({"result": [name, None, []]}, (model_3d, place, camera, width, height))


def _placeholder_glb(context: NodeContext, model: Any) -> bytes:
    about = {"generator": "Pixel Factory simulator", "version": "2.0", "extras": _file_metadata(context)}
    return encode_glb(about, _placeholder_corners(model))


def _placeholder_corners(model: Any) -> FloatArray:
    corners = seeded_generator(fingerprint([model])).uniform(-1, 1, (MESH_CORNERS, 3))
    return corners.astype("<f4")


def _open_image_series(context: NodeContext, prefix: str, images: ImageArray) -> NumberedFileSeries:
    return open_file_series(context.folders.output, prefix, width=images.shape[2], height=images.shape[1])


def _save_pngs(
    context: NodeContext, images: ImageArray, series: NumberedFileSeries, folder_type: str
) -> NodeResult:
    info = _png_info(context)
    return _save_stills(images, series, ".png", lambda frame: encode_png(frame, info), folder_type)


def _save_stills(
    images: ImageArray,
    series: NumberedFileSeries,
    suffix: str,
    encode: Callable[[ImageArray], bytes],
    folder_type: str = "output",
) -> NodeResult:
    rows = []
    for index, frame in enumerate(images):
        path = series.next_path(suffix, index)
        path.write_bytes(encode(frame))
        rows.append(_file_reference(path, series, folder_type))
    return NodeResult({"images": rows}, (images,))


def _save_audio(context: NodeContext, audio: AudioClip, prefix: str, suffix: str) -> NodeResult:
    series = open_file_series(context.folders.output, prefix)
    path = series.next_path(suffix)
    write_audio(path, audio, _file_metadata(context))
    return NodeResult({"audio": [_file_reference(path, series)]}, (audio,))


def _file_reference(path: Path, series: NumberedFileSeries, folder_type: str = "output") -> dict[str, str]:
    return {"filename": path.name, "subfolder": series.subfolder, "type": folder_type}


def _file_metadata(context: NodeContext) -> dict[str, str]:
    """Return the metadata of a file: the graph, the metadata of the request, and the simulator's key."""
    graph = {"prompt": context.prompt} if context.prompt else {}
    texts = {**graph, **context.extra_pnginfo, SIMULATED_METADATA_KEY: True}
    return {key: json.dumps(value) for key, value in texts.items()}


def _png_info(context: NodeContext) -> PngInfo:
    info = PngInfo()
    for key, text in _file_metadata(context).items():
        info.add_text(key, text)
    return info


NODES: Mapping[str, NodeFunction] = {
    "SaveImage": save_image,
    "PreviewImage": preview_image,
    "MaskPreview": preview_mask,
    "SaveImageAdvanced": save_image_advanced,
    "SaveImageWebsocket": save_image_websocket,
    "SaveAnimatedWEBP": save_animated_webp,
    "SaveAnimatedPNG": save_animated_png,
    "SaveVideo": save_video,
    "SaveWEBM": save_webm,
    "SaveAudio": make_save_audio_node(".flac"),
    "SaveAudioMP3": make_save_audio_node(".mp3"),
    "SaveAudioOpus": make_save_audio_node(".opus"),
    "SaveAudioAdvanced": save_audio_advanced,
    "PreviewAudio": preview_audio,
    "SaveLatent": save_latent,
    "SaveText": save_text,
    "SaveGLB": save_mesh,
    "Save3DAdvanced": save_3d_model,
    "SaveGaussianSplat": save_3d_model,
    "SavePointCloud": save_3d_model,
}
