"""Which texts do as secrets that protect the service."""

from __future__ import annotations

#: Shortest secret that protects the service itself.
MIN_SECRET_LENGTH = 16


def find_weakness(secret: str) -> str | None:
    """Return why a text does not do as a secret that protects the service, or None."""
    if len(secret) < MIN_SECRET_LENGTH:
        return f"has {len(secret)} characters, at least {MIN_SECRET_LENGTH} are needed"
    if not (secret.isascii() and secret.isprintable()):
        # A damaged file may be full of zeros, which anybody can send in JSON.
        return "has characters that are not printable ASCII"
    return None
