"""Ends processes of an instance that an earlier agent left on this node.

The kernel ends an instance together with its agent (Linux). This is for what escapes that: another system, a
process that an instance has started, an agent that still runs because its node was cut off from the cluster.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil

log = logging.getLogger(__name__)
#: How long a killed process may take to disappear, in seconds.
KILL_TIMEOUT_S = 10.0


def kill_orphans(directory: Path) -> list[int]:
    """Kill the processes that run with `directory` as their base directory, with their process groups.

    Return their ids. Blocks until they are gone, for 10 seconds at most.
    """
    found = list(_find_instances(directory))
    for process in found:
        log.warning("killing process %d, which an earlier agent left in %s", process.pid, directory)
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
    psutil.wait_procs(found, KILL_TIMEOUT_S)
    return [process.pid for process in found]


def _find_instances(directory: Path) -> Iterator[psutil.Process]:
    wanted = ("--base-directory", str(directory))
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            command = process.cmdline()
            if process.pid != os.getpid() and any(pair == wanted for pair in pairwise(command)):
                yield process
