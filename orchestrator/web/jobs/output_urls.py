"""Finished outputs on their way to the caller: inside the answer, or as URLs that expire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence

from orchestrator.execution.expiry import ExpiryPolicy
from orchestrator.jobs import Output
from orchestrator.media.formats import EXTENSIONS, ImageEncoding
from orchestrator.storage.object_store import ObjectStore, content_addressed_key

#: Bytes below which going to a thread and back takes longer than the work itself.
MAX_INLINE_ENCODE_BYTES = 256 * 1024


class OutputDelivery:
    """Reads and signs stored outputs."""

    def __init__(self, objects: ObjectStore, url_lifetime_seconds: int, expiry: ExpiryPolicy) -> None:
        """`url_lifetime_seconds` of URLs is in seconds."""
        self._objects = objects
        self._url_lifetime_seconds = url_lifetime_seconds
        self.expiry = expiry

    async def load_data_items(
        self, outputs: Sequence[Output], *, as_urls: bool, encoding: ImageEncoding | None = None
    ) -> list[dict[str, str]]:
        """One `{"url": ...}` or `{"b64_json": ...}` per output."""
        deliver = self._to_url_item if as_urls else self._to_base64_item
        return list(await asyncio.gather(*(deliver(output, encoding) for output in outputs)))

    def presign_url(self, output: Output, lifetime_seconds: int | None = None) -> str:
        """A URL that serves the file for a while, to anybody who has it."""
        return self._objects.presign(output.key, lifetime_seconds or self._url_lifetime_seconds)

    async def _to_url_item(self, output: Output, encoding: ImageEncoding | None) -> dict[str, str]:
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
    """Base64 text."""
    if len(data) < MAX_INLINE_ENCODE_BYTES:
        return base64.b64encode(data).decode("ascii")
    return (await asyncio.to_thread(base64.b64encode, data)).decode("ascii")
