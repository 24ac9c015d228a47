"""The command line in a process of its own each time, without importing all of it anew each time.

The processes are forked from a server that has the modules already, which takes milliseconds instead of
seconds. What only a real start can show (signals, exit by SIGTERM) uses `tests.running.pixelfactory`.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["orchestrator.cli.main"])
TIMEOUT_SECONDS = 60.0


def command(*arguments: str, **environment: str) -> CompletedProcess[str]:
    """`pixelfactory` with these arguments, run to its end."""
    with tempfile.TemporaryDirectory() as place:
        said, complained = Path(place) / "stdout", Path(place) / "stderr"
        process = _FORKS.Process(target=_child, args=(arguments, environment, said, complained))
        process.start()
        process.join(TIMEOUT_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode or 0
        process.close()
        return CompletedProcess(list(arguments), code, said.read_text(), complained.read_text())


def _child(arguments: tuple[str, ...], environment: Mapping[str, str], said: Path, complained: Path) -> None:
    from orchestrator.cli.main import main

    for file, stream in ((said, 1), (complained, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
    os.environ.update(environment)
    sys.argv = ["pixelfactory", *arguments]
    main()
