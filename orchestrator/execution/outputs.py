"""From an instance's answer to stored objects: fetch, look at the bytes, put them under their digest."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence

from comfy_instances.protocol.errors import NoOutput
from comfy_instances.session.session import InstanceSession, NodeOutput, RunResult
from orchestrator.jobs import Output
from orchestrator.media.formats import CorruptMedia, ImageEncoding, probe_media
from orchestrator.media.info import MediaInfo
from orchestrator.media.provenance import strip_graph_metadata
from orchestrator.storage.object_store import ObjectStore, content_addressed_key

log = logging.getLogger(__name__)

#: Folders of an instance's answer that hold results; `temp` has previews, `input` what we sent.
RESULT_FOLDER = "output"


class OutputStorage:
    """The way of every result into the bucket."""

    def __init__(self, object_store: ObjectStore, timeout: float) -> None:
        self._object_store = object_store
        self._timeout = timeout

    async def store_outputs(
        self,
        session: InstanceSession,
        node_ids: Sequence[str],
        result: RunResult,
        encoding: ImageEncoding | None = None,
    ) -> list[Output]:
        """Stores what the output nodes `node_ids` made, in their order; pictures as `encoding` says.

        Waits up to `patience` seconds for an S3 server that is away. Raises NoOutput where there is
        nothing or something that is not what its name says, InstanceGone, ObjectStoreUnavailable.
        """
        wanted = [
            item for node in node_ids for item in result.outputs if item.node == node and _is_result(item)
        ]
        if not wanted:
            raise NoOutput(f"no output of node(s) {', '.join(node_ids)}")
        return list(await asyncio.gather(*(self._store_output(session, item, encoding) for item in wanted)))

    async def _store_output(
        self, session: InstanceSession, item: NodeOutput, encoding: ImageEncoding | None
    ) -> Output:
        data = await session.fetch_file(item.file) if item.file else _inline_bytes(item)
        try:
            data, found, sha256 = await asyncio.to_thread(_prepare_file, data, encoding)
        except CorruptMedia as error:
            raise NoOutput(f"node {item.node}, {item.key}: {error}") from error
        key = content_addressed_key("outputs", sha256, found.ext)
        await self._object_store.put_with_retry(key, data, found.content_type, timeout=self._timeout)
        return Output(
            key=key,
            content_type=found.content_type,
            size=len(data),
            sha256=sha256,
            width=found.width,
            height=found.height,
            frames=found.frames,
            fps=found.fps,
        )


def _prepare_file(data: bytes, encoding: ImageEncoding | None) -> tuple[bytes, MediaInfo, str]:
    """The file as it is delivered, what it is, and its digest. Raises CorruptMedia."""
    found = probe_media(data)
    data = strip_graph_metadata(data, found.content_type)
    if encoding and found.content_type.startswith("image/"):
        data = encoding.encode(data)
        found = probe_media(data)
    return data, found, hashlib.sha256(data).hexdigest()


def _is_result(item: NodeOutput) -> bool:
    return item.file.type == RESULT_FOLDER if item.file else bool(item.data or item.text)


def _inline_bytes(item: NodeOutput) -> bytes:
    return item.data if item.data is not None else (item.text or "").encode()
