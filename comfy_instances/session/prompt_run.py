"""A prompt under way: what is known of it, who listens to it, and who waits for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from comfy_instances.protocol.errors import InstanceError
from comfy_instances.protocol.messages import Message
from comfy_instances.protocol.progress import ProgressListener
from comfy_instances.session.tracker import PromptTracker


class PromptRun:
    """Mutable, owned by one session, used on its event loop only."""

    def __init__(self, tracker: PromptTracker, listener: ProgressListener | None) -> None:
        self.tracker = tracker
        #: True once the instance has taken the prompt: from then on it can be asked about it.
        self.submitted = False
        #: Set by a cancel, which may come before the instance has taken the prompt.
        self.cancel_requested = False
        #: Loop time of the last news, by the socket or by asking.
        self.last_update_at = _now()
        #: Loop time since when it waits although nothing runs.
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

    async def wait_done(self) -> None:
        """Returns when the prompt has ended; raises what the session gave it up with."""
        await self._done.wait()
        if self.error is not None:
            raise self.error

    def handle_message(self, message: Message) -> None:
        """Take in a message of the socket."""
        self.last_update_at = _now()
        events = self.tracker.handle_message(message, self.last_update_at)
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            for event in events:
                # Not called from here: an exception of a listener must not end the reading.
                loop.call_soon(self._listener, event)
        self._mark_done_if_ended()

    def replay_history(self, messages: Iterable[Message]) -> None:
        """Take in the whole of history's record."""
        self.tracker.replay_history(messages, _now())
        self._mark_done_if_ended()

    def fail(self, error: InstanceError) -> None:
        if not self.is_done:
            self.error = error
            self._done.set()

    def _mark_done_if_ended(self) -> None:
        if self.tracker.final_message is not None:
            self._done.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
