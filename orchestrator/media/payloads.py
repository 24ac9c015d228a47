"""Extract the bytes of an input file from an upload, base64 text, a data URL or a URL."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from orchestrator.media.errors import FetchError, FileTooLarge, UrlNotAllowed

#: Downloads the file at a URL: (url, max_bytes) -> data. Raises FetchError.
FetchUrl = Callable[[str, int], Awaitable[bytes]]

_URL_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DATA_URL = re.compile(r"\s*data:(?P<head>[^,]{0,200}),", re.IGNORECASE)
_URLSAFE_TO_STANDARD = str.maketrans("-_", "+/")


class InputRejected(Exception):
    """An input file was rejected; the message says why, `code` is the error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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
        if fetch is None or isinstance(value, bytes) or not _URL_SCHEME.match(value):
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
        if _URL_SCHEME.match(text):
            raise InputRejected(
                f"{self.kind}_url_not_supported",
                f"URLs are not fetched; send the {self.kind} as base64 or as a data URL.",
            )
        data_url = _DATA_URL.match(text)
        body = text[data_url.end() :] if data_url else text
        if data_url and not data_url["head"].lower().endswith(";base64"):
            return unquote_to_bytes(body)
        compact = "".join(body.split()).rstrip("=")
        if len(compact) * 3 // 4 > self.max_bytes:
            raise self._too_large()
        try:
            padded = compact.translate(_URLSAFE_TO_STANDARD) + "=" * (-len(compact) % 4)
            return base64.b64decode(padded, validate=True)
        except ValueError as error:
            raise InputRejected(f"invalid_{self.kind}", f"The {self.kind} is not valid base64.") from error

    def _too_large(self) -> InputRejected:
        return InputRejected(
            f"{self.kind}_too_large", f"The {self.kind} is larger than {self.max_bytes} bytes."
        )
