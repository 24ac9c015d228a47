"""What counts as a passing lack of our own resources, and how repeated errors are logged."""

from __future__ import annotations

import errno
import logging
import socket

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from comfy_instances.repeated_errors import RepeatedErrors
from comfy_instances.shortages import is_resource_shortage

KEY = ConnectionKey("127.0.0.1", 80, False, True, None, None, None)


def connector_error(number: int) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(KEY, OSError(number, "no"))


def caused_by(cause: BaseException) -> BaseException:
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(getattr(errno, name), "no") for name in ("EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "ENOSPC")),
        BlockingIOError(errno.EAGAIN, "fork"),
        connector_error(errno.EMFILE),
        MemoryError(),
        RuntimeError("can't start new thread"),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
        caused_by(OSError(errno.EMFILE, "no")),
    ],
    ids=repr,
)
def test_recognises_a_lack_of_our_own_resources(error: BaseException) -> None:
    assert is_resource_shortage(error)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        connector_error(errno.ECONNREFUSED),
        FileNotFoundError(errno.ENOENT, "no such file"),
        PermissionError(errno.EACCES, "denied"),
        TimeoutError(),
        RuntimeError("bug"),
        socket.gaierror(socket.EAI_NONAME, "no such name"),
        None,
    ],
    ids=repr,
)
def test_other_errors_are_none(error: BaseException | None) -> None:
    assert not is_resource_shortage(error)


def test_errors_are_logged_once_per_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    errors = RepeatedErrors(logging.getLogger("test"), "supervision of gpu-0")
    for _ in range(50):
        errors.record(OSError(errno.EMFILE, "too many open files"))
    errors.record(OSError(errno.ENOSPC, "no space left"))
    errors.record(RuntimeError("bug"))
    errors.clear()
    errors.clear()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "supervision of gpu-0 failed and is repeated: [Errno 24] too many open files"),
        ("WARNING", "supervision of gpu-0 failed and is repeated: [Errno 28] no space left"),
        ("ERROR", "supervision of gpu-0 failed and is repeated: bug"),
        ("INFO", "supervision of gpu-0 works again after 52 error(s)"),
    ]
    assert (errors.total, errors.in_row) == (52, 0)
