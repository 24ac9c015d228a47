"""A proxy in front of an S3 server: it holds requests back at the moment that a test names, or refuses them.

It runs in threads of its own, so that tests of any loop, and of none, share it.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_CHUNK = 65536
_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
#: What an overloaded S3 server answers; it reads no more of the request.
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>"
_REFUSED = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n" % len(_SLOW_DOWN)
)
TIMEOUT_SECONDS = 60.0


class Refusal:
    """Has requests answered as by an overloaded server while it is in effect."""

    def __init__(self, method: str, path: str) -> None:
        self.method, self.path = method, path
        #: Requests that were refused.
        self.count = 0

    def matches(self, method: str, path: str) -> bool:
        return self.path in path and self.method in ("", method)


class Hold:
    """Holds one request: before it reaches the server, or after the server has executed it."""

    def __init__(self, method: str, path: str, *, executed: bool) -> None:
        self.method, self.path, self.executed = method, path, executed
        #: The path of the held request.
        self.held = ""
        self.dropped = False
        self._reached, self._released = threading.Event(), threading.Event()

    def matches(self, method: str, path: str) -> bool:
        return not self.held and method == self.method and self.path in path

    def pause(self) -> None:
        self._reached.set()
        self._released.wait(TIMEOUT_SECONDS)

    def wait(self) -> None:
        """Wait until a request is held."""
        assert self._reached.wait(TIMEOUT_SECONDS), f"no {self.method} of {self.path}"

    def release(self) -> None:
        self._released.set()

    def drop(self) -> None:
        """Close the connection of the held request, which never reaches the server."""
        self.dropped = True
        self._released.set()


class HoldingProxy:
    """Forwards connections to the server at `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        address = urlsplit(endpoint)
        self._server = (address.hostname or "", address.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._holds: list[Hold] = []
        self._refusals: list[Refusal] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @contextmanager
    def hold(self, method: str, path: str, *, executed: bool = True) -> Iterator[Hold]:
        """Hold the next request with this method whose path contains `path`; release it at the end."""
        hold = Hold(method, path, executed=executed)
        with self._lock:
            self._holds.append(hold)
        try:
            yield hold
        finally:
            hold.release()
            with self._lock:
                self._holds.remove(hold)

    @contextmanager
    def refuse(self, path: str, method: str = "") -> Iterator[Refusal]:
        """Refuse requests whose path contains `path`, with this method or any, until the block ends."""
        refusal = Refusal(method, path)
        with self._lock:
            self._refusals.append(refusal)
        try:
            yield refusal
        finally:
            with self._lock:
                self._refusals.remove(refusal)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._server) as server:
            waiting: list[Hold] = []
            back = threading.Thread(target=self._pump_responses, args=(server, client, waiting), daemon=True)
            back.start()
            with suppress(OSError):
                while data := client.recv(_CHUNK):
                    if self._is_refused(data):
                        client.sendall(_REFUSED + _SLOW_DOWN)
                        break
                    hold = self._find_hold(data)
                    if hold and hold.executed:
                        waiting.append(hold)
                    elif hold:
                        hold.pause()
                    if hold and hold.dropped:
                        break
                    server.sendall(data)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join()

    def _pump_responses(self, server: socket.socket, client: socket.socket, waiting: list[Hold]) -> None:
        with suppress(OSError):
            while data := server.recv(_CHUNK):
                while waiting:
                    waiting.pop().pause()
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _is_refused(self, data: bytes) -> bool:
        """Return whether a request that begins with `data` is refused."""
        found = _REQUEST.match(data)
        if found is None:
            return False
        method, path = (part.decode() for part in found.groups())
        with self._lock:
            refusal = next((one for one in self._refusals if one.matches(method, path)), None)
            if refusal is not None:
                refusal.count += 1
        return refusal is not None

    def _find_hold(self, data: bytes) -> Hold | None:
        """Return the hold for a request that begins with `data`."""
        found = _REQUEST.match(data)
        if found is None:
            return None
        method, path = (part.decode() for part in found.groups())
        with self._lock:
            hold = next((one for one in self._holds if one.matches(method, path)), None)
            if hold:
                hold.held = path
        return hold
