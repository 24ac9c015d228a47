"""Stores the outputs of a run: fetches the files, detects their type and puts them into object storage."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import partial

from comfy_instances.protocol.errors import NoOutput
from comfy_instances.session.session import InstanceSession, NodeOutput, RunResult
from orchestrator.execution.failures import FormatUnsupported
from orchestrator.jobs import Output
from orchestrator.jobs.objects import OUTPUT_PREFIX, owned_object_key
from orchestrator.media.errors import CorruptMedia, ImageTooLarge, LosesFrames
from orchestrator.media.formats import ImageEncoding, probe_media
from orchestrator.media.provenance import strip_graph_metadata
from orchestrator.media.sniffing import MediaInfo
from orchestrator.storage.object_store import ObjectStore

log = logging.getLogger(__name__)

#: Folder type of results; `temp` holds previews, `input` uploaded files.
RESULT_FOLDER = "output"


class OutputStorage:
    """Puts the results of runs into object storage."""

    def __init__(self, object_store: ObjectStore, timeout: float) -> None:
        self._object_store = object_store
        self._timeout = timeout

    async def store_outputs(
        self,
        session: InstanceSession,
        node_ids: Sequence[str],
        result: RunResult,
        *,
        prompt_id: str,
        prefix: str = OUTPUT_PREFIX,
        encoding: ImageEncoding | None = None,
    ) -> list[Output]:
        """Store the outputs of the nodes `node_ids`, in this order; images of other formats are
        converted to `encoding`.

        Their keys begin with `prefix` and belong to the attempt with this prompt id; no other attempt writes
        or deletes them.
        Retries for up to `timeout` seconds while object storage is unavailable. Raises NoOutput if there is
        no output or an unreadable one, FormatUnsupported, InstanceGone, ObjectStoreUnavailable.
        """
        items = [item for node in node_ids for item in _results_of(node, result)]
        if not items:
            raise NoOutput(f"no output of node(s) {', '.join(node_ids)}")
        make_key = partial(owned_object_key, prefix, prompt_id)
        return list(
            await asyncio.gather(*(self._store_output(session, item, make_key, encoding) for item in items))
        )

    async def _store_output(
        self,
        session: InstanceSession,
        item: NodeOutput,
        make_key: Callable[[str, str], str],
        encoding: ImageEncoding | None,
    ) -> Output:
        data = await session.fetch_file(item.file) if item.file else _inline_bytes(item)
        prepare = _prepare_text if item.text is not None else partial(prepare_file, encoding=encoding)
        try:
            data, info, sha256 = await asyncio.to_thread(prepare, data)
        except CorruptMedia as error:
            raise NoOutput(f"node {item.node}, {item.key}: {error}") from error
        key = make_key(sha256, info.ext)
        await self._object_store.put_with_retry(key, data, info.content_type, timeout=self._timeout)
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


def _prepare_text(data: bytes) -> tuple[bytes, MediaInfo, str]:
    return data, MediaInfo(content_type="text/plain"), hashlib.sha256(data).hexdigest()


def prepare_file(data: bytes, encoding: ImageEncoding | None) -> tuple[bytes, MediaInfo, str]:
    """Return the file to store, its media information and its SHA-256.

    Raises CorruptMedia, and FormatUnsupported if `encoding` does not hold the image's frames, or so many.
    """
    info = probe_media(data)
    data = strip_graph_metadata(data, info.content_type)
    if encoding and not encoding.keeps(info.content_type):
        try:
            data = encoding.encode(data)
        except (LosesFrames, ImageTooLarge) as error:
            raise FormatUnsupported(str(error)) from error
        info = probe_media(data)
    return data, info, hashlib.sha256(data).hexdigest()


def _results_of(node: str, result: RunResult) -> list[NodeOutput]:
    """Return the results of a node: its files, or its texts if it has none."""
    items = [item for item in result.outputs if item.node == node and _is_result(item)]
    return [item for item in items if item.text is None] or items


def _is_result(item: NodeOutput) -> bool:
    return item.file.type == RESULT_FOLDER if item.file else bool(item.data or item.text)


def _inline_bytes(item: NodeOutput) -> bytes:
    return item.data if item.data is not None else (item.text or "").encode()
