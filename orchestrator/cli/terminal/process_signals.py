"""Signals of a service: SIGTERM and Ctrl-C stop it, a second Ctrl-C at once; SIGHUP reads settings again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Exit status after a second Ctrl-C.
INTERRUPTED_EXIT_CODE = 130
#: Signals that arrive within this time are one: a terminal and a wrapper may both send it.
SAME_SIGNAL_SECONDS = 0.3


def stop_on_signals(then: Callable[[], None] = lambda: None) -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; they call `then` too.

    A SIGINT that follows ends this process at once: what runs is continued at the next start.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    stopped_at = 0.0

    def handle_signal(number: int) -> None:
        nonlocal stopped_at
        if not stop.is_set():
            stopped_at = loop.time()
            stop.set()
            then()
        elif number == signal.SIGINT and loop.time() - stopped_at > SAME_SIGNAL_SECONDS:
            log.warning("stopping at once; the next start continues or repeats what was running")
            logging.shutdown()
            os._exit(INTERRUPTED_EXIT_CODE)

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, handle_signal, name)
    return stop


def reload_on_hangup(reload: Callable[[], None], stop: asyncio.Event) -> None:
    """Let SIGHUP call `reload`; if it comes because the terminal was closed, it stops the service instead.

    A process that was started to ignore SIGHUP, as by `nohup`, goes on ignoring it.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return
    terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]

    def handle_hangup() -> None:
        if terminals and not any(map(os.isatty, terminals)):
            stop.set()
        else:
            reload()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, handle_hangup)
