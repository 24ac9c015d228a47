"""One child process: launched in its own process group, its output logged, stopped with all descendants."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from comfy_instances.process import die_with_parent
from comfy_instances.process.log_file import RotatingLogFile
from comfy_instances.tasks import spawn

log = logging.getLogger(__name__)
#: Longer output lines are split at this length.
MAX_LINE_BYTES = 16 * 1024
#: How long output is still read after the child has ended (a grandchild may hold the pipe open).
OUTPUT_DRAIN_SECONDS = 1.0


class ChildProcess:
    """A running command.

    `returncode` is None while it runs, then its exit status, negative for a signal. The kernel kills the
    child when this process dies (Linux). `stop` ends the child and everything in its process group.
    """

    def __init__(self, process: asyncio.subprocess.Process, output: RotatingLogFile) -> None:
        self._process = process
        self._output = output
        self._reader = spawn(self._copy_output(), "child output", str(process.pid))
        self.exited = spawn(self._wait_for_exit(), "child exit", str(process.pid))

    @classmethod
    async def launch(
        cls, command: Sequence[str], *, output: RotatingLogFile, cwd: Path, env: Mapping[str, str]
    ) -> ChildProcess:
        """Start `command`. Raises OSError, or RuntimeError without a free thread, if no process can be
        created; a command that cannot be executed makes the child exit with an error."""
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=MAX_LINE_BYTES,
            cwd=cwd,
            env=dict(env),
        )
        return cls(process, output)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def resident_memory(self) -> int | None:
        """Return the resident bytes of the child; None if it is gone or cannot be read at present."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except (psutil.Error, OSError):
            return None

    async def stop(self, timeout: float) -> None:
        """Send SIGTERM to the group, SIGKILL after `timeout` seconds, and wait until the child is gone."""
        if self.returncode is None:
            self._signal_group(signal.SIGTERM)
            await asyncio.wait([self.exited], timeout=timeout)
        if self.returncode is None:
            self._signal_group(signal.SIGKILL)
        await asyncio.shield(self.exited)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _wait_for_exit(self) -> int:
        code = await self._process.wait()
        self._signal_group(signal.SIGKILL)  # processes that it started and left in its group
        _, late = await asyncio.wait([self._reader], timeout=OUTPUT_DRAIN_SECONDS)
        for task in late:
            task.cancel()
        return code

    async def _copy_output(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while True:
            try:
                line = await stream.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                line = await stream.read(MAX_LINE_BYTES)
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    self._write_output(end.partial)
                return
            self._write_output(line)

    def _write_output(self, line: bytes) -> None:
        try:
            self._output.write(line)
        except Exception:
            # The pipe must be read on: a child that cannot write its output stands still.
            log.exception("output of process %d is lost", self.pid)


#: Our settings, and where and by which headers our traces are sent.
_OWN_VARIABLES = ("PIXELFACTORY_", "OTEL_EXPORTER_OTLP_")


def child_environment(**additions: str) -> dict[str, str]:
    """Return our environment without our own settings, which contain secrets, and with `additions`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    return inherited | {"PYTHONUNBUFFERED": "1"} | additions


#: Linux takes the ports of outgoing connections from 32768 on, unless `ip_local_port_range` says otherwise.
_FIRST_PORT, _PORT_COUNT = 22_768, 10_000
#: How far apart the first ports of two processes are whose ids follow each other; a prime.
_PORTS_PER_PROCESS = 131
_MAX_PORTS_TRIED = 200
_port_numbers = itertools.count()


def find_free_port(host: str = "127.0.0.1", *, preferred: int = 0) -> int:
    """Return a free TCP port, `preferred` if that one is free.

    Another process may take the port before the caller's child binds it; the child then exits with an
    error and must be started again on another port. To make that rare, ports lie below the range from which
    the system takes those of outgoing connections, and each process tries them in order from one of its own.
    """
    # The process id sets forked processes apart, which share the counter.
    numbers = (os.getpid() * _PORTS_PER_PROCESS + next(_port_numbers) for _ in range(_MAX_PORTS_TRIED))
    candidates = (_FIRST_PORT + number % _PORT_COUNT for number in numbers)
    for port in itertools.chain([preferred] if preferred else [], candidates, [0]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free TCP port on {host}")


def format_exit_status(code: int) -> str:
    """Return a text such as `exited with status 1` or `killed by SIGKILL`."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
