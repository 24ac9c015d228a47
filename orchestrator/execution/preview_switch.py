"""Has instances make previews only while a client listens to the job, if their node pack can do so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from comfy_instances.protocol.errors import InstanceError
from comfy_instances.session.session import InstanceSession
from comfy_instances.tasks import spawn
from orchestrator.jobs.events import EventHub

log = logging.getLogger(__name__)


class PreviewSwitch:
    """Knows the running prompts whose previews can be switched."""

    def __init__(self, events: EventHub) -> None:
        self._events = events
        #: Job id -> prompt id -> session.
        self._running: dict[str, dict[str, InstanceSession]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        events.on_listeners_changed = self._on_listeners_changed

    def is_wanted(self, job_id: str) -> bool:
        """Return whether a client listens to the previews of a job now."""
        return self._events.has_preview_listeners(job_id)

    @contextmanager
    def watch(self, job_id: str, prompt_id: str, session: InstanceSession) -> Iterator[None]:
        """Switch the previews of a prompt while the block runs."""
        prompts = self._running.setdefault(job_id, {})
        prompts[prompt_id] = session
        try:
            yield
        finally:
            del prompts[prompt_id]
            if not prompts:
                self._running.pop(job_id, None)

    def _on_listeners_changed(self, job_id: str) -> None:
        wanted = self.is_wanted(job_id)
        for prompt_id, session in self._running.get(job_id, {}).items():
            spawn(self._switch(prompt_id, session, wanted), "preview switch", prompt_id, group=self._tasks)

    async def _switch(self, prompt_id: str, session: InstanceSession, wanted: bool) -> None:
        try:
            await session.deliveries.set_previews(prompt_id, listening=wanted)
        except InstanceError as error:
            log.info("could not switch the previews of %s: %s", prompt_id, error)
