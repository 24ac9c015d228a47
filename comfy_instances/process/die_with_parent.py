"""Runs a command that dies with its parent: `python launcher.py PARENT_PID COMMAND...`.

A separate program rather than code between fork and exec, because the forking process has threads.
It asks the kernel (Linux) for SIGKILL at the parent's death and then becomes the command, so the
command keeps this process's id and there is nothing in between. Run with `-I -S`, so it starts in
a few milliseconds. Elsewhere than on Linux, the parent's own clean-up is all there is.
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
        sys.exit("the parent died before the launch")  # its death came before our wish
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
