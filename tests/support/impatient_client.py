"""Sessions whose patience is short, so that tests of trouble are quick."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.session.session import InstanceSession, SessionSettings
from tests.support.scripted_comfyui import GRAPH, ScriptedComfyUI, ScriptedPrompt

SETTINGS = SessionSettings(
    connect_timeout_s=1.0,
    silence_s=0.2,
    gone_after_s=0.8,
    stalled_after_s=0.5,
    backoff_min_s=0.01,
    backoff_max_s=0.05,
)


async def launch(
    server: ScriptedComfyUI, session: InstanceSession, listener: Any = None
) -> tuple[asyncio.Task[Any], ScriptedPrompt]:
    """A prompt that has begun to run."""
    while True:
        run = asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH, listener))
        posted = asyncio.create_task(server.posted())
        await asyncio.wait({run, posted}, return_when=asyncio.FIRST_COMPLETED)
        if posted.done():
            (prompt,) = posted.result()
            await server.begin(prompt)
            return run, prompt
        # The machine stalled for longer than the session's patience with an instance that does not answer.
        posted.cancel()
        with suppress(InstanceGone):
            await run
