"""Prepares the results of callers' own graphs, which may be of any node."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from comfy_instances.session.session import NodeOutput
from orchestrator.media.sniffing import MediaInfo

#: Suffixes of files that SaveText writes.
TEXT_SUFFIXES = (".txt", ".md", ".json")
PrepareFile = Callable[[bytes, None], tuple[bytes, MediaInfo, str]]


@dataclass(frozen=True, slots=True)
class OwnOutput:
    """A result, ready to be stored."""

    data: bytes
    info: MediaInfo
    sha256: str
    #: Hexadecimal; Comfy's clients compare files by it.
    blake3: str


def prepare_own_output(item: NodeOutput, data: bytes, prepare_file: PrepareFile) -> OwnOutput:
    """Return a medium as `prepare_file` does, or else a text. Raises what `prepare_file` raises."""
    name = item.file.filename.lower() if item.file else ""
    if item.text is not None or name.endswith(TEXT_SUFFIXES):
        info, sha256 = MediaInfo(content_type="text/plain"), hashlib.sha256(data).hexdigest()
    else:
        data, info, sha256 = prepare_file(data, None)
    return OwnOutput(data, info, sha256, blake3(data).hexdigest())
