"""Prepares the results of callers' own graphs, which may be of any node."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from comfy_instances.session.session import NodeOutput
from orchestrator.media.errors import CorruptMedia, UnsupportedMedia
from orchestrator.media.sniffing import EXTENSIONS, MediaInfo, detect_content_type

#: Suffixes of files that SaveText writes.
TEXT_SUFFIXES = frozenset({"txt", "csv", "md", "json"})
#: Suffixes of files that are not taken unless they can be read.
_MEDIA_SUFFIXES = frozenset({*EXTENSIONS.values(), "jpeg", "opus"})
_SUFFIX = re.compile(r"\.([a-z0-9]{1,16})\Z")
#: A file whose content is not looked at, and the suffix of one that has none.
_ANY_TYPE, _ANY_SUFFIX = "application/octet-stream", "bin"
PrepareFile = Callable[[bytes, None], tuple[bytes, MediaInfo, str]]


@dataclass(frozen=True, slots=True)
class OwnOutput:
    """A result, ready to be stored."""

    data: bytes
    info: MediaInfo
    #: Of its name, without the dot: that of its content if it is a medium, else that of the node's file.
    extension: str
    sha256: str
    #: Hexadecimal; Comfy's clients compare files by it.
    blake3: str


def prepare_own_output(item: NodeOutput, data: bytes, prepare_file: PrepareFile) -> OwnOutput:
    """Return a medium as `prepare_file` does; a text, a latent or another file as it is.

    Raises CorruptMedia for an empty file and for a medium that is broken, and what `prepare_file` raises
    besides.
    """
    found = _SUFFIX.search(item.file.filename.lower()) if item.file else None
    suffix = found[1] if found else ""
    if item.text is not None or suffix in TEXT_SUFFIXES:
        return _as_it_is(data, "text/plain", suffix or "txt")
    if not data:
        raise CorruptMedia("the file is empty")
    try:
        prepared, info, sha256 = prepare_file(data, None)
    except CorruptMedia as error:
        # A medium of a format that the service does not read, such as TIFF, is kept.
        is_of_another_format = isinstance(error, UnsupportedMedia) and detect_content_type(data) is not None
        if suffix in _MEDIA_SUFFIXES and not is_of_another_format:
            raise
        return _as_it_is(data, _ANY_TYPE, suffix or _ANY_SUFFIX)
    extension = suffix if info.content_type == _ANY_TYPE and suffix else info.ext
    return OwnOutput(prepared, info, extension, sha256, blake3(prepared).hexdigest())


def _as_it_is(data: bytes, content_type: str, extension: str) -> OwnOutput:
    sha256 = hashlib.sha256(data).hexdigest()
    return OwnOutput(data, MediaInfo(content_type=content_type), extension, sha256, blake3(data).hexdigest())
