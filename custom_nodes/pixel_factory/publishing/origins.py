"""Find out from which repository and commit the node packs of a graph were installed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from configparser import ConfigParser
from configparser import Error as ConfigError
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

_SCP_ADDRESS = re.compile(r"(?:[^@/]+@)?([^:/]+):(.+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: Our own pack: its parameter nodes are replaced, and instances of the service have it.
_OWN_FOLDER = Path(__file__).resolve().parents[1]


def find_pack_origins(class_types: Iterable[str]) -> list[dict[str, str]]:
    """Return `{"id", "url", "commit"}` of each pack that has one of the classes; empty texts if unknown."""
    mappings = import_module("nodes").NODE_CLASS_MAPPINGS
    modules = {getattr(mappings.get(name), "RELATIVE_PYTHON_MODULE", "") for name in class_types}
    loaded = import_module("nodes").LOADED_MODULE_DIRS
    names = sorted(
        name for module in modules if (name := str(module).removeprefix("custom_nodes.")) != str(module)
    )
    found = []
    for name in names:
        folder = Path(loaded.get(name, "")) if name in loaded else None
        if folder is not None and folder.resolve() == _OWN_FOLDER:
            continue
        url, commit = ("", "") if folder is None else read_git_origin(folder)
        found.append({"id": name, "url": url, "commit": commit})
    return found


def read_git_origin(folder: Path) -> tuple[str, str]:
    """Return the URL and the commit of a checkout, read without running git; empty texts if unknown."""
    directory = _git_directory(folder)
    if directory is None:
        return "", ""
    common = _common_directory(directory)
    return _read_url(common), _read_commit(directory, common)


def _git_directory(folder: Path) -> Path | None:
    entry = folder / ".git"
    if entry.is_dir():
        return entry
    try:
        target = entry.read_text("utf-8").strip().removeprefix("gitdir:").strip()
    except (OSError, UnicodeDecodeError):
        return None
    directory = (folder / target).resolve()
    return directory if directory.is_dir() else None


def _common_directory(directory: Path) -> Path:
    """Return the directory with branches and settings, which worktrees share."""
    try:
        return (directory / (directory / "commondir").read_text("utf-8").strip()).resolve()
    except (OSError, UnicodeDecodeError):
        return directory


def _read_url(directory: Path) -> str:
    parser = ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read(directory / "config", "utf-8")
        return web_address(parser.get('remote "origin"', "url"))
    except (ConfigError, UnicodeDecodeError):
        return ""


def web_address(address: str) -> str:
    """Return the https URL of a repository without credentials; an empty text if it has none."""
    parts = urlsplit(address)
    if parts.scheme in ("http", "https", "ssh", "git") and parts.hostname:
        return f"https://{parts.hostname}{parts.path}"
    scp = _SCP_ADDRESS.fullmatch(address)
    return f"https://{scp[1]}/{scp[2]}" if scp and not parts.scheme else ""


def _read_commit(directory: Path, common: Path) -> str:
    try:
        head = (directory / "HEAD").read_text("utf-8").strip()
        if not head.startswith("ref: "):
            return head if _COMMIT.fullmatch(head) else ""
        name = head.removeprefix("ref: ")
        ref = common / name
        text = ref.read_text("utf-8").strip() if ref.is_file() else _read_packed_ref(common, name)
    except (OSError, UnicodeDecodeError):
        return ""
    return text if _COMMIT.fullmatch(text) else ""


def _read_packed_ref(directory: Path, name: str) -> str:
    for line in (directory / "packed-refs").read_text("utf-8").splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return commit
    return ""
