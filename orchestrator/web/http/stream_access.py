"""Access to open event streams: how many an account may have, and when one ends before its job does.

A stream outlives the check of its credential. So the credential is checked again while the stream is open,
also because the command line and other processes revoke keys.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from comfy_instances.tasks import spawn
from orchestrator.errors import NotAuthenticated, RateLimited, ServiceError

log = logging.getLogger(__name__)

#: Seconds between two checks of a stream's credential.
RECHECK_SECONDS = 2.0
#: Open streams of one account. Each holds a connection and a few unread events.
MAX_STREAMS_PER_ACCOUNT = 100
#: `Retry-After` of a stream that is one too many, in seconds.
RETRY_AFTER_SECONDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamAccess:
    """The credential with which a stream was opened."""

    account_id: str
    #: Whether the credential would still be accepted.
    is_valid: Callable[[], Awaitable[bool]]


class OpenStreams:
    """Counts the open streams of each account."""

    def __init__(self, max_per_account: int = MAX_STREAMS_PER_ACCOUNT) -> None:
        self._max_per_account = max_per_account
        self._open: Counter[str] = Counter()

    @asynccontextmanager
    async def count(self, account_id: str) -> AsyncIterator[None]:
        """Count a stream while the block runs. Raises RateLimited (`too_many_streams`)."""
        if self._open[account_id] >= self._max_per_account:
            raise RateLimited(
                f"This account has {self._max_per_account} open event streams, the most that are allowed;"
                " close one first",
                code="too_many_streams",
                retry_after=RETRY_AFTER_SECONDS,
            )
        self._open[account_id] += 1
        try:
            yield
        finally:
            self._open[account_id] -= 1
            if not self._open[account_id]:
                del self._open[account_id]


@asynccontextmanager
async def end_on_revocation(
    access: StreamAccess, recheck_seconds: float = RECHECK_SECONDS
) -> AsyncIterator[None]:
    """Run the block for as long as the credential is valid. Raises NotAuthenticated when it no longer is."""
    try:
        async with asyncio.timeout(None) as limit:
            guard = spawn(_expire_when_invalid(access, limit, recheck_seconds), "stream access check")
            try:
                yield
            finally:
                guard.cancel()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise NotAuthenticated(
            "The stream has ended: its API key or session was revoked or has expired"
        ) from error


async def _expire_when_invalid(access: StreamAccess, limit: asyncio.Timeout, recheck_seconds: float) -> None:
    valid = True
    while valid:
        await asyncio.sleep(recheck_seconds)
        try:
            valid = await access.is_valid()
        except ServiceError as error:
            log.warning("could not check the credential of an open stream, trying again: %s", error)
    limit.reschedule(asyncio.get_running_loop().time())
