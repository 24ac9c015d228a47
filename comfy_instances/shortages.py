"""Recognises a passing lack of resources of this process: descriptors, memory, processes, threads or disk.

Such an error says nothing about the instance that was to be launched or asked. The same call succeeds once
the shortage is over, so it is repeated and never counted as a failure of the instance.
"""

from __future__ import annotations

import errno
import socket

_SHORTAGE_ERRNOS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.ENOBUFS,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EADDRNOTAVAIL,
    }
)
#: Codes of `getaddrinfo`: the resolver itself could not work.
_RESOLVER_CODES = frozenset({socket.EAI_AGAIN, socket.EAI_MEMORY, socket.EAI_SYSTEM})
_NO_THREAD_MESSAGE = "can't start new thread"


def is_resource_shortage(error: BaseException | None) -> bool:
    """Whether `error`, or one of its causes, is a lack of resources of this process."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if _is_shortage(error) or _is_shortage(getattr(error, "os_error", None)):
            return True
        error = error.__cause__
    return False


def _is_shortage(error: object) -> bool:
    if isinstance(error, socket.gaierror):
        return error.errno in _RESOLVER_CODES
    if isinstance(error, OSError):
        return error.errno in _SHORTAGE_ERRNOS
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and _NO_THREAD_MESSAGE in str(error)
    )
