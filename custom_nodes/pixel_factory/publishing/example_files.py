"""Read the author's own input files, which the service keeps with the model."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

MAX_FILE_BYTES = 8 * 2**20
MAX_TOTAL_BYTES = 12 * 2**20


def read_example_files(prompt: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return `{"name", "data"}` of the images, videos and sounds in the input folder that a graph names.

    Larger files are left out. Blocking: call it in a thread.
    """
    root = Path(import_module("folder_paths").get_input_directory()).resolve()
    found: dict[str, dict[str, str]] = {}
    total = 0
    for name in _texts(prompt):
        content_type = mimetypes.guess_type(name)[0] or ""
        if name in found or not content_type.startswith(("image/", "video/", "audio/")):
            continue
        file = (root / name.replace("\\", "/")).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            continue
        size = file.stat().st_size
        if size <= MAX_FILE_BYTES and total + size <= MAX_TOTAL_BYTES:
            total += size
            data = base64.b64encode(file.read_bytes()).decode()
            found[name] = {"name": name, "data": f"data:{content_type};base64,{data}"}
    return list(found.values())


def _texts(prompt: Mapping[str, Any]) -> Iterator[str]:
    for node in prompt.values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        for value in (inputs or {}).values():
            if isinstance(value, str) and 0 < len(value) < 500:
                yield value.removesuffix(" [input]")
