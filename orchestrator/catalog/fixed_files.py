"""Input files that the author fixed: every run of the model loads them. `fixed_files.json` in its folder.

The manifest names them and has their digests, so that another file is another version:

    [fixed_files.image]
    name = "hare.png"
    media = "image"
    sha256 = "..."

The content is in `fixed_files.json`, in the format of `examples.json`. Graphs have the name under which the
instance stores the file as `{{ fixed_files.image }}`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from orchestrator.catalog.checks.node_facts import NodeFacts, resolve_inputs
from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.example_files import (
    MAX_FILE_BYTES,
    MAX_TOTAL_BYTES,
    MEDIA_BY_TYPE,
    ExampleFile,
    format_example_files,
    parse_example_files,
    strip_folder_mark,
)
from orchestrator.catalog.manifest import FIXED_FILES, FixedFile, is_input_path
from orchestrator.catalog.rendering.expressions import is_template
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.image_headers import read_image_size
from orchestrator.media.sniffing import detect_content_type

FIXED_FILES_NAME = "fixed_files.json"
#: Largest image, in pixels: an instance needs 12 bytes of memory for each.
MAX_IMAGE_PIXELS = 64_000_000
_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_UPLOAD_FLAGS = {"image_upload": "image", "video_upload": "video", "audio_upload": "audio"}


def describe_fixed_file(name: str, media: str) -> dict[str, str]:
    """Return the row of the manifest for a file in the author's input folder, whose content is not known."""
    return {"name": strip_folder_mark(name), "media": media, "sha256": ""}


def fixed_file_expression(slot: str) -> str:
    """Return what the graph has in place of the file's name."""
    return f"{{{{ {FIXED_FILES}.{slot} }}}}"


def read_fixed_files(rows: Mapping[str, FixedFile], text: str, file: Path) -> Mapping[str, ExampleFile]:
    """Return the files of a manifest by slot; those without a digest are left out.

    Raises CatalogError unless `text`, that of `fixed_files.json`, has exactly the files with these digests.
    """
    if not rows:
        return {}
    found: dict[str, ExampleFile] = {}
    stored = _parse(text)
    for slot, row in rows.items():
        if not row.sha256:
            continue
        if slot not in stored or stored[slot][1] != row.sha256:
            raise CatalogError(
                f"has no file with the digest {row.sha256[:12]}...; publish the model again with {row.name}",
                file=file,
                where=slot,
            )
        found[slot] = stored[slot][0]
    return found


@lru_cache(maxsize=32)
def _parse(text: str) -> Mapping[str, tuple[ExampleFile, str]]:
    files = parse_example_files(text)
    return {slot: (file, hashlib.sha256(file.data).hexdigest()) for slot, file in files.items()}


def take_fixed_files(
    manifest: Mapping[str, Any], given: Iterable[tuple[str, bytes | None]], earlier: str = ""
) -> tuple[dict[str, Any], str, list[str]]:
    """Return the manifest with the digests of its fixed files, their `fixed_files.json`, and notes.

    Files are taken from the given ones, by name, or from `earlier`, the `fixed_files.json` of the version
    before, if they have the digest of the manifest. A file that is neither, or cannot be loaded, loses its
    digest; a note says why.
    """
    by_name = {name: data for name, data in given if data}
    stored = {digest: file.data for file, digest in _parse(earlier).values()}
    rows: dict[str, dict[str, str]] = {}
    kept: dict[str, tuple[str, bytes]] = {}
    notes = []
    total = 0
    for slot, row in manifest.get(FIXED_FILES, {}).items():
        data = by_name.get(row["name"]) or stored.get(row.get("sha256", ""))
        problem = "" if data is None else _find_problem(data, row["media"], total)
        if problem:
            notes.append(f"the fixed file {row['name']} is not kept: {problem}")
        rows[slot] = {**row, "sha256": ""}
        if data is not None and not problem:
            rows[slot]["sha256"] = hashlib.sha256(data).hexdigest()
            kept[slot] = (row["name"], data)
            total += len(data)
    changed = {**manifest, FIXED_FILES: rows} if rows else dict(manifest)
    return changed, format_example_files(kept) if kept else "", notes


def fix_literal_files(
    manifest: Mapping[str, Any], graph: Mapping[str, Any], facts: NodeFacts
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return manifest and graph with the files that nodes load by name, and no request sets, as fixed files.

    Instances do not have the files of the author's input folder.
    """
    rows = dict(manifest.get(FIXED_FILES, {}))
    slots = _SlotChoice(rows)
    changed = dict(graph)
    for id, node in graph.items():
        for name, media in _upload_inputs(node, facts).items():
            value = node["inputs"].get(name)
            if (
                not isinstance(value, str)
                or is_template(value)
                or not is_input_path(strip_folder_mark(value))
            ):
                # Problems of paths are reported at their node.
                continue
            slot = slots.choose(value, media)
            rows[slot] = rows.get(slot) or describe_fixed_file(value, media)
            node = node | {"inputs": node["inputs"] | {name: fixed_file_expression(slot)}}
            changed[id] = node
    return ({**manifest, FIXED_FILES: rows} if rows else dict(manifest)), changed


def _upload_inputs(node: Mapping[str, Any], facts: NodeFacts) -> dict[str, str]:
    """Return the inputs of a node that name uploaded files, and the kind of file."""
    entry = facts.get(str(node.get("class_type")))
    if entry is None:
        return {}
    try:
        inputs = resolve_inputs(entry, node["inputs"])
    except (LookupError, TypeError, ValueError, AttributeError):
        return {}
    return {
        name: media
        for name, item in inputs.items()
        for flag, media in _UPLOAD_FLAGS.items()
        if item.options.get(flag)
    }


class _SlotChoice:
    """Chooses the slots of files: that of a file which has one, else the next free one."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows = rows
        self._by_file = {(slot.rpartition("_")[0], row["name"]): slot for slot, row in rows.items()}
        #: Number from which on slots may be free, by kind.
        self._numbers: dict[str, int] = {}

    def choose(self, name: str, media: str) -> str:
        file = media, describe_fixed_file(name, media)["name"]
        if file not in self._by_file:
            number = self._numbers.get(media, 1)
            while f"{media}_{number}" in self._rows:
                number += 1
            self._numbers[media] = number + 1
            self._by_file[file] = f"{media}_{number}"
        return self._by_file[file]


def _find_problem(data: bytes, media: str, total: int) -> str:
    """Return why a file cannot be kept; empty if it can."""
    content_type = detect_content_type(data) or ""
    # The sound of a video is sound, too.
    kinds = (MEDIA_BY_TYPE[media], "video/") if media == "audio" else (MEDIA_BY_TYPE[media],)
    if not content_type.startswith(kinds):
        return f"its content is no {media}"
    if len(data) > MAX_FILE_BYTES or total + len(data) > MAX_TOTAL_BYTES:
        return f"it has {len(data)} bytes; at most {MAX_FILE_BYTES} each, {MAX_TOTAL_BYTES} together"
    if media != "image":
        return ""
    try:
        width, height = read_image_size(data, content_type)
    except CorruptMedia as error:
        return str(error)
    if not 0 < width * height <= MAX_IMAGE_PIXELS:
        return f"it has {width}x{height} pixels; at most {MAX_IMAGE_PIXELS} are allowed"
    try:
        with Image.open(BytesIO(data), formats=_IMAGE_FORMATS) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        return "it is damaged"
    return ""
