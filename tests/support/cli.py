"""The command line and the simulator in a process of their own each time, without importing all of it anew.

The processes are forked from a server that has imported all commands and the simulator and has parsed the
shipped models, which saves a second or two of each.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

from orchestrator.cli.main import COMMANDS

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "orchestrator.cli.terminal.user_errors",
        *(f"orchestrator.cli.commands.{command}" for command in COMMANDS),
        "comfy_instances.simulator.__main__",
        "tests.support.shipped",  # parses the shipped models
        *("av", "numpy", "sqlite_utils"),  # which a service imports when it needs them
        "tests.support.frozen_modules",  # last: exempts all of these from garbage collections
    ]
)
#: A bound for commands that hang; one that installs takes a minute under load.
TIMEOUT_SECONDS = 240.0


@dataclass(frozen=True)
class CommandProcess:
    """A running command, with the methods of `subprocess.Popen` that tests use."""

    process: BaseProcess

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; raises TimeoutExpired."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("pixelfactory", timeout or 0)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_command(
    *arguments: str, environment: Mapping[str, str], stdout: Path, stderr: Path
) -> CommandProcess:
    """Start `pixelfactory` with these arguments and no other environment; its output is appended to files."""
    return start_process(_child, arguments, environment, stdout, stderr)


def start_process(target: Callable[..., None], *arguments: object) -> CommandProcess:
    """Run a function in a process that has imported all commands."""
    process = _FORKS.Process(target=target, args=arguments)
    process.start()
    return CommandProcess(process)


def command(*arguments: str, **environment: str) -> CompletedProcess[str]:
    """`pixelfactory` with these arguments, run to its end."""
    with tempfile.TemporaryDirectory() as place:
        said, complained = Path(place) / "stdout", Path(place) / "stderr"
        process = start_command(
            *arguments, environment={**os.environ, **environment}, stdout=said, stderr=complained
        )
        try:
            code = process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return CompletedProcess(list(arguments), code, said.read_text(), complained.read_text())


def start_simulator(*arguments: str, environment: Mapping[str, str], output: Path) -> CommandProcess:
    """Start a simulator with these arguments and no other environment; its output is appended to a file."""
    return start_process(_run_simulator, arguments, environment, output)


def _child(arguments: tuple[str, ...], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    from orchestrator.cli.main import main

    _become(("pixelfactory", *arguments), environment, stdout, stderr)
    main()


def _run_simulator(arguments: tuple[str, ...], environment: Mapping[str, str], output: Path) -> None:
    from comfy_instances.simulator.__main__ import main

    _become(("simulator", *arguments), environment, output, output)
    sys.exit(main())


def _become(argv: tuple[str, ...], environment: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    """Give this process the arguments, the environment and the output of a new one."""
    for file, stream in ((stdout, 1), (stderr, 2)):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, stream)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    # Whatever the terminal or `nohup` of the tests set: a service that ignores it is started so on purpose.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.argv = list(argv)
