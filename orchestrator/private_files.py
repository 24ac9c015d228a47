"""Files that hold secrets: readable by their owner only, and written completely or not at all."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.settings import SettingsError

_PRIVATE_MODE = 0o600
#: Random bytes of a generated secret.
SECRET_BYTES = 32
#: Shortest secret that is accepted from an existing file.
MIN_SECRET_LENGTH = 16


def write_private(path: Path, text: str) -> None:
    """Replace the file atomically by one with mode 0600; a crash leaves the old or the new content.

    The directory must exist. Raises OSError.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_MODE), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    with _open_directory(path.parent) as descriptor:
        os.fsync(descriptor)


def load_or_create_secret(path: Path) -> str:
    """Return the secret in the file, after creating it with a random one if it does not exist.

    Processes that start together get the same secret. Raises SettingsError for an empty or short secret,
    OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open_directory(path.parent) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not path.exists():
            write_private(path, secrets.token_urlsafe(SECRET_BYTES))
        secret = path.read_text().strip()
    if len(secret) < MIN_SECRET_LENGTH:
        raise SettingsError(
            f"{path} holds a secret of {len(secret)} characters, at least {MIN_SECRET_LENGTH} are needed;"
            " delete the file to have a new secret generated at the next start"
        )
    return secret


@contextmanager
def _open_directory(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
