"""What one client may take from the server: time, connections and bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

#: Longest time between two checks of the deadlines, in seconds.
MAX_CHECK_INTERVAL_SECONDS = 1.0
#: Checks per time limit: how exactly a limit is kept.
CHECKS_PER_LIMIT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerLimits:
    """Limits of the HTTP server. Times are in seconds."""

    #: Open connections in total, and from one client address.
    max_connections: int = 4096
    max_connections_per_address: int = 1024
    #: Time in which the header of a request must arrive.
    header_seconds: float = 10.0
    #: Time in which a body must arrive, apart from what its size allows at the minimum rate; also the longest
    #: silence within a body.
    body_seconds: float = 30.0
    #: Minimum rate of a body.
    body_bytes_per_second: int = 4096
    #: Time for which a connection may stay open between two requests.
    keepalive_seconds: float = 75.0
    #: Time after which a client that does not take what is sent to it is disconnected.
    write_seconds: float = 60.0

    @property
    def check_interval_seconds(self) -> float:
        """Time between two checks of the deadlines."""
        return min(MAX_CHECK_INTERVAL_SECONDS, min(self.header_seconds, self.body_seconds) / CHECKS_PER_LIMIT)

    def allowed_body_seconds(self, received_bytes: int) -> float:
        """Return how long a body may take of which `received_bytes` have arrived."""
        return self.body_seconds + received_bytes / self.body_bytes_per_second
