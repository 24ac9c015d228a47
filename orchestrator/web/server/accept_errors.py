"""Errors of accepting connections: counted, and logged at most once a second.

asyncio tries again after a second by itself, but reports every failed try with a traceback, more than a
hundred times a second while descriptors are used up.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.web.server.quiet_log import QuietLog

log = logging.getLogger(__name__)

#: Errors of `accept` that pass when descriptors or memory become free.
SHORTAGE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@contextmanager
def quiet_accept_errors(count: Callable[[], None]) -> Iterator[None]:
    """Handle errors of `accept` in the running event loop; `count` is called for each.

    All other errors go to the handler that was installed before.
    """
    loop = asyncio.get_running_loop()
    previous = loop.get_exception_handler()
    quiet_log = QuietLog(log)

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if _is_accept_error(context):
            count()
            quiet_log.write("connections of clients cannot be accepted at present: %s", context["exception"])
        elif previous is not None:
            previous(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        if loop.get_exception_handler() is handle:
            loop.set_exception_handler(previous)


def _is_accept_error(context: dict[str, Any]) -> bool:
    error = context.get("exception")
    return "socket" in context and isinstance(error, OSError) and error.errno in SHORTAGE_ERRNOS
