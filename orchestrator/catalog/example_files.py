"""The author's own input files, which are kept with a model: `examples.json` in its folder.

    {"image": {"name": "hare.png", "data": "data:image/png;base64,..."}}

Keys are parameters. The playground offers the files.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from orchestrator.media.sniffing import detect_content_type

EXAMPLES_NAME = "examples.json"
#: Largest file, and all files of a model together.
MAX_FILE_BYTES = 8 * 2**20
MAX_TOTAL_BYTES = 12 * 2**20
#: Largest `examples.json`: the files in base64, and their names.
MAX_STORED_BYTES = MAX_TOTAL_BYTES * 4 // 3 + 2**20
#: Beginning of the content type of each type of parameter.
MEDIA_BY_TYPE = {"image": "image/", "video": "video/", "audio": "audio/"}
_DATA_URL = re.compile(r"data:[a-z0-9.+/-]+;base64,([A-Za-z0-9+/=\s]+)")
#: What ComfyUI adds to the name of a file that is not in its input folder, or says of one that is.
_FOLDER_MARK = re.compile(r"\s*\[(input|output|temp)\]$")


@dataclass(frozen=True, slots=True)
class ExampleFile:
    """One file of the author."""

    name: str
    content_type: str
    data: bytes


def parse_example_files(text: str) -> dict[str, ExampleFile]:
    """Return the files of `examples.json` by parameter; broken entries are left out."""
    try:
        rows = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    found: dict[str, ExampleFile] = {}
    for parameter, row in rows.items() if isinstance(rows, dict) else ():
        if isinstance(row, dict) and (data := decode_data_url(row.get("data"))):
            name, content_type = str(row.get("name", "")), detect_content_type(data)
            if content_type is not None:
                found[str(parameter)] = ExampleFile(name, content_type, data)
    return found


def format_example_files(files: Mapping[str, tuple[str, bytes]]) -> str:
    """Return the text of `examples.json` for names and contents by parameter."""
    rows = {
        parameter: {
            "name": name,
            "data": encode_data_url(data),
        }
        for parameter, (name, data) in files.items()
    }
    return json.dumps(rows, indent=1) + "\n"


def encode_data_url(data: bytes) -> str:
    """Return an image, video or sound as a `data:` URL."""
    return f"data:{detect_content_type(data)};base64,{base64.b64encode(data).decode()}"


def decode_data_url(value: object) -> bytes | None:
    """Return the content of a `data:` URL; None if it is none."""
    found = _DATA_URL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    try:
        return base64.b64decode("".join(found[1].split()), validate=True)
    except binascii.Error:
        return None


def strip_folder_mark(name: str) -> str:
    """Return the name of an input file, as a graph has it, without the mark of its folder."""
    return _FOLDER_MARK.sub("", name).replace("\\", "/")


def named_examples(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the author's files by parameter, as the manifest's example has them."""
    specs = manifest.get("parameters", {})
    return {
        name: strip_folder_mark(value)
        for name, value in manifest.get("example", {}).items()
        if isinstance(value, str) and specs.get(name, {}).get("type") in MEDIA_BY_TYPE
    }


def choose_example_files(
    manifest: Mapping[str, Any], given: Iterable[tuple[str, bytes]]
) -> tuple[dict[str, tuple[str, bytes]], list[str]]:
    """Return the files of the manifest's example among the given ones, and why others are not kept."""
    by_name = dict(given)
    kept: dict[str, tuple[str, bytes]] = {}
    notes: list[str] = []
    total = 0
    for parameter, name in named_examples(manifest).items():
        data = by_name.get(name)
        if data is None:
            notes.append(f"the file {name} of the parameter {parameter}, to be kept as its example")
            continue
        media = MEDIA_BY_TYPE[manifest["parameters"][parameter]["type"]]
        if not (detect_content_type(data) or "").startswith(media):
            notes.append(f"the example of {parameter}: {name} is no {media.rstrip('/')} file, and not kept")
        elif len(data) > MAX_FILE_BYTES or total + len(data) > MAX_TOTAL_BYTES:
            notes.append(
                f"the example of {parameter}: {name} has {len(data)} bytes, and is not kept: at most"
                f" {MAX_FILE_BYTES} a file and {MAX_TOTAL_BYTES} together are"
            )
        else:
            kept[parameter] = (PurePosixPath(name).name, data)
            total += len(data)
    return kept, notes


def choose_sent_files(
    manifest: Mapping[str, Any], sent: Iterable[tuple[str, bytes | None]]
) -> tuple[dict[str, tuple[str, bytes]], list[str]]:
    """Return the files of the manifest's example among those of a request, and why others are not kept.

    A content of None is no `data:` URL. Without any file there is nothing to say.
    """
    rows = dict(sent)
    if not rows:
        return {}, []
    fixed = {row["name"] for row in manifest.get("fixed_files", {}).values()}
    wanted = set(named_examples(manifest).values()) | fixed
    kept, notes = choose_example_files(manifest, [(name, data) for name, data in rows.items() if data])
    for name, data in rows.items():
        if name not in wanted:
            names = ", ".join(sorted(wanted)) or "none"
            notes.append(f"the example file {name[:100]} is not kept: parameters load {names}")
        elif not data:
            notes.append(f"the example file {name[:100]} is not kept: `data` must be a `data:` URL in base64")
    return kept, notes
