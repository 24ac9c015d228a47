"""Health check of a container: python probe.py [PORT [PATH]].

It exits with 0 if GET PATH (`/healthz`) at PORT of this machine responds with 200. PORT is PIXELFACTORY_PORT
by default, or 8080, as in the service.
"""

from __future__ import annotations

import os
import sys
import urllib.request

#: Docker ends a check that takes longer than the image allows.
TIMEOUT_SECONDS = 4


def main(port: str = os.environ.get("PIXELFACTORY_PORT", "8080"), path: str = "/healthz") -> int:
    """Return the exit status. Raises OSError if there is no connection, or for another status."""
    with urllib.request.urlopen(f"http://127.0.0.1:{int(port)}{path}", timeout=TIMEOUT_SECONDS) as response:
        return int(response.status != 200)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
