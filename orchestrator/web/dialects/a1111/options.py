"""The options of an API key: which model it uses. They are kept in object storage, for all processes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orchestrator.jobs.objects import KEY_OPTIONS_PREFIX
from orchestrator.media.errors import ObjectNotFound
from orchestrator.storage.object_store import ObjectStore


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """Reads and writes the model of a key."""

    objects: ObjectStore

    async def get_model(self, key_id: str) -> str | None:
        """Return the name of the key's model; None if none was chosen. Raises ObjectStoreError."""
        try:
            raw = await self.objects.get_current(f"{KEY_OPTIONS_PREFIX}{key_id}.json")
        except ObjectNotFound:
            return None
        model = json.loads(raw).get("sd_model_checkpoint")
        return model if isinstance(model, str) else None

    async def set_model(self, key_id: str, model: str) -> None:
        """Choose the key's model. Raises ObjectStoreError."""
        raw = json.dumps({"sd_model_checkpoint": model}).encode()
        await self.objects.put(f"{KEY_OPTIONS_PREFIX}{key_id}.json", raw, "application/json")
