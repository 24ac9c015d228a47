"""The API keys of open event streams, which are checked again and again."""

from __future__ import annotations

import asyncio

from comfy_instances.tasks import spawn
from orchestrator.store import ApiKey
from orchestrator.store.protocol import ApiKeyStore

#: How long the streams of a key share a look at it.
SHARED_SECONDS = 0.5


class StreamKeys:
    """Reads keys for streams: thousands of them that have the same key cost no more than one."""

    def __init__(self, keys: ApiKeyStore) -> None:
        self._keys = keys
        self._looks: dict[str, asyncio.Future[ApiKey]] = {}

    async def get_key(self, key_id: str) -> ApiKey:
        """Return a key as it was at most SHARED_SECONDS ago. Raises NotFound, ServiceUnavailable."""
        look = self._looks.get(key_id)
        if look is None:
            look = spawn(self._keys.get_key(key_id), "key of streams", key_id, awaited=True)
            self._looks[key_id] = look
            # An exception is that of the streams that wait; they may have ended meanwhile.
            look.add_done_callback(lambda done: done.cancelled() or done.exception())
            asyncio.get_running_loop().call_later(SHARED_SECONDS, self._looks.pop, key_id)
        return await asyncio.shield(look)
