"""Finished outputs on their way to the caller: inside the answer, or as URLs that expire."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence

from orchestrator.jobs import Output
from orchestrator.media.objects import ObjectStore


class Delivery:
    """Reads and signs stored outputs."""

    def __init__(self, objects: ObjectStore, lifetime: int) -> None:
        """`lifetime` of URLs is in seconds."""
        self._objects = objects
        self._lifetime = lifetime

    async def items(self, outputs: Sequence[Output], *, urls: bool) -> list[dict[str, str]]:
        """One `{"url": ...}` or `{"b64_json": ...}` per output."""
        if urls:
            return [{"url": self.url(output)} for output in outputs]
        return list(await asyncio.gather(*(self._embedded(output) for output in outputs)))

    def url(self, output: Output) -> str:
        """A URL that serves the file for a while, to anybody who has it."""
        return self._objects.presign(output.key, self._lifetime)

    async def _embedded(self, output: Output) -> dict[str, str]:
        data = await self._objects.get(output.key)
        encoded = await asyncio.to_thread(base64.b64encode, data)
        return {"b64_json": encoded.decode("ascii")}
