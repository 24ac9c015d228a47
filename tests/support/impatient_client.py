"""Sessions whose patience is short, so that tests of trouble are quick.

It outlasts a machine that stalls for seconds: a test of an instance that is gone sets less, others do not.
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from comfy_instances.session.session import InstanceSession, SessionSettings
from tests.support.scripted_comfyui import GRAPH, ScriptedComfyUI, ScriptedPrompt

SETTINGS = SessionSettings(
    connect_timeout_s=5.0,
    silence_s=0.2,
    gone_after_s=5.0,
    stalled_after_s=3.0,
    backoff_min_s=0.01,
    backoff_max_s=0.05,
)


async def launch(
    server: ScriptedComfyUI, session: InstanceSession, listener: Any = None
) -> tuple[asyncio.Task[Any], ScriptedPrompt]:
    """A prompt that has begun to run."""
    run = asyncio.create_task(session.run_prompt(str(uuid4()), GRAPH, listener))
    (prompt,) = await server.posted()
    await server.begin(prompt)
    return run, prompt
