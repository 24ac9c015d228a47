"""Has instances make previews only while a client listens to the job, if their node pack can do so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from comfy_instances.protocol.errors import InstanceError
from comfy_instances.session.session import InstanceSession
from comfy_instances.tasks import spawn
from orchestrator.jobs.events import EventHub

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _RunningPrompt:
    """A prompt, whether its previews are wanted, and what its instance knows of that, if anything."""

    session: InstanceSession
    is_wanted: bool
    is_on: bool | None
    is_switching: bool = False


class PreviewSwitch:
    """Knows the running prompts whose previews can be switched."""

    def __init__(self, events: EventHub) -> None:
        self._events = events
        #: Job id -> prompt id -> prompt.
        self._running: dict[str, dict[str, _RunningPrompt]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        events.on_listeners_changed = self._on_listeners_changed

    def is_wanted(self, job_id: str) -> bool:
        """Return whether a client listens to the previews of a job now."""
        return self._events.has_preview_listeners(job_id)

    @contextmanager
    def watch(
        self, job_id: str, prompt_id: str, session: InstanceSession, *, is_resumed: bool = False
    ) -> Iterator[None]:
        """Switch the previews of a prompt while the block runs.

        It was sent with what is wanted now; or it is resumed, and an earlier process has said what it wanted.
        """
        prompts, wanted = self._running.setdefault(job_id, {}), self.is_wanted(job_id)
        prompts[prompt_id] = _RunningPrompt(session, wanted, is_on=None if is_resumed else wanted)
        self._on_listeners_changed(job_id)
        try:
            yield
        finally:
            del prompts[prompt_id]
            if not prompts:
                self._running.pop(job_id, None)

    def _on_listeners_changed(self, job_id: str) -> None:
        wanted = self.is_wanted(job_id)
        for prompt_id, prompt in self._running.get(job_id, {}).items():
            prompt.is_wanted = wanted
            if prompt.is_wanted != prompt.is_on and not prompt.is_switching:
                prompt.is_switching = True
                spawn(self._switch(prompt_id, prompt), "preview switch", prompt_id, group=self._tasks)

    async def _switch(self, prompt_id: str, prompt: _RunningPrompt) -> None:
        """Tell the instance what is wanted, one request after the other, until it knows."""
        try:
            while prompt.is_wanted != prompt.is_on:
                wanted = prompt.is_wanted
                await prompt.session.deliveries.set_previews(prompt_id, listening=wanted)
                prompt.is_on = wanted
        except InstanceError as error:
            log.info("could not switch the previews of %s: %s", prompt_id, error)
        finally:
            prompt.is_switching = False
