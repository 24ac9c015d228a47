"""A prompt under way: what is known of it, who listens to it, and who waits for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from comfy_instances.errors import InstanceError
from comfy_instances.messages import Message
from comfy_instances.progress import Listener
from comfy_instances.tracker import Tracker


class Flight:
    """Mutable, owned by one session, used on its event loop only."""

    def __init__(self, tracker: Tracker, listener: Listener | None) -> None:
        self.tracker = tracker
        #: True once the instance has taken the prompt: from then on it can be asked about it.
        self.posted = False
        #: Set by a cancel, which may come before the instance has taken the prompt.
        self.unwanted = False
        #: Loop time of the last news, by the socket or by asking.
        self.news_at = _now()
        #: Loop time since when it waits although nothing runs.
        self.stalled_since: float | None = None
        self.error: InstanceError | None = None
        self._listener = listener
        self._over = asyncio.Event()

    @property
    def prompt_id(self) -> str:
        return self.tracker.prompt_id

    @property
    def over(self) -> bool:
        return self._over.is_set()

    async def wait_over(self) -> None:
        """Returns when the prompt has ended; raises what the session gave it up with."""
        await self._over.wait()
        if self.error is not None:
            raise self.error

    def hear(self, message: Message) -> None:
        """Take in a message of the socket."""
        self.news_at = _now()
        events = self.tracker.handle(message, self.news_at)
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            for event in events:
                # Not called from here: an exception of a listener must not end the reading.
                loop.call_soon(self._listener, event)
        self._notice_end()

    def replay(self, messages: Iterable[Message]) -> None:
        """Take in the whole of history's record."""
        self.tracker.replay(messages, _now())
        self._notice_end()

    def fail(self, error: InstanceError) -> None:
        if not self.over:
            self.error = error
            self._over.set()

    def _notice_end(self) -> None:
        if self.tracker.end is not None:
            self._over.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
