"""Runs a command that dies with its parent: `python die_with_parent.py PARENT_PID COMMAND...`.

It is a program of its own, not code between fork and exec, because the forking process has threads. It
asks the kernel (Linux) to send SIGKILL when the parent dies and then replaces itself with the command,
which keeps the process id. Run it with `-I -S`, so that it starts in a few milliseconds. On other systems
the child only ends when the parent stops it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, command = int(argv[0]), argv[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent died before the launch")  # before prctl took effect
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
