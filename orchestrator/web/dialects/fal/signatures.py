"""Signatures of fal's webhooks: Ed25519 over ids, time and digest of the body, verified by a public key."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.jobs import JobRecord
from orchestrator.web.dialects.ids import job_id_to_uuid


@dataclass(frozen=True, slots=True)
class FalWebhookSigner:
    """Signs with a key that follows from a secret, so that all processes have the same one."""

    secret: str = field(repr=False)

    def headers(self, record: JobRecord, body: bytes, now: datetime) -> Mapping[str, str]:
        """Return the headers of a webhook about a request."""
        request_id, user_id = job_id_to_uuid(record.job.id), record.job.account_id
        timestamp = str(int(now.timestamp()))
        message = "\n".join((request_id, user_id, timestamp, hashlib.sha256(body).hexdigest()))
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user_id,
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": self._key().sign(message.encode()).hex(),
        }

    def public_keys(self) -> list[dict[str, Any]]:
        """Return the public key as JSON Web Keys."""
        raw = self._key().public_key().public_bytes_raw()
        encoded = base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")
        id = hashlib.sha256(raw).hexdigest()[:16]
        return [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": id, "x": encoded}]

    def _key(self) -> Ed25519PrivateKey:
        key = self.secret.encode("utf-8", "surrogatepass")
        return Ed25519PrivateKey.from_private_bytes(hmac.digest(key, b"fal webhooks", hashlib.sha256))
