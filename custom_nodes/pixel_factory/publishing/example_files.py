"""The author's own input files, which the service keeps with the model: read them, and write them back."""

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


def save_input_files(files: Any) -> dict[str, list[str]]:
    """Write the files of a model, `[{"name", "data"}]`, into the input folder; return their names by outcome.

    `saved` are new, `kept` were there already, and `different` are there with another content, which stays.
    `refused` are no images, videos or sounds, or would lead out of the folder. Blocking: call it in a thread.
    """
    root = Path(import_module("folder_paths").get_input_directory()).resolve()
    found: dict[str, list[str]] = {"saved": [], "kept": [], "different": [], "refused": []}
    for row in files if isinstance(files, list) else ():
        name, data = (str(row.get(key, "")) for key in ("name", "data"))
        content = _decode(data)
        is_plain = not set(name) & {"\\", "\0"}
        file = (root / name).resolve() if is_plain else root
        guessed = mimetypes.guess_type(name)[0] or ""
        is_medium = guessed.startswith(("image/", "video/", "audio/"))
        if content is None or not is_medium or root not in file.parents:
            found["refused"].append(name)
        elif file.exists():
            is_same = file.is_file() and file.read_bytes() == content
            found["kept" if is_same else "different"].append(name)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            found["saved"].append(name)
    return found


def _decode(data: str) -> bytes | None:
    """Return the content of a `data:` URL in base64; None if it is none."""
    head, _, text = data.partition(",")
    try:
        return base64.b64decode(text, validate=True) if head.endswith(";base64") else None
    except ValueError:
        return None


def _texts(prompt: Mapping[str, Any]) -> Iterator[str]:
    for node in prompt.values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        for value in (inputs or {}).values():
            if isinstance(value, str) and 0 < len(value) < 500:
                yield value.removesuffix(" [input]")
