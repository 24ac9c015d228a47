"""Finished outputs on their way to the caller: inside the answer, or as URLs that expire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence

from orchestrator.execution.expiry import Expiry
from orchestrator.jobs import Output
from orchestrator.media.formats import EXTENSIONS, ImageEncoding
from orchestrator.storage.object_store import ObjectStore, content_addressed_key

#: Bytes below which going to a thread and back takes longer than the work itself.
ENCODED_AT_ONCE = 256 * 1024


class Delivery:
    """Reads and signs stored outputs."""

    def __init__(self, objects: ObjectStore, lifetime: int, expiry: Expiry) -> None:
        """`lifetime` of URLs is in seconds."""
        self._objects = objects
        self._lifetime = lifetime
        self.expiry = expiry

    async def items(
        self, outputs: Sequence[Output], *, urls: bool, encoding: ImageEncoding | None = None
    ) -> list[dict[str, str]]:
        """One `{"url": ...}` or `{"b64_json": ...}` per output."""
        deliver = self._named if urls else self._embedded
        return list(await asyncio.gather(*(deliver(output, encoding) for output in outputs)))

    def url(self, output: Output, seconds: int | None = None) -> str:
        """A URL that serves the file for a while, to anybody who has it."""
        return self._objects.presign(output.key, seconds or self._lifetime)

    async def _named(self, output: Output, encoding: ImageEncoding | None) -> dict[str, str]:
        if encoding is None or not output.content_type.startswith("image/"):
            return {"url": self.url(output)}
        data = await asyncio.to_thread(encoding.encode, await self._objects.get(output.key))
        key = content_addressed_key(
            "outputs", hashlib.sha256(data).hexdigest(), EXTENSIONS[encoding.content_type]
        )
        await self._objects.put(key, data, encoding.content_type)
        return {"url": self._objects.presign(key, self._lifetime)}

    async def _embedded(self, output: Output, encoding: ImageEncoding | None) -> dict[str, str]:
        data = await self._objects.get(output.key)
        if encoding and output.content_type.startswith("image/"):
            data = await asyncio.to_thread(encoding.encode, data)
        return {"b64_json": await encoded(data)}


async def encoded(data: bytes) -> str:
    """Base64 text."""
    if len(data) < ENCODED_AT_ONCE:
        return base64.b64encode(data).decode("ascii")
    return (await asyncio.to_thread(base64.b64encode, data)).decode("ascii")
