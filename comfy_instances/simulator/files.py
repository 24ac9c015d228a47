"""Resolve the names of input and output files in graphs and requests."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_instances.simulator.options import InstanceFolders

SAFETENSORS_SUFFIX = ".safetensors"
#: Longest header whose metadata the server reads, in bytes.
_MAX_HEADER_BYTES = 1024 * 1024


def is_within(folder: Path, path: Path) -> bool:
    """Return whether the normalized `path` is `folder` or lies inside it."""
    return Path(os.path.normpath(path)).is_relative_to(os.path.normpath(folder))


def parse_annotated_name(name: str) -> tuple[str, str | None]:
    """Split `x.png [temp]` into (`x.png`, `temp`). The type of a name without annotation is None."""
    for kind in ("output", "input", "temp"):
        if name.endswith(f"[{kind}]"):
            return name[: -len(kind) - 3], kind
    return name, None


def resolve_input_path(folders: InstanceFolders, name: str) -> Path:
    """Return the path of an annotated name, by default in the input folder.

    Raises ValueError if the path is outside the folder.
    """
    bare, kind = parse_annotated_name(name)
    folder = folders.folder_of_type(kind or "input")
    if folder is None or not is_within(folder, folder / bare):
        raise ValueError(f"Invalid file path: {bare!r}")
    return folder / bare


def has_input_file(folders: InstanceFolders, name: str) -> bool:
    try:
        return resolve_input_path(folders, name).exists()
    except ValueError:
        return False


@dataclass(slots=True)
class NumberedFileSeries:
    """Numbered files of one prefix: `name_00001_.png`, `name_00002_.png`, ..."""

    folder: Path
    #: The folder part of the prefix, relative to the type's folder.
    subfolder: str
    base_name: str
    #: The number of the next file.
    next_number: int

    def next_path(self, suffix: str, batch_index: int = 0) -> Path:
        name = self.base_name.replace("%batch_num%", str(batch_index))
        path = self.folder / f"{name}_{self.next_number:05}_{suffix}"
        self.next_number += 1
        return path


def open_file_series(folder: Path, prefix: str, *, width: int = 0, height: int = 0) -> NumberedFileSeries:
    """Return the series that `prefix` names under `folder`, continued after its highest number.

    Placeholders for size and local time are filled in. Raises ValueError if the prefix points outside
    the folder.
    """
    now = time.localtime()
    values = {"width": width, "height": height, "year": now.tm_year}
    values |= {"month": now.tm_mon, "day": now.tm_mday, "hour": now.tm_hour}
    for key, value in (values | {"minute": now.tm_min, "second": now.tm_sec}).items():
        digits = str(value) if key in ("width", "height", "year") else f"{value:02}"
        prefix = prefix.replace(f"%{key}%", digits)
    subfolder, name = os.path.split(os.path.normpath(prefix))
    target = folder / subfolder
    if not is_within(folder, target):
        raise ValueError("Saving outside the output folder is not allowed.")
    target.mkdir(parents=True, exist_ok=True)
    return NumberedFileSeries(target, subfolder, name, _highest_number(target, name) + 1)


def _highest_number(folder: Path, name: str) -> int:
    """Return the highest number among the files `<name>_<number>_...` in `folder`; 0 if there is none."""
    start = f"{name}_"
    names = (path.name for path in folder.iterdir())
    rests = (entry[len(start) :] for entry in names if entry.startswith(start))
    numbers = (rest.split(".")[0].split("_")[0] for rest in rests)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def read_safetensors_metadata(file: Path) -> dict[str, Any] | None:
    """Return the metadata in the header of a safetensors file; None if it has none or a header over 1 MiB.

    Raises ValueError for another kind of file, on which ComfyUI fails too.
    """
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > _MAX_HEADER_BYTES:
            return None
        header = json.loads(stream.read(size))
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else None
