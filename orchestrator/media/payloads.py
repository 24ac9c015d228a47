"""How callers hand files over: as the bytes of an upload, base64 text, a data URL, or an address."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from orchestrator.media.errors import FetchError, FileTooLarge, UrlNotAllowed

#: Gives the file at an address, of at most so many bytes. Raises FetchError.
FetchUrl = Callable[[str, int], Awaitable[bytes]]

_URL_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_DATA_URL = re.compile(r"\s*data:(?P<head>[^,]{0,200}),", re.IGNORECASE)
_URLSAFE_TO_STANDARD = str.maketrans("-_", "+/")


class InputRejected(Exception):
    """A file that is not taken; the text says why, `code` in one word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class PayloadDecoder:
    """Takes files of one sort out of what they came in."""

    #: What callers call it: `image`.
    kind: str
    #: Bytes of the file itself.
    max_bytes: int

    async def fetch_if_url(self, value: str | bytes, fetch: FetchUrl | None) -> str | bytes:
        """The file, where `value` is its address; else `value` itself. Raises Refused (`NOUN_url_refused`,
        `NOUN_url_unreachable`, `NOUN_too_large`)."""
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
            message = f"The {self.kind} can not be fetched from its address: {error}."
            raise InputRejected(code, message) from error

    def decode(self, value: str | bytes) -> bytes:
        """The file: work for a thread. Raises Refused (`invalid_NOUN`, `NOUN_too_large`,
        `NOUN_url_not_supported`)."""
        data = self._decode_text(value) if isinstance(value, str) else value
        if not data:
            raise InputRejected(f"invalid_{self.kind}", f"The {self.kind} is empty.")
        if len(data) > self.max_bytes:
            raise self._too_large()
        return data

    def _decode_text(self, text: str) -> bytes:
        """From base64 in any alphabet, wrapped or unpadded, or from a data URL."""
        if _URL_SCHEME.match(text):
            raise InputRejected(
                f"{self.kind}_url_not_supported",
                f"Addresses are not fetched; send the {self.kind} as base64 or as a data URL.",
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
