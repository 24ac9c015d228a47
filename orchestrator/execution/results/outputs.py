"""Stores the outputs of a run: fetches the files, detects their type and puts them into object storage.

What the node pack of an instance delivers is in object storage already, or is fetched like any other file.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from comfy_instances.protocol.delivery import DeliveredFile, DeliveryState
from comfy_instances.protocol.errors import NoOutput
from comfy_instances.session.deliveries import UploadGrant
from comfy_instances.session.session import InstanceSession, NodeOutput, RunResult
from comfy_instances.session.tracker import to_instance_error
from orchestrator.execution.failures import CallerGraphFailed, FormatUnsupported, SigningFailed
from orchestrator.execution.results.direct_delivery import DirectDelivery, extension_of
from orchestrator.execution.results.own_outputs import prepare_own_output
from orchestrator.execution.run_spans import record_delivery
from orchestrator.jobs import Output
from orchestrator.jobs.events import OutputDelivered
from orchestrator.jobs.objects import OUTPUT_PREFIX, owned_object_key
from orchestrator.media.errors import CorruptMedia, ImageTooLarge, LosesFrames
from orchestrator.media.formats import ImageEncoding, probe_media
from orchestrator.media.marks.content_credentials import CredentialsError, MediaOrigin
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.media.marks.provenance import strip_graph_metadata
from orchestrator.media.sniffing import MediaInfo
from orchestrator.storage.object_store import ObjectStore
from orchestrator.tracing import span

log = logging.getLogger(__name__)

#: Folder type of results; `temp` holds previews, `input` uploaded files.
RESULT_FOLDER = "output"
#: How long an instance may take to encode and store the results of a prompt that has ended, in seconds.
#: Uploads that do not succeed are given up much earlier.
LONGEST_DELIVERY_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class OutputTarget:
    """Whose outputs are stored, and how."""

    prompt_id: str
    instance_id: str
    prefix: str
    encoding: ImageEncoding | None
    #: What manifests say about them.
    origin: MediaOrigin
    #: Class by node of a caller's own graph, whose outputs name their nodes; None for a model.
    own_classes: Mapping[str, str] | None = None

    def key(self, sha256: str, extension: str) -> str:
        """Return the key of an output."""
        return owned_object_key(self.prefix, self.prompt_id, sha256, extension)


class OutputStorage:
    """Puts the results of runs into object storage."""

    def __init__(
        self,
        object_store: ObjectStore,
        timeout: float,
        delivery: DirectDelivery,
        marker: MediaMarker,
        on_delivered: Callable[[OutputDelivered], None] = lambda _: None,
    ) -> None:
        """`on_delivered` is called for each output that an instance has delivered itself."""
        self._marker = marker
        self._object_store = object_store
        self._timeout = timeout
        self._delivery = delivery
        self._on_delivered = on_delivered

    async def store_outputs(
        self,
        session: InstanceSession,
        node_ids: Sequence[str],
        result: RunResult,
        *,
        prompt_id: str,
        instance_id: str,
        origin: MediaOrigin,
        prefix: str = OUTPUT_PREFIX,
        encoding: ImageEncoding | None = None,
        own_classes: Mapping[str, str] | None = None,
    ) -> list[Output]:
        """Store the outputs of the nodes `node_ids`, in this order; images of other formats are
        converted to `encoding`.

        Their keys begin with `prefix` and belong to the attempt with this prompt id; no other attempt writes
        or deletes them.
        Retries for up to `timeout` seconds while object storage is unavailable. Raises NoOutput if there is
        no output or an unreadable one, CallerGraphFailed if nodes of a caller's own graph made that,
        NodeFailed and OutOfMemory if the instance cannot encode one, FormatUnsupported, SigningFailed,
        InstanceGone, ObjectStoreUnavailable.
        """
        target = OutputTarget(prompt_id, instance_id, prefix, encoding, origin, own_classes)
        delivered: tuple[DeliveredFile, ...] = ()
        granted: set[int] = set()
        if any(item.delivered for item in result.outputs):
            delivered = await self._collect_delivered(session, target, granted)
        stores = [
            store
            for node in node_ids
            for store in (
                *(
                    self._accept_delivered(session, file, target, granted_now=file.number in granted)
                    for file in delivered
                    if file.node == node
                ),
                *(self._store_output(session, item, target) for item in _results_of(node, result)),
            )
        ]
        if not stores:
            if own_classes is not None:
                nodes = _describe_nodes(node_ids, own_classes)
                raise CallerGraphFailed(f"{nodes}: no file and no text came of it")
            raise NoOutput(f"no output of node(s) {', '.join(node_ids)}")
        return list(await asyncio.gather(*stores))

    async def _collect_delivered(
        self, session: InstanceSession, target: OutputTarget, granted: set[int]
    ) -> tuple[DeliveredFile, ...]:
        """Return all files of the prompt once they are stored, offered or failed.

        Adds the numbers of those whose upload it has granted.
        """
        try:
            async with asyncio.timeout(LONGEST_DELIVERY_SECONDS):
                return await session.deliveries.collect(
                    target.prompt_id, partial(self._grant, target, granted)
                )
        except TimeoutError as error:
            raise NoOutput(
                f"the instance has not delivered its results within {LONGEST_DELIVERY_SECONDS:g} s"
            ) from error

    async def _grant(
        self, target: OutputTarget, granted: set[int], file: DeliveredFile
    ) -> UploadGrant | None:
        if self._marker.must_mark(file.content_type):
            return None
        granted.add(file.number)
        return self._delivery.grant_upload(target.key(file.sha256, extension_of(file)), file)

    async def _accept_delivered(
        self, session: InstanceSession, file: DeliveredFile, target: OutputTarget, *, granted_now: bool
    ) -> Output:
        """Return an output that the instance has stored; store it here if the instance could not.

        One whose upload was not `granted_now` may have been stored, and deleted, long ago.
        """
        if file.state is DeliveryState.FAILED:
            raise to_instance_error(file)
        self._on_delivered(
            OutputDelivered(
                instance_id=target.instance_id,
                is_stored=file.state is DeliveryState.STORED,
                size=file.size,
                timings=file.timings,
            )
        )
        record_delivery(file)
        if file.state in (DeliveryState.OFFERED, DeliveryState.ENCODED):
            return await self._store_file(
                await session.deliveries.fetch(target.prompt_id, file.number), file.node, target
            )
        key = target.key(file.sha256, extension_of(file))
        is_acknowledged = granted_now and file.tag == file.md5
        if not is_acknowledged and not await self._delivery.check_stored(key, file, timeout=self._timeout):
            self._delivery.reject(target.instance_id, "what it reported as stored is not in object storage")
            raise NoOutput(f"node {file.node}: what the instance reported as stored is not in object storage")
        if self._marker.must_mark(file.content_type):
            # Granted by an earlier process with other settings; the object is left to the sweeper.
            return await self._store_file(await self._object_store.get(key), file.node, target)
        return Output(
            key=key,
            content_type=file.content_type,
            size=file.size,
            sha256=file.sha256,
            width=file.width,
            height=file.height,
            frames=file.frames,
            fps=file.fps,
        )

    async def _store_output(self, session: InstanceSession, item: NodeOutput, target: OutputTarget) -> Output:
        if target.own_classes is not None:
            return await self._store_own_output(session, item, target, target.own_classes)
        if item.text is not None:
            data = item.text.encode()
            info = MediaInfo(content_type="text/plain")
            return await self._put(data, info, hashlib.sha256(data).hexdigest(), target)
        data = await session.fetch_file(item.file) if item.file else item.data or b""
        return await self._store_file(data, f"{item.node}, {item.key}", target)

    async def _store_own_output(
        self,
        session: InstanceSession,
        item: NodeOutput,
        target: OutputTarget,
        classes: Mapping[str, str],
    ) -> Output:
        text = (item.text or "").encode()
        data = await session.fetch_file(item.file) if item.file else item.data or text
        prepare = partial(prepare_file, marker=self._marker, origin=target.origin)
        try:
            ready = await asyncio.to_thread(prepare_own_output, item, data, prepare)
        except CorruptMedia as error:
            raise CallerGraphFailed(f"{_describe_nodes([item.node], classes)}: {error}") from error
        output = await self._put(ready.data, ready.info, ready.sha256, target, ready.extension)
        return replace(output, node=item.node, blake3=ready.blake3)

    async def _store_file(self, data: bytes, source: str, target: OutputTarget) -> Output:
        try:
            with span("encode"):
                prepared = await asyncio.to_thread(
                    prepare_file, data, target.encoding, marker=self._marker, origin=target.origin
                )
        except CorruptMedia as error:
            raise NoOutput(f"node {source}: {error}") from error
        return await self._put(*prepared, target)

    async def _put(
        self, data: bytes, info: MediaInfo, sha256: str, target: OutputTarget, extension: str | None = None
    ) -> Output:
        key = target.key(sha256, extension or info.ext)
        with span("put", {"pixelfactory.bytes": len(data), "pixelfactory.content_type": info.content_type}):
            await self._object_store.put_new_with_retry(
                key, data, info.content_type, sha256, timeout=self._timeout
            )
        return Output(
            key=key,
            content_type=info.content_type,
            size=len(data),
            sha256=sha256,
            width=info.width,
            height=info.height,
            frames=info.frames,
            fps=info.fps,
        )


def prepare_file(
    data: bytes, encoding: ImageEncoding | None, *, marker: MediaMarker, origin: MediaOrigin
) -> tuple[bytes, MediaInfo, str]:
    """Return the file to store, its media information and its SHA-256.

    Raises CorruptMedia, FormatUnsupported if `encoding` does not hold the image's frames, or so many, and
    SigningFailed.
    """
    info = probe_media(data)
    data = strip_graph_metadata(data, info.content_type)
    if encoding and not encoding.keeps(info.content_type):
        try:
            data = encoding.encode(data)
        except (LosesFrames, ImageTooLarge) as error:
            raise FormatUnsupported(str(error)) from error
        info = probe_media(data)
    try:
        data = marker.mark(data, info.content_type, origin)
    except CredentialsError as error:
        raise SigningFailed(str(error)) from error
    return data, info, hashlib.sha256(data).hexdigest()


def _describe_nodes(ids: Sequence[str], classes: Mapping[str, str]) -> str:
    """Return nodes as errors of ComfyUI name them."""
    return ", ".join(f"node {id} ({classes.get(id, 'unknown class')})" for id in ids)


def _results_of(node: str, result: RunResult) -> list[NodeOutput]:
    """Return the results of a node: its files, or its texts if it has none."""
    items = [item for item in result.outputs if item.node == node and _is_result(item)]
    return [item for item in items if item.text is None] or items


def _is_result(item: NodeOutput) -> bool:
    return item.file.type == RESULT_FOLDER if item.file else bool(item.data or item.text)
