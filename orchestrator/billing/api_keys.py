"""API keys: generation, hashing and display."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime

from orchestrator.billing.values import ApiKey
from orchestrator.errors import InvalidRequest

API_KEY_PREFIX = "pk-"
#: Prefix by which clients of PixelAPI recognise a key; it stands for ours.
PIXELAPI_KEY_PREFIX = "pk_live_"
RANDOM_BYTES = 32
#: Characters of the secret part that may be shown again.
_VISIBLE_CHARACTERS = 4


def generate_api_key(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """Return `pk-` and 32 random bytes in URL-safe base64 without padding."""
    return API_KEY_PREFIX + base64.urlsafe_b64encode(random_bytes(RANDOM_BYTES)).rstrip(b"=").decode("ascii")


def normalize_api_key(key: str) -> str:
    """Return a key as it was issued: `pk_live_SECRET` is `pk-SECRET`."""
    if key.startswith(PIXELAPI_KEY_PREFIX):
        return API_KEY_PREFIX + key.removeprefix(PIXELAPI_KEY_PREFIX)
    return key


def hash_api_key(key: str) -> str:
    """Return the stored SHA-256, hexadecimal. The key is random, so it needs no salt or stretching."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def verify_api_key(key: str, stored_hash: str) -> bool:
    """Compare a key with a stored hash in constant time."""
    return hmac.compare_digest(hash_api_key(key), stored_hash)


def api_key_prefix(key: str) -> str:
    """Return the first characters of a key for display: `pk-Ab3d`."""
    return key[: len(API_KEY_PREFIX) + _VISIBLE_CHARACTERS]


def check_active_keys(keys: Iterable[ApiKey], max_active: int | None, now: datetime) -> None:
    """Check that an account with these keys may add one. Raises InvalidRequest (`too_many_keys`)."""
    if max_active is not None and sum(key.is_usable(now) for key in keys) >= max_active:
        raise InvalidRequest(
            f"An account can have at most {max_active} active keys; revoke one first.", code="too_many_keys"
        )


def mask_api_key(prefix: str) -> str:
    """Format a prefix for display: `pk-Ab3d...`."""
    return f"{prefix}..."
