"""Encryption of secrets that the service must be able to read again, such as webhook signing secrets."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestrator.files.private_files import load_or_create_secret

#: Name of the key file in the data directory.
KEY_FILE_NAME = "database-key"
#: The setting that replaces it.
KEY_SETTING = "PIXELFACTORY_DATABASE_KEY"
#: Begins every encrypted text, and no secret of ours.
_PREFIX = "aes256gcm:"
_NONCE_BYTES = 12


class SecretUnreadable(Exception):
    """An encrypted secret cannot be decrypted with the key file."""


class SecretBox:
    """Encrypts and decrypts texts with the key of the settings or of a file (AES-256-GCM).

    Each text belongs to an owner, such as an account; it cannot be decrypted for another one.
    """

    def __init__(self, key_file: Path, key: str | None = None) -> None:
        """With `key`, the file is not used. Otherwise it is created if it does not exist.

        Raises SettingsError for a damaged file, OSError.
        """
        self._key_name = str(key_file) if key is None else KEY_SETTING
        key = load_or_create_secret(key_file) if key is None else key
        self._cipher = AESGCM(hashlib.sha256(key.encode()).digest())

    def encrypt(self, text: str, owner: str) -> str:
        """Return the encrypted text, different each time."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), owner.encode())
        return _PREFIX + urlsafe_b64encode(nonce + sealed).decode()

    def decrypt(self, text: str, owner: str) -> str:
        """Return the text that was encrypted for this owner. Raises SecretUnreadable."""
        try:
            sealed = urlsafe_b64decode(text.removeprefix(_PREFIX))
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SecretUnreadable(
                f"a secret in the database cannot be decrypted: {self._key_name} is not the key that it was"
                f" encrypted with; put the file {KEY_FILE_NAME} back, for example from a backup, or set"
                f" {KEY_SETTING} to its content; or delete the rows of the table signing_secrets, after which"
                " accounts get new signing secrets"
            ) from error


def is_encrypted(text: str) -> bool:
    """Return whether a text was returned by `SecretBox.encrypt`."""
    return text.startswith(_PREFIX)
