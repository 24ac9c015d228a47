"""Ids of accounts, keys and alerts."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """Return a unique random id such as `acct_5f2c...`."""
    return f"{prefix}_{secrets.token_hex(8)}"
