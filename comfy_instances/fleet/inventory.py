"""What an instance has: its nodes, and the model files that they offer.

Files come and go while it runs: somebody pulls weights into its folder. Its whole `/object_info` is large
and keeps it busy for a moment, so the lists of files are looked at, and it is read again where they differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from comfy_instances.protocol.errors import InstanceError
from comfy_instances.session.session import InstanceSession

#: Seconds between two looks at the lists.
FILE_REFRESH_SECONDS = 30.0
_REFRESH_TIMEOUT_S = 5.0


class NodeFactsPoller:
    """Of one session; `load` comes first."""

    def __init__(self, session: InstanceSession, refresh_seconds: float = FILE_REFRESH_SECONDS) -> None:
        self.session = session
        self._refresh_seconds = refresh_seconds
        self._model_files: Mapping[str, list[str]] = {}
        self._next_refresh_at = 0.0

    async def load(self) -> dict[str, Any]:
        """Its `/object_info`. Raises InstanceError."""
        # The lists first: what comes in between is then seen at the next look.
        self._model_files = await self.session.list_model_files()
        self._schedule_next_refresh()
        return await self.session.get_object_info()

    async def refresh_if_changed(self) -> dict[str, Any] | None:
        """Its `/object_info` where its files are others than before; None where they are not, where it is
        not yet time to look, and where it does not answer: somebody else watches over that."""
        if asyncio.get_running_loop().time() < self._next_refresh_at:
            return None
        self._schedule_next_refresh()
        try:
            async with asyncio.timeout(_REFRESH_TIMEOUT_S):
                files = await self.session.list_model_files()
                facts = await self.session.get_object_info() if files != self._model_files else None
        except (InstanceError, TimeoutError):
            return None
        self._model_files = files
        return facts

    def _schedule_next_refresh(self) -> None:
        self._next_refresh_at = asyncio.get_running_loop().time() + self._refresh_seconds
