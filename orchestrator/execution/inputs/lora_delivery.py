"""Brings the LoRAs of accounts to the instance that needs them, before a prompt runs.

A file is uploaded under a name made of its digest (`comfy_instances.protocol.lora_files`), unless the
instance has it already. Local instances keep the files that were used last; those of adopted ones cannot be
deleted. Files that an operator has put on an instance are used where they are.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from comfy_instances.fleet.protocol import Fleet
from comfy_instances.protocol.errors import BadGraph, InstanceError
from comfy_instances.protocol.lora_files import uploaded_lora_file, uploaded_lora_name
from comfy_instances.session.session import InstanceSession
from orchestrator.catalog import Model
from orchestrator.execution.failures import LoraUnavailable
from orchestrator.jobs.loras import LORA_OBJECTS_PARAM
from orchestrator.media.errors import ObjectNotFound
from orchestrator.storage.object_store import ObjectStore

log = logging.getLogger(__name__)

#: Uploaded LoRAs that a local instance keeps while no run needs them.
MAX_KEPT_LORAS = 16
_DIGEST_IN_KEY = re.compile(r"-(?P<sha256>[0-9a-f]{64})\.")


@dataclass(slots=True)
class _InstanceLoras:
    """The uploaded LoRAs of one instance."""

    #: Names, the one that was used last at the end; None before the instance was asked.
    names: OrderedDict[str, None] | None = None
    #: Number of runs that need each.
    users: Counter[str] = field(default_factory=Counter)
    #: One upload or deletion at a time, so that no run finds a file that is incomplete or on its way out.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class LoraDelivery:
    """Uploads LoRAs, and deletes those that were not used for long."""

    def __init__(self, object_store: ObjectStore, fleet: Fleet) -> None:
        self._object_store = object_store
        self._fleet = fleet
        self._instances: dict[str, _InstanceLoras] = {}

    @asynccontextmanager
    async def delivered(
        self, session: InstanceSession, instance_id: str, model: Model, params: Mapping[str, Any]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Keep the LoRAs of a run on its instance; enter with the parameters for the graph.

        Raises LoraUnavailable, InstanceError, ObjectStoreError.
        """
        objects: Mapping[str, str] = params.get(LORA_OBJECTS_PARAM) or {}
        names = {job_id: _name_of(key) for job_id, key in objects.items()}
        state = self._instances.setdefault(instance_id, _InstanceLoras())
        state.users.update(names.values())
        try:
            for job_id, key in objects.items():
                async with state.lock:
                    await self._deliver(session, state, key, names[job_id])
            yield replace_loras(model, params, names)
        finally:
            state.users.subtract(names.values())
            if names:
                await self._delete_unused(instance_id, state)

    async def _deliver(self, session: InstanceSession, state: _InstanceLoras, key: str, name: str) -> None:
        """Upload a LoRA unless the instance has it."""
        if state.names is None:
            state.names = OrderedDict.fromkeys(await session.list_uploaded_loras())
        state.names[name] = None
        state.names.move_to_end(name)
        try:
            if not await session.has_lora(name, (await self._object_store.stat(key)).size):
                await session.upload_lora(name, await self._object_store.get(key))
        except ObjectNotFound as error:
            raise LoraUnavailable(f"object {key} does not exist") from error
        except BadGraph as error:
            raise LoraUnavailable(str(error)) from error

    async def _delete_unused(self, instance_id: str, state: _InstanceLoras) -> None:
        """Delete the files that were not used for longest, if there are too many."""
        async with state.lock:
            unused = [name for name in state.names or () if state.users[name] <= 0]
            surplus = unused[: max(0, len(state.names or ()) - MAX_KEPT_LORAS)]
            for name in surplus:
                assert state.names is not None
                del state.names[name]
            state.users = +state.users
            if surplus:
                try:
                    await self._fleet.delete_files(
                        instance_id, [uploaded_lora_file(name) for name in surplus]
                    )
                except InstanceError as error:
                    log.info("could not delete LoRAs of %s: %s", instance_id, error)


def _name_of(key: str) -> str:
    """Return the name under which instances get the file of this object."""
    found = _DIGEST_IN_KEY.search(key)
    if found is None:
        raise LoraUnavailable(f"object key {key} has no digest")
    return uploaded_lora_name(found["sha256"])


def replace_loras(model: Model, params: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return `params` with the names that loader nodes use instead of the jobs that trained the LoRAs."""
    replaced = dict(params)
    for parameter in model.lora_inputs:
        items = params.get(parameter) or ()
        replaced[parameter] = [
            {"name": names[item["job_id"]], "strength": item["strength"]} if "job_id" in item else item
            for item in items
        ]
    return replaced
