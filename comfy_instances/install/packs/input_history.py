"""Reads which inputs the classes of a pack have had, in all versions of its history, without running them.

A file that does not say with which version it was saved was saved with one of them. If its values fit only
one of the layouts that a class has had, it was that one.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comfy_instances.install.commands import SubprocessFailed, run_and_read_output
from comfy_instances.install.packs.errors import PackError
from comfy_instances.install.packs.input_reading import SourceClasses, SourceReader
from comfy_instances.install.packs.repository import PackAddress, mirrored_origin

#: Files that say something of classes.
_WORTH_READING = re.compile(r"INPUT_TYPES|_MAPPINGS|NODE_CONFIG|define_schema|[\"']class[\"']")
_MAX_FILE_BYTES = 2 * 2**20
_BATCH = 100


async def read_input_history(address: PackAddress, mirror: str | None) -> dict[str, Any]:
    """Return the inputs that the classes of a pack have had, as a file keeps them. Raises PackError."""
    origin = mirrored_origin(address.url, mirror)
    with TemporaryDirectory(prefix="pixelfactory-pack-history-") as name:
        git = ["git", "-C", str(Path(name) / "history.git")]
        try:
            await run_and_read_output(["git", "clone", "--quiet", "--bare", "--", origin, git[2]])
            named = [*git, "rev-parse", "--verify", "--end-of-options", f"{address.ref}^{{commit}}"]
            head = (await run_and_read_output(named)).strip()
            log = ["log", "--first-parent", "-m", "--raw", "--no-abbrev", "--no-renames", "--format=", head]
            rows = await run_and_read_output([*git, *log, "--", "*.py"])
            files = list(dict.fromkeys(row.split()[3] for row in rows.splitlines() if row.startswith(":")))
            history = _History()
            for start in range(0, len(files), _BATCH):
                ids = [id for id in files[start : start + _BATCH] if id.strip("0")]
                output = await run_and_read_output([*git, "cat-file", "--batch"], stdin="\n".join(ids))
                await asyncio.to_thread(history.add_all, output)
        except SubprocessFailed as error:
            raise PackError(f"cannot read the history of {origin}: {error.last_output}") from error
    return {
        "pack": address.name,
        "url": address.url,
        "ref": address.ref,
        "commit": head,
        "layouts": dict(sorted(history.layouts().items())),
    }


class _History:
    """The classes of all versions of all files."""

    def __init__(self) -> None:
        self._reader = SourceReader()
        self._names: dict[str, set[str]] = {}
        #: Python class -> its inputs in each version as JSON; an empty text where one cannot be read.
        self._inputs: dict[str, dict[str, None]] = {}

    def add_all(self, output: str) -> None:
        """Add the files in an answer of `git cat-file --batch`."""
        for text in _split(output.encode("utf-8", "surrogateescape")):
            if _WORTH_READING.search(text):
                self._add(self._reader.read(text))

    def _add(self, source: SourceClasses) -> None:
        for name, classes in source.names.items():
            self._names.setdefault(name, set()).update(classes)
        for name, entries in source.inputs.items():
            rows = (json.dumps(entry) if entry else "" for entry in entries)
            self._inputs.setdefault(name, {}).update(dict.fromkeys(rows))

    def layouts(self) -> dict[str, list[Mapping[str, Any]]]:
        """Return the different inputs of each node class all of whose versions can be read."""
        found = {}
        for name, classes in self._names.items():
            rows = {row: None for each in sorted(classes) for row in self._inputs.get(each, ())}
            if rows and "" not in rows:
                found[name] = _distinct([json.loads(row) for row in rows])
        return found


def _distinct(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the entries without repetitions of one whose options only are others."""
    found = {json.dumps([*_shape(entry)]): entry for entry in reversed(entries)}
    return list(reversed(found.values()))


def _shape(entry: Mapping[str, Any]) -> Iterator[Any]:
    for section, inputs in entry["input"].items():
        for name, spec in inputs.items():
            options = spec[1] if len(spec) > 1 else {}
            yield section, name, spec[0], [options.get(key) for key in _SHAPING]


#: Options that decide whether an input has a widget, or how many values it takes.
_SHAPING = ("forceInput", "control_after_generate", "image_upload", "video_upload", "audio_upload", "default")


def _split(output: bytes) -> Iterator[str]:
    start = 0
    while start < len(output):
        end = output.index(b"\n", start)
        parts = output[start:end].split()
        if len(parts) != 3:  # a file that a copy of the repository lacks
            start = end + 1
            continue
        size = int(parts[2])
        if size <= _MAX_FILE_BYTES:
            yield output[end + 1 : end + 1 + size].decode("utf-8", "replace")
        start = end + 1 + size + 1
