"""Finds out in which folder ComfyUI looks for the file of an input: by files that a trial puts there.

Neither `/object_info` nor a pack's documents say it. Each folder below `models/` gets an empty file of each
kind; an input that lists one of them loads files of this folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

#: Folder of a trial with the folders of weights.
MODELS_FOLDER = "models"
MARKER_NAME = "pixelfactory-folder-probe"
#: Kinds of weight files; a folder lists only those of its own kinds.
WEIGHT_ENDINGS = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
#: Kinds of input files, and the name of their folder.
INPUT_ENDINGS = (
    ".png",
    ".jpg",
    ".webp",
    ".gif",
    ".mp4",
    ".webm",
    ".wav",
    ".mp3",
    ".flac",
    ".txt",
    ".json",
    ".glb",
)
INPUT_FOLDER = "input"
#: Further names of folders, which ComfyUI still searches.
OLD_FOLDERS = frozenset({"unet", "clip", "t2i_adapter"})
#: Folders below `models/` that hold no weights.
OTHER_FOLDERS = frozenset({"configs", "custom_nodes", "datasets", "diffusers"})
#: Key of a class's facts: input -> folders in which ComfyUI looks for its file.
FILE_FOLDERS_KEY = "file_folders"
#: Key of the facts of a class for the types that links may have besides the declared ones.
LINK_TYPES_KEY = "link_types"


def place_markers(directory: Path, registered: Mapping[str, list[str]]) -> list[str]:
    """Put empty files into each registered or existing folder of a trial's `models/`; return the folders.

    Those for the input folders of its instances count as the folder INPUT_FOLDER. Raises OSError.
    """
    for folder in directory.glob("instances/*"):
        (folder / "input").mkdir(exist_ok=True)
        for ending in INPUT_ENDINGS:
            (folder / "input" / f"{_marker_stem(INPUT_FOLDER)}{ending}").touch()
    root = (directory / MODELS_FOLDER).resolve()
    folders = {Path(path).resolve() for paths in registered.values() for path in paths}
    folders |= {path.resolve() for path in root.rglob("*") if path.is_dir()}
    names = sorted(str(folder.relative_to(root)) for folder in folders if folder.is_relative_to(root))
    names = [name for name in names if name != "." and PurePosixPath(name).parts[0] not in OTHER_FOLDERS]
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for ending in WEIGHT_ENDINGS:
            (root / name / f"{_marker_stem(name)}{ending}").touch()
    return [*names, INPUT_FOLDER]


def find_file_folders(object_info: Mapping[str, Any], folders: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return the folders of each input that lists a marker: class -> input -> folders."""
    found: dict[str, dict[str, list[str]]] = {}
    for class_name, info in object_info.items():
        for input_name, choices in _iter_choices(info):
            listed = {folder for choice in choices for folder in _folders_of(choice, folders)}
            # Where both names of a folder are searched, files belong into the newer one.
            listed = (listed - OLD_FOLDERS) or listed
            if listed:
                found.setdefault(class_name, {})[input_name] = sorted(listed)
    return found


def _marker_stem(folder: str) -> str:
    return f"{MARKER_NAME}-{folder.replace('/', '--')}"


def _folders_of(choice: str, folders: list[str]) -> Iterator[str]:
    """Yield the folder of a marker, without the part of its path that the choice itself has."""
    if MARKER_NAME not in choice:
        return
    text = PurePosixPath(choice.replace("\\", "/"))
    for folder in folders:
        if text.stem == _marker_stem(folder):
            own = text.parent.parts
            parts = PurePosixPath(folder).parts
            if not own:
                yield folder
            elif parts[-len(own) :] == own and len(parts) > len(own):
                yield "/".join(parts[: -len(own)])


def _iter_choices(info: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for section in ("required", "optional"):
        for name, spec in (info.get("input", {}).get(section) or {}).items():
            choices = _choices(spec)
            if choices:
                yield name, [choice for choice in choices if isinstance(choice, str)]


def _choices(spec: Any) -> list[Any]:
    if not isinstance(spec, list) or not spec:
        return []
    if isinstance(spec[0], list):
        return spec[0]
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    listed = options.get("options")
    return listed if isinstance(listed, list) else []
