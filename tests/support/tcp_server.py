"""A TCP server for servers and proxies of tests, which leaves no connection behind when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

#: Of the loop, until connections that it has accepted are handed over; it takes three.
HAND_OVER_ROUNDS = 5

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpServer:
    """Serves each connection in a task of its own, on a free port of a loopback address."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._is_stopping = False
        #: Of the address, also after the end.
        self.port = 0

    async def start(self, host: str = "127.0.0.1") -> None:
        self._server = await asyncio.start_server(self._accept, host, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close_at_end(self, writer: asyncio.StreamWriter) -> None:
        """Close a connection to another server as well when this one stops."""
        self._writers.append(writer)

    async def stop(self) -> None:
        """Stop listening, cancel what serves, and wait until every socket is closed."""
        self._is_stopping = True
        # A closed server forgets connections that are accepted and not handed over, and leaves them open.
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(HAND_OVER_ROUNDS):
            await asyncio.sleep(0)
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self._is_stopping:
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
