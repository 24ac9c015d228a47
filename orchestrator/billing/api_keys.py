"""API keys: made once, shown once, kept as a hash."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable

API_KEY_PREFIX = "pk-"
RANDOM_BYTES = 32
#: Characters of the secret part that may be shown again.
_VISIBLE_CHARACTERS = 4


def generate_api_key(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """`pk-` and 32 random bytes in URL-safe base64 without padding."""
    return API_KEY_PREFIX + base64.urlsafe_b64encode(random_bytes(RANDOM_BYTES)).rstrip(b"=").decode("ascii")


def hash_api_key(key: str) -> str:
    """SHA-256 in hexadecimal: what is stored. The key is random enough to need no salt or stretching."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def verify_api_key(key: str, stored_hash: str) -> bool:
    """Whether a key has this digest, in time that does not depend on where they differ."""
    return hmac.compare_digest(hash_api_key(key), stored_hash)


def api_key_prefix(key: str) -> str:
    """The prefix by which an owner knows a key: `pk-Ab3d`."""
    return key[: len(API_KEY_PREFIX) + _VISIBLE_CHARACTERS]


def mask_api_key(prefix: str) -> str:
    """A prefix as it is displayed: `pk-Ab3d...`."""
    return f"{prefix}..."
