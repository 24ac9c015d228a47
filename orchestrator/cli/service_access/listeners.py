"""Opens the sockets that a service listens on, before anything else is started."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil

from orchestrator.cli.terminal.console import CliError

#: Connections that the kernel keeps until they are accepted.
BACKLOG = 128


@contextmanager
def open_listeners(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Listen at all addresses of `host` until the block ends. Raises CliError, which says why it cannot."""
    with ExitStack() as stack:
        listeners = []
        for family, address in _resolve(host, port):
            listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listener.bind(address)
                listener.listen(BACKLOG)
            except OSError as error:
                raise CliError(_describe(error, host, port)) from error
            listener.setblocking(False)
            listeners.append(listener)
        yield listeners


def url_of(listener: socket.socket) -> str:
    """Return the URL at which this machine reaches a socket."""
    host, port, *_ = listener.getsockname()
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{local}]' if ':' in local else local}:{port}"


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CliError(
            f"cannot listen on {host!r}: it is no address or name of this machine; set --host or"
            " PIXELFACTORY_HOST to one, such as 127.0.0.1 or 0.0.0.0"
        ) from error
    families = (socket.AF_INET, socket.AF_INET6) if socket.has_ipv6 else (socket.AF_INET,)
    return list(dict.fromkeys((entry[0], tuple(entry[4])) for entry in found if entry[0] in families))


def _describe(error: OSError, host: str, port: int) -> str:
    place = f"port {port} of {host}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{place} is in use by {_find_owner(port)}; stop it, or choose another port with --port or"
            " PIXELFACTORY_PORT"
        )
    if error.errno == errno.EACCES:
        return f"{place} needs more rights; choose a port from 1024 with --port or PIXELFACTORY_PORT"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {host!r}: this machine has no such address; set --host or PIXELFACTORY_HOST"
    return f"cannot listen on {place}: {error.strerror}"


def _find_owner(port: int) -> str:
    """Return which process listens on a port, if this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens_here = connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,)
            if listens_here and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return "another process"
