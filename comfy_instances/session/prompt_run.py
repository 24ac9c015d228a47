"""A prompt in flight: its tracker, its progress listener, and the event that its caller awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from comfy_instances.protocol.errors import InstanceError
from comfy_instances.protocol.messages import Message
from comfy_instances.protocol.progress import ProgressListener
from comfy_instances.session.tracker import PromptTracker
from comfy_instances.tasks import loop_time


class PromptRun:
    """The mutable state of one prompt. Owned by one session and used on its event loop only."""

    def __init__(self, tracker: PromptTracker, listener: ProgressListener | None) -> None:
        self.tracker = tracker
        #: True once the instance may have received the prompt.
        self.sent = False
        #: True once the instance has accepted the prompt; from then on `/queue` and `/history` know it.
        self.submitted = False
        #: True if the instance may run the prompt although no message said so.
        self.may_be_running = False
        #: Set by a cancellation, which may come before the instance has accepted the prompt.
        self.cancel_requested = False
        #: Loop time of the last update, from the socket or from a request.
        self.last_update_at = loop_time()
        #: Loop time since which the prompt has waited although the instance runs nothing.
        self.stalled_since: float | None = None
        self.error: InstanceError | None = None
        self._listener = listener
        self._done = asyncio.Event()

    @property
    def prompt_id(self) -> str:
        return self.tracker.prompt_id

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    @property
    def has_begun(self) -> bool:
        """Whether the instance has started to run the prompt, or may have done so."""
        return self.tracker.has_started or self.may_be_running

    async def wait_done(self) -> None:
        """Wait for the end of the prompt. Raises the InstanceError that the session failed it with."""
        await self._done.wait()
        if self.error is not None:
            raise self.error

    def handle_message(self, message: Message) -> None:
        """Apply a message from the socket and notify the listener."""
        self.last_update_at = loop_time()
        events = self.tracker.handle_message(message, self.last_update_at)
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            for event in events:
                # Called in a later loop step: an exception in a listener must not stop the reader.
                loop.call_soon(self._listener, event)
        self._mark_done_if_ended()

    def replay_history(self, messages: Iterable[Message]) -> None:
        """Apply the messages of the prompt's history entry."""
        self.tracker.replay_history(messages, loop_time())
        self._mark_done_if_ended()

    def fail(self, error: InstanceError) -> None:
        """End the prompt with `error`, unless it has ended already."""
        if not self.is_done:
            self.error = error
            self._done.set()

    def _mark_done_if_ended(self) -> None:
        if self.tracker.final_message is not None:
            self._done.set()
