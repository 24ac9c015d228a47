"""Where the service is, and the key for it. The key never leaves ComfyUI's side.

Both come from the environment, or from a file in a folder of ComfyUI's user directory that its server does
not offer to pages.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

URL_VARIABLE = "PIXELFACTORY_URL"
KEY_VARIABLE = "PIXELFACTORY_PUBLISH_KEY"
#: Names a file with the key, for secrets that are mounted as files.
KEY_FILE_VARIABLE = "PIXELFACTORY_PUBLISH_KEY_FILE"
_FILE_NAME = "settings.json"


class NotConfigured(Exception):
    """The service or the key is not set; the text says how to set them."""


@dataclass(frozen=True, slots=True)
class ServiceConnection:
    """An address and a key."""

    url: str
    key: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def private_directory() -> Path:
    """Return the pack's folder in ComfyUI's user directory, which its server does not offer to pages."""
    folder_paths = import_module("folder_paths")
    if hasattr(folder_paths, "get_system_user_directory"):
        return Path(folder_paths.get_system_user_directory("pixel_factory"))
    return Path(folder_paths.get_user_directory(), "__pixel_factory")


def settings_file() -> Path:
    return private_directory() / _FILE_NAME


def read_connection() -> ServiceConnection:
    """Return the configured service. Raises NotConfigured."""
    stored = _read_file(settings_file())
    url = os.environ.get(URL_VARIABLE) or stored.get("url", "")
    key = _key_from_environment() or stored.get("key", "")
    if not url or not key:
        missing = " and ".join(name for name, value in (("address", url), ("key", key)) if not value)
        raise NotConfigured(
            f"The {missing} of the service is not set. Set {URL_VARIABLE} and {KEY_VARIABLE} in ComfyUI's"
            f' environment, or write {{"url": "https://...", "key": "pk-..."}} into {settings_file()}. The'
            " command `pixelfactory keys create --scope publish --scope generate --scope read` creates a key."
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotConfigured(f"The address of the service must be an http or https URL (got {url[:100]!r}).")
    return ServiceConnection(url.rstrip("/"), key)


def describe_risk() -> str:
    """Return a warning if other users of the machine can read the key; else an empty text."""
    try:
        mode = settings_file().stat().st_mode
    except OSError:
        return ""
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        return f"Other users of this machine can read the key; run: chmod 600 {settings_file()}"
    return ""


def _key_from_environment() -> str:
    if key := os.environ.get(KEY_VARIABLE):
        return key.strip()
    file = os.environ.get(KEY_FILE_VARIABLE)
    if not file:
        return ""
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise NotConfigured(f"{KEY_FILE_VARIABLE} names a file that cannot be read: {error}") from error


def _read_file(file: Path) -> dict[str, str]:
    try:
        stored = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise NotConfigured(f"{file} cannot be read: {error}") from error
    if not isinstance(stored, dict):
        raise NotConfigured(f'{file} must be an object such as {{"url": "https://...", "key": "pk-..."}}.')
    return {name: str(value) for name, value in stored.items()}
