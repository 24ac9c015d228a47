"""Who runs a command, for logs of changes."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """Return who runs a command; `unknown` for a container's user without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
