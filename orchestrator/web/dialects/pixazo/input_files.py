"""Fields with a URL, and fields with a file: a URL, a data URL, or the file itself in base64."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from orchestrator.media.inputs.base64_text import decode_base64
from orchestrator.media.sniffing import detect_content_type

#: A `data:` URL contains the file itself.
_URL_PATTERN = re.compile(r"https?://[^\s/]|data:", re.IGNORECASE)
#: A URL that is itself written in base64, as the document's "Base64-encoded URL" may be read.
_PLAIN_URL_PATTERN = re.compile(rb"https?://[^\s/]", re.IGNORECASE)
_ZIP_SIGNATURE = b"PK"
#: Characters of base64 that are decoded to recognize a file: a multiple of four, longer than any signature.
_HEAD_CHARACTERS = 64
#: Longest base64 of a URL.
_MAX_URL_CHARACTERS = 8192


def _check_url(text: str) -> str:
    if not _URL_PATTERN.match(text):
        raise ValueError("must be a URL")
    return text


def _to_file(text: str) -> str:
    """Return the URL, data URL or base64 of a file. Raises ValueError for any other text."""
    stripped = text.strip()
    if _URL_PATTERN.match(stripped):
        return stripped
    head = _decode(stripped[:_HEAD_CHARACTERS])
    if detect_content_type(head) is not None or head.startswith(_ZIP_SIGNATURE):
        return stripped
    if _PLAIN_URL_PATTERN.match(head) and len(stripped) <= _MAX_URL_CHARACTERS:
        return _decode(stripped).decode("utf-8").strip()
    raise ValueError("must be a URL")


def _decode(text: str) -> bytes:
    """Decode base64 of either alphabet, with or without padding and line breaks. Raises ValueError."""
    return decode_base64(text, start=0, max_bytes=_MAX_URL_CHARACTERS)


Url = Annotated[str, AfterValidator(_check_url), WithJsonSchema({"type": "string", "format": "uri"})]
#: A text that is a URL or the file itself; its schema names URLs, since the document names nothing else.
FileInput = Annotated[str, AfterValidator(_to_file), WithJsonSchema({"type": "string", "format": "uri"})]
ImageInput = Annotated[FileInput, Field(description="http(s) URL, data URL or base64 of an image.")]
