"""Standard streams of commands: UTF-8 in every locale, and no traceback where they are closed or full."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from orchestrator.cli.terminal.console import print_error

#: Exit status where the reader of the output has ended, such as `head`.
BROKEN_PIPE_EXIT_CODE = 1


def prepare_streams() -> None:
    """Open closed standard streams on /dev/null, and write UTF-8 whatever the locale is.

    A descriptor that is left closed would be given to the next file that is opened, such as the database.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    sys.stdout = _as_utf_8(sys.stdout)
    sys.stderr = _as_utf_8(sys.stderr)


def _as_utf_8(stream: TextIO | None) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="backslashreplace")
    return stream


def flush_output() -> int:
    """Write what is buffered; return the exit status: 0, or 1 if the output could not be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return BROKEN_PIPE_EXIT_CODE
    except OSError as error:
        discard_output()
        print_error(f"the output could not be written: {error.strerror}")
        return 1
    return 0


def discard_output() -> None:
    """Write what is still buffered nowhere: the interpreter flushes it at its end."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
