"""Chooses how results leave an instance, and grants the requests by which an instance stores them itself.

An instance with our node pack encodes results in threads and puts them into object storage while its next
prompt runs. It gets one presigned request per file, for the very object that the file becomes, when its
digest is known. All other instances keep the way through this process. The results are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from comfy_instances.protocol.delivery import (
    PROTOCOL,
    DeliveredFile,
    PackState,
    find_pack_state,
    replace_savers,
)
from comfy_instances.protocol.errors import InstanceGone, NoOutput
from comfy_instances.session.deliveries import DeliveryUnsupported, InputGrant, UploadGrant
from comfy_instances.session.session import InstanceSession
from orchestrator.catalog import Model
from orchestrator.catalog.rendering.graph import ApiGraph
from orchestrator.jobs.events import DeliveryWayChosen
from orchestrator.jobs.objects import INPUT_PREFIX
from orchestrator.media.errors import ObjectNotFound
from orchestrator.media.formats import EXTENSIONS, ImageEncoding
from orchestrator.media.marks.source_marks import source_packet
from orchestrator.storage.object_store import ObjectStore

log = logging.getLogger(__name__)

#: How long a presigned request is valid, in seconds. One that expires is granted again.
GRANT_SECONDS = 300.0
#: How long an instance that does not reach object storage is not asked again, in seconds.
RECHECK_SECONDS = 300.0
#: What an instance that reaches object storage is answered for an object that does not exist.
_REACHES = "404 NoSuchKey"
_PROBE_KEY = f"{INPUT_PREFIX}reachability-check"
PNG = "image/png"


@dataclass(frozen=True, slots=True)
class DeliveryWay:
    """How results leave an instance, and why."""

    #: Whether the instance stores them itself.
    direct: bool
    #: For operators; empty for the direct way.
    reason: str = ""
    #: Whether an operator should do something about it.
    is_warning: bool = False


@dataclass(slots=True)
class _Choice:
    """The way that was chosen for an instance, and for which node facts."""

    facts: object
    way: DeliveryWay
    chosen_at: float


_PACK_REASONS: Mapping[PackState, DeliveryWay] = {
    PackState.ABSENT: DeliveryWay(False, "the instance does not have the node pack"),
    PackState.OLDER: DeliveryWay(
        False,
        f"the node pack is older than this service, which speaks version {PROTOCOL} of deliveries: update the"
        " pack (`pixelfactory packs export-ours`) and restart the instance",
        True,
    ),
    PackState.NEWER: DeliveryWay(
        False,
        f"the node pack is newer than this service, which speaks version {PROTOCOL} of deliveries: update the"
        " service, or install the pack that it exports (`pixelfactory packs export-ours`)",
        True,
    ),
}


class DirectDelivery:
    """Knows the way of each instance. One per process that runs jobs."""

    def __init__(
        self,
        object_store: ObjectStore,
        *,
        enabled: bool = True,
        on_chosen: Callable[[DeliveryWayChosen], None] = lambda _: None,
    ) -> None:
        """`on_chosen` is called whenever the way of an instance was decided."""
        self._object_store = object_store
        self._enabled = enabled
        self._on_chosen = on_chosen
        self._choices: dict[str, _Choice] = {}

    async def choose(
        self, session: InstanceSession, instance_id: str, facts: Mapping[str, Any] | None
    ) -> DeliveryWay:
        """Return the way for the next prompt of an instance; asks the instance if its node facts are new."""
        choice = self._choices.get(instance_id)
        is_recent = choice is not None and (
            choice.way.direct or monotonic() - choice.chosen_at < RECHECK_SECONDS
        )
        if choice is not None and choice.facts is facts and is_recent:
            return choice.way
        way = await self._find_way(session, facts)
        self._note(instance_id, facts, way)
        return way

    def reject(self, instance_id: str, reason: str) -> None:
        """Keep an instance from the direct way for a while, because it did not work."""
        choice = self._choices.get(instance_id)
        self._note(instance_id, choice.facts if choice else None, DeliveryWay(False, reason, True))

    def _note(self, instance_id: str, facts: object, way: DeliveryWay) -> None:
        before = self._choices.get(instance_id)
        if way.is_warning and (before is None or before.way != way):
            log.warning("%s: results pass through this service: %s", instance_id, way.reason)
        self._choices[instance_id] = _Choice(facts, way, monotonic())
        self._on_chosen(
            DeliveryWayChosen(
                instance_id=instance_id,
                is_direct=way.direct,
                reason=way.reason,
                needs_attention=way.is_warning,
            )
        )

    async def _find_way(self, session: InstanceSession, facts: Mapping[str, Any] | None) -> DeliveryWay:
        if not self._enabled:
            return DeliveryWay(False, "the setting `direct_delivery` is off")
        state = find_pack_state(facts)
        if state is not PackState.MATCHING:
            return _PACK_REASONS[state]
        try:
            answer = await session.deliveries.reaches(self._object_store.presign_for_instances(_PROBE_KEY))
        except DeliveryUnsupported as error:
            return DeliveryWay(False, f"the node pack does not answer ({error}): restart the instance", True)
        except InstanceGone as gone:
            return DeliveryWay(False, f"the instance does not respond: {gone.message}")
        if answer != _REACHES:
            return DeliveryWay(
                False,
                f"the instance does not reach the S3 server (it got: {answer}): set `s3_instance_endpoint` to"
                " an address at which instances reach it",
                True,
            )
        return DeliveryWay(True)

    def adapt_graph(self, graph: ApiGraph, model: Model, encoding: ImageEncoding | None) -> ApiGraph:
        """Return the graph with nodes that deliver outputs in the place of those that save them."""
        nodes = [output.node for output in model.outputs]
        metadata = source_packet().decode()
        if encoding is None:
            return replace_savers(graph, nodes, metadata=metadata)
        quality = encoding.default_quality if encoding.quality is None else encoding.quality
        return replace_savers(
            graph, nodes, content_type=encoding.content_type, quality=quality, metadata=metadata
        )

    def grant_upload(self, key: str, file: DeliveredFile) -> UploadGrant:
        """Return the request that stores a file of this digest under `key`."""
        url, headers = self._object_store.presign_upload(
            key, content_type=file.content_type, md5=file.md5, lifetime=GRANT_SECONDS
        )
        return UploadGrant(url, headers)

    async def grant_input(self, key: str, sha256: str) -> InputGrant:
        """Return the request that reads an input file. Raises ObjectStoreError."""
        size = (await self._object_store.stat(key)).size
        url = self._object_store.presign_for_instances(key, GRANT_SECONDS)
        return InputGrant(url, sha256=sha256, size=size, extension=key.rpartition(".")[2])

    async def check_stored(self, key: str, file: DeliveredFile, *, timeout: float) -> bool:
        """Return whether object storage holds the file; ask for `timeout` seconds while it is unavailable.

        Raises ObjectStoreError.
        """
        try:
            stored = await self._object_store.stat_with_retry(key, timeout=timeout)
        except ObjectNotFound:
            return False
        # The tag of an encrypted object is not the MD5 of its content.
        return stored.size == file.size and (len(stored.etag) != 32 or stored.etag == file.md5)


def extension_of(file: DeliveredFile) -> str:
    """Return the extension of a delivered file. Raises NoOutput for a type that is no result."""
    extension = EXTENSIONS.get(file.content_type)
    if extension is None:
        raise NoOutput(f"node {file.node}: {file.content_type!r} is not of a supported output format")
    return extension
