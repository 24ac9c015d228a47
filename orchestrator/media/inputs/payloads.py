"""Extract the bytes of an input file from an upload, base64 text, a data URL or a URL."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orchestrator.media.errors import FetchError, FileTooLarge, UrlNotAllowed
from orchestrator.media.inputs.base64_text import Base64TooLong, decode_base64

#: Downloads the file at a URL: (url, max_bytes) -> data. Raises FetchError.
FetchUrl = Callable[[str, int], Awaitable[bytes]]

_URL_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
#: A scheme that ends later is none: a long text would be searched to its end.
_MAX_SCHEME_END = 200
_DATA_URL = re.compile(r"\s*data:(?P<head>[^,]{0,200}),", re.IGNORECASE)
#: Longest encoding of one byte in a data URL: `%41`.
_BYTES_PER_ESCAPE = 3
#: Percent-encoded text is decoded in pieces of this size: one list of all escapes takes 40 times their size.
_PIECE_BYTES = 2**16
#: Characters of a value in an error.
_SHOWN_CHARACTERS = 40
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


class InputRejected(Exception):
    """An input file was rejected; the message says why, `code` is the error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_url(value: str | bytes) -> bool:
    """Whether a given file is the URL of a file to download."""
    return isinstance(value, str) and _URL_SCHEME.match(value, 0, _MAX_SCHEME_END) is not None


@dataclass(frozen=True, slots=True)
class PayloadDecoder:
    """Decodes input files of one kind."""

    #: Used in messages and error codes: `image` or `dataset`.
    kind: str
    #: Maximum size of the decoded file.
    max_bytes: int

    async def fetch_if_url(self, value: str | bytes, fetch: FetchUrl | None) -> str | bytes:
        """Download the file if `value` is a URL; otherwise return `value`.

        Raises InputRejected (`KIND_url_refused`, `KIND_url_unreachable`, `KIND_too_large`).
        """
        if fetch is None or isinstance(value, bytes) or not is_url(value):
            return value
        try:
            return await fetch(value.strip(), self.max_bytes)
        except FetchError as error:
            match error:
                case UrlNotAllowed():
                    code = f"{self.kind}_url_refused"
                case FileTooLarge():
                    code = f"{self.kind}_too_large"
                case _:
                    code = f"{self.kind}_url_unreachable"
            message = f"The {self.kind} cannot be fetched from its URL: {error}."
            raise InputRejected(code, message) from error

    def decode(self, value: str | bytes) -> bytes:
        """Return the bytes of the file. CPU-bound: call it in a worker thread.

        Raises InputRejected (`invalid_KIND`, `KIND_too_large`, `KIND_url_not_supported`).
        """
        data = self._decode_text(value) if isinstance(value, str) else value
        if not data:
            raise InputRejected(f"invalid_{self.kind}", f"The {self.kind} is empty.")
        if len(data) > self.max_bytes:
            raise self._too_large()
        return data

    def _decode_text(self, text: str) -> bytes:
        """Decode a data URL, or base64 of either alphabet, with or without padding and line breaks."""
        if is_url(text):
            raise InputRejected(
                f"{self.kind}_url_not_supported",
                f"URLs are not fetched; send the {self.kind} as base64 or as a data URL.",
            )
        data_url = _DATA_URL.match(text)
        if data_url and not data_url["head"].lower().endswith(";base64"):
            body = text[data_url.end() :]
            if len(body) > _BYTES_PER_ESCAPE * self.max_bytes:
                raise self._too_large()
            return _decode_percent(body.encode("utf-8", "surrogatepass"))
        try:
            start = data_url.end() if data_url else 0
            return decode_base64(text, start=start, max_bytes=self.max_bytes)
        except Base64TooLong as error:
            raise self._too_large() from error
        except ValueError as error:
            message = f"The {self.kind} must be base64 text or a data URL (got {text[:_SHOWN_CHARACTERS]!r})."
            raise InputRejected(f"invalid_{self.kind}", message) from error

    def _too_large(self) -> InputRejected:
        return InputRejected(
            f"{self.kind}_too_large", f"The {self.kind} is larger than {self.max_bytes} bytes."
        )


def _decode_percent(text: bytes) -> bytes:
    """Replace `%41` by the byte it stands for; other percent signs stay."""
    decoded, at = bytearray(), 0
    while at < len(text):
        end = at + _PIECE_BYTES
        split = text.rfind(b"%", end - 2, end)
        end = end if split < 0 else split
        decoded += _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), text[at:end])
        at = end
    return bytes(decoded)
