"""Ports for servers that a test stops and starts again."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from functools import lru_cache
from pathlib import Path

from comfy_instances.process.child import find_free_port

#: Below the ports of embedded S3 servers (from 12000) and those that `find_free_port` tries first, and
#: without the default port of the service.
PORTS = range(2_000, 8_000)
#: `fetch` in browsers and in Node.js opens no connection to these ("bad port" of the Fetch standard).
BLOCKED_BY_FETCH = frozenset(
    (2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697)
)
#: The byte of a port in this file is locked by the process whose tests use the port.
LOCK_FILE = Path(tempfile.gettempdir()) / f"pixelfactory-test-ports-{os.getuid()}"


def find_lasting_port() -> int:
    """Return a free TCP port that no other process of tests gets before this one ends.

    A service binds its port a second after it was chosen, and a real ComfyUI takes up to a minute to start on
    a loaded machine. Meanwhile the port is free, and the other workers of the run start hundreds of servers.
    """
    while True:
        preferred = secrets.choice([port for port in PORTS if port not in BLOCKED_BY_FETCH])
        port = find_free_port(preferred=preferred)
        if reserve_port(port):
            return port


def reserve_port(port: int) -> bool:
    """Lock a port until this process ends. False if it has been reserved before, here or elsewhere."""
    file, own = _lock_file(os.getpid())
    if port in own:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    own.add(port)
    return True


@lru_cache(maxsize=1)
def _lock_file(process: int) -> tuple[int, set[int]]:
    """Open the file, and return it with the ports that `process`, this one, has reserved.

    Locks are not inherited by forked processes, which open the file anew.
    """
    return os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600), set()
