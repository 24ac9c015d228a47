"""Reads the node facts of an instance, and reads them again after its model files have changed.

Model files are added and removed while an instance runs. `/object_info` is large and keeps the instance busy
for a moment, so the poller compares the short lists of model files and reads it only after a change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from comfy_instances.protocol.errors import InstanceError
from comfy_instances.protocol.lora_files import LORA_FOLDER, is_uploaded_lora
from comfy_instances.session.session import InstanceSession
from comfy_instances.tasks import loop_time

#: Seconds between two reads of the model file lists.
FILE_REFRESH_SECONDS = 30.0
_REFRESH_TIMEOUT_S = 5.0


class NodeFactsPoller:
    """Polls the node facts over one session. Call `load` first."""

    def __init__(self, session: InstanceSession, refresh_seconds: float = FILE_REFRESH_SECONDS) -> None:
        self.session = session
        self._refresh_seconds = refresh_seconds
        self._model_files: Mapping[str, list[str]] = {}
        self._next_refresh_at = 0.0

    async def load(self) -> dict[str, Any]:
        """Return `/object_info`. Raises InstanceError."""
        # The file lists first: a file added in between is then noticed at the next refresh.
        self._model_files = await self._list_model_files()
        self._schedule_next_refresh()
        return await self.session.get_object_info()

    async def refresh_if_changed(self) -> dict[str, Any] | None:
        """Return `/object_info` if the model files have changed since the last read.

        Return None if they have not, if a refresh is not due yet, or if the instance does not respond; the
        health probe handles that.
        """
        if loop_time() < self._next_refresh_at:
            return None
        self._schedule_next_refresh()
        try:
            async with asyncio.timeout(_REFRESH_TIMEOUT_S):
                files = await self._list_model_files()
                facts = await self.session.get_object_info() if files != self._model_files else None
        except (InstanceError, TimeoutError):
            return None
        self._model_files = files
        return facts

    async def _list_model_files(self) -> Mapping[str, list[str]]:
        """Return the model files without the LoRAs that the service uploads before it uses them."""
        files = await self.session.list_model_files()
        loras = [name for name in files.get(LORA_FOLDER, ()) if not is_uploaded_lora(name)]
        return {**files, LORA_FOLDER: loras}

    def _schedule_next_refresh(self) -> None:
        self._next_refresh_at = loop_time() + self._refresh_seconds
