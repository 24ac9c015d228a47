"""Parameter nodes for several images, a video and audio, and the node that saves and names a result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from .parameters import CATEGORY, DESCRIPTION_INPUT, REQUIRED_INPUT, InputTypes, name_input

_EXAMPLE_TOOLTIP = "The example that ComfyUI uses here; requests contain their own."


def _list_input_files(*media: str) -> list[str]:
    """Return the files of ComfyUI's input folder that are of one of the media."""
    folder_paths = import_module("folder_paths")
    folder = Path(folder_paths.get_input_directory())
    names = [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    return sorted(folder_paths.filter_files_content_types(names, list(media)))


def _input_path(name: str) -> Path:
    return Path(import_module("folder_paths").get_annotated_filepath(name))


def _check_files(names: Sequence[str]) -> bool | str:
    exists = import_module("folder_paths").exists_annotated_filepath
    missing = [name for name in names if not exists(name)]
    return not missing or f"not in ComfyUI's input folder: {', '.join(missing)}"


def _declared(name: str) -> dict[str, Any]:
    """Return the inputs that all file parameters have."""
    required = "BOOLEAN", {**REQUIRED_INPUT[1], "default": True}
    return {"name": name_input(name), "required": required, "description": DESCRIPTION_INPUT}


def _seconds_input() -> tuple[Any, dict[str, Any]]:
    limits = {"min": 0.1, "max": 3600.0, "step": 0.1}
    return "FLOAT", {"default": 30.0, **limits, "tooltip": "Longest file in requests, in seconds."}


class ImageListParameterNode:
    """A list of images, output as a batch of the first image's size."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "Several images that requests contain, as a batch in the size of the first."
    FUNCTION: ClassVar = "load_images"
    RETURN_TYPES: ClassVar = ("IMAGE",)
    RETURN_NAMES: ClassVar = ("images",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        # `allow_batch` lets the page upload several files; the widget's value is then a list.
        upload = {"image_upload": True, "allow_batch": True, "multiselect": True}
        count = {"default": 4, "min": 1, "max": 16, "tooltip": "Largest number of images in a request."}
        return {
            "required": {
                "images": (_list_input_files("image"), {**upload, "tooltip": _EXAMPLE_TOOLTIP}),
                "max_items": ("INT", count),
                **_declared("images"),
            }
        }

    @classmethod
    def IS_CHANGED(cls, images: str | list[str], **declaration: object) -> str:
        return str([_input_path(name).stat().st_mtime_ns for name in _as_list(images)])

    @classmethod
    def VALIDATE_INPUTS(cls, images: Any, max_items: int) -> bool | str:
        names = _as_list(images)
        if not 1 <= len(names) <= max_items:
            return f"images: must be 1 to {max_items} images (got {len(names)})"
        return _check_files(names)

    def load_images(self, images: str | list[str], **declaration: object) -> tuple[Any]:
        loader = import_module("nodes").LoadImage
        load = getattr(loader(), loader.FUNCTION)
        batch = import_module("comfy_extras.nodes_post_processing").batch_images
        return (batch([load(name)[0] for name in _as_list(images)]),)


def _as_list(images: str | list[str]) -> list[str]:
    return [images] if isinstance(images, str) else list(images)


class VideoParameterNode:
    """A video parameter."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "A video that requests contain. If not required, link it to optional inputs only."
    FUNCTION: ClassVar = "load_video"
    RETURN_TYPES: ClassVar = ("VIDEO",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        file = _list_input_files("video"), {"video_upload": True, "tooltip": _EXAMPLE_TOOLTIP}
        return {"required": {"file": file, "max_seconds": _seconds_input(), **_declared("video")}}

    @classmethod
    def IS_CHANGED(cls, file: str, **declaration: object) -> int:
        return _input_path(file).stat().st_mtime_ns

    @classmethod
    def VALIDATE_INPUTS(cls, file: str) -> bool | str:
        return _check_files([file])

    def load_video(self, file: str, **declaration: object) -> tuple[Any]:
        return (import_module("comfy_api.latest").InputImpl.VideoFromFile(str(_input_path(file))),)


class AudioParameterNode:
    """An audio parameter."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "Audio that requests contain. If not required, link it to optional inputs only."
    FUNCTION: ClassVar = "load_audio"
    RETURN_TYPES: ClassVar = ("AUDIO",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        audio = _list_input_files("audio", "video"), {"audio_upload": True, "tooltip": _EXAMPLE_TOOLTIP}
        return {"required": {"audio": audio, "max_seconds": _seconds_input(), **_declared("audio")}}

    @classmethod
    def IS_CHANGED(cls, audio: str, **declaration: object) -> int:
        return _input_path(audio).stat().st_mtime_ns

    @classmethod
    def VALIDATE_INPUTS(cls, audio: str) -> bool | str:
        return _check_files([audio])

    def load_audio(self, audio: str, **declaration: object) -> tuple[Any]:
        waveform, rate = import_module("comfy_extras.nodes_audio").load(str(_input_path(audio)))
        return ({"waveform": waveform.unsqueeze(0), "sample_rate": rate},)


class OutputNode:
    """Saves an image, a video or audio as a result of the model, and names it."""

    CATEGORY: ClassVar = CATEGORY
    DESCRIPTION: ClassVar = "Saves a result of the model, and names it: an image, a video or audio."
    FUNCTION: ClassVar = "save_result"
    RETURN_TYPES: ClassVar = ()
    OUTPUT_NODE: ClassVar = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        result = {"forceInput": True, "tooltip": "The images, the video or the audio to save."}
        name = {"default": "result", "tooltip": "Name of the result: lower-case letters, digits and _."}
        return {
            "required": {"result": ("IMAGE,VIDEO,AUDIO", result), "name": ("STRING", name)},
            "hidden": {"prompt": ("PROMPT", {}), "extra_pnginfo": ("EXTRA_PNGINFO", {})},
        }

    def save_result(self, result: Any, name: str, prompt: Any = None, extra_pnginfo: Any = None) -> Any:
        if isinstance(result, dict):
            return _save_audio(result, name)
        if hasattr(result, "save_to"):
            return _save_video(result, name, {**(extra_pnginfo or {}), "prompt": prompt})
        return import_module("nodes").SaveImage().save_images(result, name, prompt, extra_pnginfo)


def _save_video(video: Any, name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    folder_paths = import_module("folder_paths")
    folder, file, counter, subfolder, _ = folder_paths.get_save_image_path(
        name, folder_paths.get_output_directory(), *video.get_dimensions()
    )
    file = f"{file}_{counter:05}_.mp4"
    hidden = import_module("comfy.cli_args").args.disable_metadata
    video.save_to(str(Path(folder, file)), metadata=None if hidden else metadata)
    saved = {"filename": file, "subfolder": subfolder, "type": "output"}
    return {"ui": {"images": [saved], "animated": (True,)}}


def _save_audio(audio: dict[str, Any], name: str) -> dict[str, Any]:
    latest = import_module("comfy_api.latest")
    saved = latest.UI.AudioSaveHelper.save_audio(audio, name, latest.io.FolderType.output, None)
    rows = [json.loads(json.dumps(dict(each))) for each in saved]
    return {"ui": {"audio": rows}}


#: The names are stored in authors' graphs and must not change.
NODE_CLASS_MAPPINGS = {
    "PixelFactoryImages": ImageListParameterNode,
    "PixelFactoryVideo": VideoParameterNode,
    "PixelFactoryAudio": AudioParameterNode,
    "PixelFactoryOutput": OutputNode,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "PixelFactoryImages": "Image list parameter",
    "PixelFactoryVideo": "Video parameter",
    "PixelFactoryAudio": "Audio parameter",
    "PixelFactoryOutput": "Output",
}
