"""Runs git and pip and hears what they say."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from comfy_instances.process import child_environment

#: Lines of a failed command that its error quotes.
QUOTED_LINES = 5
READ_BYTES = 2**16
LINE_ENDS = re.compile(rb"[\r\n]+")
Hear = Callable[[str], None]


class CommandFailed(Exception):
    """A command could not be run or ended with an error. `last` are its last words."""

    def __init__(self, command: Sequence[str], code: int | None, last: Sequence[str]) -> None:
        self.command = tuple(command)
        self.code = code
        self.last = " / ".join(line.strip() for line in last if line.strip())
        super().__init__(f"{' '.join(command[:4])} ... failed: {self.last or f'status {code}'}")


async def run(command: Sequence[str], *, hear: Hear | None = None) -> None:
    """Run to the end, passing each line on as it comes. Raises CommandFailed; a cancelled wait kills it."""
    process = await _spawn(command, stdin=False, merge=True)
    last: list[str] = []
    stream = process.stdout
    assert stream is not None
    try:
        async for line in _lines(stream):
            last = [*last[-QUOTED_LINES + 1 :], line]
            if hear is not None:
                hear(line)
        code = await process.wait()
    finally:
        await _bury(process)
    if code != 0:
        raise CommandFailed(command, code, last)


async def output_of(command: Sequence[str], *, given: str = "") -> str:
    """What a command writes to its standard output when `given` is its input. Raises CommandFailed."""
    process = await _spawn(command, stdin=True, merge=False)
    try:
        out, err = await process.communicate(given.encode())
    finally:
        await _bury(process)
    if process.returncode != 0:
        raise CommandFailed(
            command, process.returncode, err.decode("utf-8", "replace").splitlines()[-QUOTED_LINES:]
        )
    return out.decode("utf-8", "surrogateescape")


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines as they come; a progress display, which overwrites its line, is one line each time."""
    rest = b""
    while chunk := await stream.read(READ_BYTES):
        *lines, rest = LINE_ENDS.split(rest + chunk)
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip()
    if rest:
        yield rest.decode("utf-8", "replace").rstrip()


async def _spawn(command: Sequence[str], *, stdin: bool, merge: bool) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=pipe if stdin else asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT if merge else pipe,
            # Neither may stop to ask a question that nobody sees.
            env=child_environment(
                GIT_TERMINAL_PROMPT="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1"
            ),
        )
    except OSError as error:
        raise CommandFailed(command, None, [f"{command[0]}: {error.strerror}"]) from error


async def _bury(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
