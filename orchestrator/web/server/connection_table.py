"""Which connections are open, from which address, and which one gives way when there are too many.

A newcomer is refused only if all others have a request in progress: otherwise the connection that has waited
longest for a request is closed. So open sockets that send nothing never lock other callers out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

ConnectionT = TypeVar("ConnectionT", bound=Hashable)

#: Network that one client is assumed to have in IPv6.
IPV6_CLIENT_PREFIX = 64


class ConnectionState(Enum):
    """What a connection waits for."""

    #: It has not sent a whole request header yet.
    NEW = "new"
    #: Its request is being received or answered.
    ACTIVE = "active"
    #: It has been answered and may send another request.
    IDLE = "idle"


@dataclass(slots=True)
class _Group(Generic[ConnectionT]):
    """Connections by state, each in the order in which they entered it."""

    by_state: dict[ConnectionState, dict[ConnectionT, None]] = field(
        default_factory=lambda: {state: {} for state in ConnectionState}
    )

    def __len__(self) -> int:
        return sum(map(len, self.by_state.values()))

    def longest_waiting(self) -> ConnectionT | None:
        """Return the connection that gives way first, or None if all have a request in progress."""
        waiting: Iterator[ConnectionT] = (
            connection
            for state in (ConnectionState.NEW, ConnectionState.IDLE)
            for connection in self.by_state[state]
        )
        return next(waiting, None)


class ConnectionTable(Generic[ConnectionT]):
    """The open connections. `admit` says which one must be closed for a new one."""

    def __init__(self, max_connections: int, max_per_address: int | None) -> None:
        """`max_per_address` is None where all clients have the address of one proxy."""
        self._max_connections = max_connections
        self._max_per_address = max_per_address
        self._all: _Group[ConnectionT] = _Group()
        self._by_address: dict[str, _Group[ConnectionT]] = {}
        self._entries: dict[ConnectionT, tuple[str, ConnectionState]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def count(self, state: ConnectionState) -> int:
        """Return the number of connections in a state."""
        return len(self._all.by_state[state])

    def admit(self, connection: ConnectionT, address: str) -> ConnectionT | None:
        """Add a new connection; return the one to be closed, which may be `connection`, or None.

        The connection to be closed is not counted any more.
        """
        owner = client_network(address)
        group = self._by_address.setdefault(owner, _Group())
        loser: ConnectionT | None = None
        if self._max_per_address is not None and len(group) >= self._max_per_address:
            loser = group.longest_waiting() or connection
        elif len(self._all) >= self._max_connections:
            loser = self._all.longest_waiting() or connection
        self._entries[connection] = (owner, ConnectionState.NEW)
        for each in (group, self._all):
            each.by_state[ConnectionState.NEW][connection] = None
        if loser is not None:
            self.remove(loser)
        return loser

    def move(self, connection: ConnectionT, state: ConnectionState) -> None:
        """Note the state of a connection. One that is not counted any more is ignored."""
        entry = self._entries.get(connection)
        if entry is None:
            return
        owner, old = entry
        self._entries[connection] = (owner, state)
        for group in (self._by_address[owner], self._all):
            group.by_state[old].pop(connection, None)
            group.by_state[state][connection] = None

    def remove(self, connection: ConnectionT) -> None:
        """Forget a connection."""
        entry = self._entries.pop(connection, None)
        if entry is None:
            return
        owner, state = entry
        for group in (self._by_address[owner], self._all):
            group.by_state[state].pop(connection, None)
        if not len(self._by_address[owner]):
            del self._by_address[owner]


def client_network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or a network of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_CLIENT_PREFIX), strict=False))
