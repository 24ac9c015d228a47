"""Ports for servers that a test stops and starts again."""

from __future__ import annotations

import secrets

from comfy_instances.process.child import find_free_port

#: Below the ports of embedded S3 servers (from 12000) and those that `find_free_port` tries first, and
#: without the default port of the service.
PORTS = range(2_000, 8_000)
#: `fetch` in browsers and in Node.js opens no connection to these ("bad port" of the Fetch standard).
BLOCKED_BY_FETCH = frozenset(
    (2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697)
)


def find_lasting_port() -> int:
    """Return a free TCP port that is hardly ever chosen by other tests while its server is down.

    A real ComfyUI takes up to a minute to start on a loaded machine. Meanwhile its port is free, and the
    other workers of the run start hundreds of servers on the ports of `find_free_port`, and S3 servers with
    ten ports each.
    """
    return find_free_port(preferred=secrets.choice([port for port in PORTS if port not in BLOCKED_BY_FETCH]))
