"""Deliver finished outputs to the caller: as base64 in the response, or as presigned URLs that expire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence

from orchestrator.execution.expiry import ExpiryPolicy
from orchestrator.jobs import Output
from orchestrator.media.formats import EXTENSIONS, ImageEncoding
from orchestrator.storage.object_store import ObjectStore, content_addressed_key

#: Files below this size (in bytes) are encoded inline; a thread would take longer.
MAX_INLINE_ENCODE_BYTES = 256 * 1024


class OutputDelivery:
    """Loads stored outputs and presigns their URLs."""

    def __init__(self, objects: ObjectStore, url_lifetime_seconds: int, expiry: ExpiryPolicy) -> None:
        """`url_lifetime_seconds` is the default lifetime of presigned URLs."""
        self._objects = objects
        self._url_lifetime_seconds = url_lifetime_seconds
        self.expiry = expiry

    async def load_data_items(
        self, outputs: Sequence[Output], *, as_urls: bool, encoding: ImageEncoding | None = None
    ) -> list[dict[str, str]]:
        """Return one `{"url": ...}` or `{"b64_json": ...}` per output; images are converted to `encoding`."""
        deliver = self._to_url_item if as_urls else self._to_base64_item
        return list(await asyncio.gather(*(deliver(output, encoding) for output in outputs)))

    def presign_url(self, output: Output, lifetime_seconds: int | None = None) -> str:
        """Return a presigned URL: it serves the file without credentials until it expires."""
        return self._objects.presign(output.key, lifetime_seconds or self._url_lifetime_seconds)

    async def _to_url_item(self, output: Output, encoding: ImageEncoding | None) -> dict[str, str]:
        """Return a URL of the output; a converted image is stored as a new object first."""
        if encoding is None or not output.content_type.startswith("image/"):
            return {"url": self.presign_url(output)}
        data = await asyncio.to_thread(encoding.encode, await self._objects.get(output.key))
        key = content_addressed_key(
            "outputs", hashlib.sha256(data).hexdigest(), EXTENSIONS[encoding.content_type]
        )
        await self._objects.put(key, data, encoding.content_type)
        return {"url": self._objects.presign(key, self._url_lifetime_seconds)}

    async def _to_base64_item(self, output: Output, encoding: ImageEncoding | None) -> dict[str, str]:
        data = await self._objects.get(output.key)
        if encoding and output.content_type.startswith("image/"):
            data = await asyncio.to_thread(encoding.encode, data)
        return {"b64_json": await encode_base64(data)}


async def encode_base64(data: bytes) -> str:
    """Encode bytes as base64; large ones in a thread."""
    if len(data) < MAX_INLINE_ENCODE_BYTES:
        return base64.b64encode(data).decode("ascii")
    return (await asyncio.to_thread(base64.b64encode, data)).decode("ascii")
