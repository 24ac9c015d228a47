"""Slots that accounts share fairly: a limit in total, a limit per account, and a bounded queue per account.

A free slot goes to the waiting account that holds the fewest, so that no account waits for another one's
queue. Uses that last long, such as downloads from servers that hardly respond, can leave their slot to
others: see `SlowUses`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from orchestrator.errors import RateLimited

T = TypeVar("T")

#: `Retry-After` of a request that finds the queue of its account full, in seconds.
RETRY_AFTER_SECONDS = 5


class TooManyWaiting(RateLimited):
    """The queue of the account is full."""

    default_code = "too_many_waiting"


@dataclass(frozen=True, slots=True)
class SlowUses:
    """Lets uses that last long go on without a slot in total, so that several accounts cannot hold all slots.

    They still count for their account.
    """

    after_seconds: float
    #: How many may go on so at the same time; further ones keep their slot until one of them ends.
    maximum: int


@dataclass(slots=True, eq=False)
class _Use:
    """A use of a slot."""

    account_id: str
    timer: asyncio.TimerHandle | None = None
    #: Whether it has left its slot.
    slow: bool = False


class FairSlots:
    """Bounds how much happens at the same time, in total and for each account."""

    def __init__(
        self, what: str, total: int, *, per_account: int, max_waiting: int, slow: SlowUses | None = None
    ) -> None:
        """`what` names the uses in errors; `max_waiting` of an account's uses may wait for a slot."""
        self._what = what
        self._free = total
        self._per_account = per_account
        self._max_waiting = max_waiting
        self._slow_uses = slow
        self._slow = 0
        self._held: Counter[str] = Counter()
        #: The waiting uses of each account. Accounts with equally many slots take turns in this order.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def slot(self, account_id: str) -> AsyncIterator[None]:
        """Hold a slot while the block runs; wait for one if necessary.

        Raises TooManyWaiting if `max_waiting` uses of the account wait already.
        """
        await self._acquire(account_id)
        use = _Use(account_id)
        self._watch(use)
        try:
            yield
        finally:
            self._release(use)

    def waiting(self, account_id: str) -> int:
        """Return the number of an account's uses that wait."""
        return len(self._waiting.get(account_id, ()))

    async def _acquire(self, account_id: str) -> None:
        if account_id not in self._waiting and self._free and self._held[account_id] < self._per_account:
            self._take(account_id)
            return
        queue = self._waiting.setdefault(account_id, deque())
        if len(queue) >= self._max_waiting:
            raise TooManyWaiting(
                f"Too many {self._what} of this account are waiting ({len(queue)});"
                f" retry in {RETRY_AFTER_SECONDS} s",
                retry_after=RETRY_AFTER_SECONDS,
            )
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(_Use(account_id))  # The slot was given at the same moment.
            else:
                self._forget(account_id, turn)
            raise

    def _take(self, account_id: str) -> None:
        self._free -= 1
        self._held[account_id] += 1

    def _release(self, use: _Use) -> None:
        if use.timer is not None:
            use.timer.cancel()
        if use.slow:
            self._slow -= 1
        else:
            self._free += 1
        self._held[use.account_id] -= 1
        if not self._held[use.account_id]:
            del self._held[use.account_id]
        self._serve_waiting()

    def _watch(self, use: _Use) -> None:
        if self._slow_uses is not None:
            loop = asyncio.get_running_loop()
            use.timer = loop.call_later(self._slow_uses.after_seconds, self._leave_slot, use, self._slow_uses)

    def _leave_slot(self, use: _Use, slow: SlowUses) -> None:
        """Give the slot of a use that lasts long to others."""
        if self._slow >= slow.maximum:
            self._watch(use)
            return
        use.slow = True
        self._slow += 1
        self._free += 1
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        """Give free slots to the waiting accounts that hold the fewest."""
        while self._free:
            eligible = [id for id in self._waiting if self._held[id] < self._per_account]
            if not eligible:
                return
            account_id = min(eligible, key=lambda id: self._held[id])
            turn = self._waiting[account_id].popleft()
            queue = self._waiting.pop(account_id)
            if queue:
                self._waiting[account_id] = queue  # At the end: the others have their turn first.
            if not turn.done():
                self._take(account_id)
                turn.set_result(None)

    def _forget(self, account_id: str, turn: asyncio.Future[None]) -> None:
        """Remove a use that was cancelled while it waited."""
        queue = self._waiting.get(account_id)
        if queue and turn in queue:
            queue.remove(turn)
        if queue is not None and not queue:
            self._waiting.pop(account_id, None)


async def run_to_end(work: Awaitable[T]) -> T:
    """Await work in a thread, also if the caller is cancelled meanwhile: the thread goes on in any case.

    A slot that is held around it stays taken until the thread is free.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # Nobody is left to receive it.
        raise
