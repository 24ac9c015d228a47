"""Read and inspect an input video or audio that callers send as base64, a data URL, an upload or a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Literal, TypeVar

from orchestrator.errors import InvalidRequest
from orchestrator.fair_slots import run_to_end
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.inputs.payloads import FetchUrl, InputRejected, PayloadDecoder

T = TypeVar("T")
#: Videos and audio are read by few threads, since reading one takes much memory.
PROBE_POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="stream-input")


async def read_stream_file(
    kind: Literal["video", "audio"],
    value: str | bytes,
    inspect: Callable[[bytes], T],
    *,
    max_bytes: int,
    param: str,
    fetch: FetchUrl | None,
    probe_slot: AbstractAsyncContextManager[None] | None,
) -> T:
    """Return what `inspect` makes of a file's bytes, in a thread; `max_bytes` limits the decoded file.

    `probe_slot` is held while the file is inspected, not while it is downloaded. Raises InvalidRequest with
    `param` and a code such as `invalid_video` or `video_too_large`, and what `fetch` raises.
    """
    decoder = PayloadDecoder(kind, max_bytes)
    try:
        value = await decoder.fetch_if_url(value, fetch)
        async with probe_slot or nullcontext():
            loop = asyncio.get_running_loop()
            return await run_to_end(loop.run_in_executor(PROBE_POOL, lambda: inspect(decoder.decode(value))))
    except InputRejected as rejected:
        raise InvalidRequest(str(rejected), code=rejected.code, param=param) from rejected
    except CorruptMedia as error:
        raise InvalidRequest(
            f"The {kind} cannot be read: {error}.", code=f"invalid_{kind}", param=param
        ) from error
