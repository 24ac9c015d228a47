"""Runs commands such as git and pip and reads their output."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from comfy_instances.process.child import child_environment

#: Lines of output that the error of a failed command quotes.
ERROR_TAIL_LINES = 5
READ_CHUNK_BYTES = 2**16
LINE_ENDS = re.compile(rb"[\r\n]+")
OutputCallback = Callable[[str], None]


class SubprocessFailed(Exception):
    """A command could not be started or failed. `last_output` is the end of its output."""

    def __init__(self, command: Sequence[str], exit_code: int | None, last_lines: Sequence[str]) -> None:
        self.command = tuple(command)
        self.exit_code = exit_code
        self.last_output = " / ".join(line.strip() for line in last_lines if line.strip())
        super().__init__(f"`{' '.join(command[:4])} ...` failed: {self.last_output or f'status {exit_code}'}")


async def run_command(command: Sequence[str], *, on_output: OutputCallback | None = None) -> None:
    """Run a command, passing output lines to `on_output`; cancelling kills it. Raises SubprocessFailed."""
    process = await _spawn(command, stdin=False, merge_stderr=True)
    last: list[str] = []
    stream = process.stdout
    assert stream is not None
    try:
        async for line in _read_lines(stream):
            last = [*last[-ERROR_TAIL_LINES + 1 :], line]
            if on_output is not None:
                on_output(line)
        code = await process.wait()
    finally:
        await _kill_and_reap(process)
    if code != 0:
        raise SubprocessFailed(command, code, last)


async def run_and_read_output(command: Sequence[str], *, stdin: str = "") -> str:
    """Run a command with `stdin` as its input and return its standard output. Raises SubprocessFailed."""
    process = await _spawn(command, stdin=True, merge_stderr=False)
    try:
        out, err = await process.communicate(stdin.encode())
    finally:
        await _kill_and_reap(process)
    if process.returncode != 0:
        raise SubprocessFailed(
            command, process.returncode, err.decode("utf-8", "replace").splitlines()[-ERROR_TAIL_LINES:]
        )
    return out.decode("utf-8", "surrogateescape")


async def _read_lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield lines as they arrive. A progress display that overwrites its line yields one per update."""
    rest = b""
    while chunk := await stream.read(READ_CHUNK_BYTES):
        *lines, rest = LINE_ENDS.split(rest + chunk)
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip()
    if rest:
        yield rest.decode("utf-8", "replace").rstrip()


async def _spawn(command: Sequence[str], *, stdin: bool, merge_stderr: bool) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe if stdin else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT if merge_stderr else pipe,
            # git and pip must fail instead of prompting.
            env=child_environment(
                GIT_TERMINAL_PROMPT="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1"
            ),
        )
    except OSError as error:
        raise SubprocessFailed(command, None, [f"{command[0]}: {error.strerror}"]) from error


async def _kill_and_reap(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
