"""Finds the commit of a release that a registry of packs has, and the repository has no tag for.

A registry takes a release from the commit that sets its number in `pyproject.toml`.
"""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from comfy_instances.install.commands import SubprocessFailed, run_and_read_output

_RELEASE = re.compile(r"v?\d+(?:\.\d+)+[0-9A-Za-z.+-]*")
_FILE = "pyproject.toml"
#: Commits that changed the file, newest first, which are looked at.
_MAX_COMMITS = 2000


def is_release(ref: str) -> bool:
    """Return whether a version looks like the number of a release."""
    return _RELEASE.fullmatch(ref) is not None


async def find_release(origin: str, release: str) -> str | None:
    """Return the first commit of the main line that has the number in its `pyproject.toml`.

    Raises SubprocessFailed if the history cannot be read.
    """
    with TemporaryDirectory(prefix="pixelfactory-pack-history-") as name:
        history = Path(name) / "history.git"
        command = ["git", "clone", "--quiet", "--bare", "--filter=blob:none", "--", origin, str(history)]
        await run_and_read_output(command)
        return await _search(history, release.removeprefix("v"))


async def _search(history: Path, release: str) -> str | None:
    git = ["git", "-C", str(history)]
    limit = f"--max-count={_MAX_COMMITS}"
    log = await run_and_read_output(
        [*git, "log", "--first-parent", limit, "--format=%H", "HEAD", "--", _FILE]
    )
    found = None
    for commit in log.split():
        text = ""
        with suppress(SubprocessFailed):  # deleted here
            text = await run_and_read_output([*git, "show", f"{commit}:{_FILE}"])
        if _read_number(text) == release:
            found = commit
        elif found is not None:
            return found
    return found


def _read_number(text: str) -> str:
    try:
        return str(tomllib.loads(text).get("project", {}).get("version", ""))
    except (tomllib.TOMLDecodeError, AttributeError):
        return ""
