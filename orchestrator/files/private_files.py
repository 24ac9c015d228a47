"""Files that hold secrets: readable by their owner only, and written completely or not at all."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.logs import hide_secret
from orchestrator.secret_strength import find_weakness
from orchestrator.setting_errors import SettingsError

log = logging.getLogger(__name__)

_PRIVATE_MODE, _PRIVATE_DIRECTORY_MODE = 0o600, 0o700
_OTHERS = 0o077
#: Random bytes of a generated secret.
SECRET_BYTES = 32


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

    Processes that start together get the same secret. Raises SettingsError for an empty, short or
    damaged secret, OSError.
    """
    create_private_directories(path.parent)
    with _open_directory(path.parent) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not path.exists():
            write_private(path, secrets.token_urlsafe(SECRET_BYTES))
        # A byte that is no text becomes a character that is refused below.
        secret = path.read_text("utf-8", errors="replace").strip()
    hide_secret(secret)
    if weakness := find_weakness(secret):
        raise SettingsError(
            f"{path} holds a secret that {weakness};"
            " delete the file to have a new secret generated at the next start"
        )
    return secret


def create_private_directories(directory: Path) -> None:
    """Create a directory and its parents for their owner only, whatever the umask.

    Existing ones stay as they are. Raises OSError.
    """
    for missing in reversed([path for path in (directory, *directory.parents) if not path.exists()]):
        with suppress(FileExistsError):  # another process was faster
            missing.mkdir(_PRIVATE_DIRECTORY_MODE)


def make_private_directory(directory: Path) -> None:
    """Create a directory for its owner only, or take the access of other users to an existing one away.

    Its parents are created in the same way and left as they are if they exist. Raises SettingsError for a
    directory that all users share, such as /tmp, OSError.
    """
    create_private_directories(directory)
    if directory.stat().st_mode & stat.S_ISVTX:
        raise SettingsError(f"{directory} is shared by all users; choose a directory below it")
    _remove_access(directory)


def make_tree_private(directory: Path) -> None:
    """Take the access of other users to a directory and everything in it away. Links are not followed.

    Files that cannot be changed, because another user owns them, are logged. Raises OSError.
    """
    _remove_access(directory)
    for folder, _, names in os.walk(directory):
        for name in ("", *names):
            _remove_access(Path(folder, name))


def make_file_private(path: Path, *, create: bool = False) -> None:
    """Take the access of other users to a file away; with `create`, create it if it does not exist.

    A missing file is no error. Raises OSError.
    """
    if create:
        create_private_directories(path.parent)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, _PRIVATE_MODE))
    _remove_access(path)


def write_output_file(path: Path, content: bytes) -> None:
    """Write a file with the results of a command, which other users cannot read unless it existed already.

    The directory must exist. Raises OSError.
    """
    with open(path, "wb", opener=_open_private) as file:
        file.write(content)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, _PRIVATE_MODE)


def _remove_access(path: Path) -> None:
    try:
        status = path.lstat()
        if status.st_mode & _OTHERS and not stat.S_ISLNK(status.st_mode):
            path.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)
    except FileNotFoundError:
        return
    except PermissionError as error:
        log.warning("other users of this machine can access %s: %s", path, error)


@contextmanager
def _open_directory(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
