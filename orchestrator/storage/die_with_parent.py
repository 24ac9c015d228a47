"""Runs a command that dies with its parent: `python tether.py PARENT_PID COMMAND [ARGUMENT...]`.

A process of its own instead of a `preexec_fn`, which is not safe in a process with threads. On Linux the
kernel kills the command as soon as its parent is gone, however it went. Elsewhere this only runs the
command; whoever starts it again removes what was left over.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent_pid: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone already")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
