"""What an instance has: its nodes, and the model files that they offer.

Files come and go while it runs: somebody pulls weights into its folder. Its whole `/object_info` is large
and keeps it busy for a moment, so the lists of files are looked at, and it is read again where they differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from comfy_instances.errors import InstanceError
from comfy_instances.session import Session

#: Seconds between two looks at the lists.
LOOK_SECONDS = 30.0
_PATIENCE = 5.0


class Inventory:
    """Of one session; `first` comes first."""

    def __init__(self, session: Session, look_seconds: float = LOOK_SECONDS) -> None:
        self.session = session
        self._look_seconds = look_seconds
        self._files: Mapping[str, list[str]] = {}
        self._due = 0.0

    async def first(self) -> dict[str, Any]:
        """Its `/object_info`. Raises InstanceError."""
        # The lists first: what comes in between is then seen at the next look.
        self._files = await self.session.model_files()
        self._put_off()
        return await self.session.object_info()

    async def news(self) -> dict[str, Any] | None:
        """Its `/object_info` where its files are others than before; None where they are not, where it is
        not yet time to look, and where it does not answer: somebody else watches over that."""
        if asyncio.get_running_loop().time() < self._due:
            return None
        self._put_off()
        try:
            async with asyncio.timeout(_PATIENCE):
                files = await self.session.model_files()
                facts = await self.session.object_info() if files != self._files else None
        except (InstanceError, TimeoutError):
            return None
        self._files = files
        return facts

    def _put_off(self) -> None:
        self._due = asyncio.get_running_loop().time() + self._look_seconds
