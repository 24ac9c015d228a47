"""Checks out ComfyUI's source at one commit: shallow, repeatable, also from an incomplete local copy."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from comfy_instances.install.commands import (
    OutputCallback,
    SubprocessFailed,
    run_and_read_output,
    run_command,
)

#: File mode of a submodule in the index.
_SUBMODULE_MODE = "160000"


class CheckoutError(Exception):
    """The requested commit cannot be checked out; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """The result of a checkout."""

    commit: str
    #: Files of the commit whose content the origin does not have.
    missing_files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _GitBlob:
    digest: str
    path: str


async def checkout_source(
    directory: Path,
    *,
    origin: str,
    ref: str,
    may_lack: Sequence[str],
    on_output: OutputCallback | None = None,
) -> Checkout:
    """Check out `ref` (a commit, tag or branch) of `origin` (a URL or a path) into `directory`.

    The call can be repeated after an interruption; another commit replaces the files of the earlier one.
    Files that match a pattern in `may_lack` may be missing from a local `origin`. Local changes are never
    overwritten. Raises CheckoutError.
    """
    git = _GitRepository(directory)
    try:
        await git.prepare()
        commit = await _fetch_commit(git, origin, ref, on_output)
        blobs = await git.list_blobs(commit)
        lacks = await _find_missing_files(git, blobs, origin, may_lack)
        await _write_files(git, commit, blobs, lacks)
    except SubprocessFailed as error:
        raise CheckoutError(f"{directory}: {error}") from error
    except OSError as error:
        raise CheckoutError(f"{directory}: {error}") from error
    return Checkout(commit, lacks)


async def read_head_commit(directory: Path) -> str | None:
    """Return the commit that is checked out; None if `directory` is no git checkout."""
    if not (directory / ".git").exists():
        return None
    try:
        return (await run_and_read_output(["git", "-C", str(directory), "rev-parse", "HEAD"])).strip()
    except SubprocessFailed:
        return None


async def list_changed_files(directory: Path) -> list[str]:
    """Return the tracked files that differ from the commit; [] if there is no commit."""
    if await read_head_commit(directory) is None:
        return []
    status = ["git", "-C", str(directory), "status", "--porcelain", "-z", "--untracked-files=no"]
    return [entry[3:] for entry in (await run_and_read_output(status)).split("\0") if entry]


class _GitRepository:
    """Runs git in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def run(self, *args: str, on_output: OutputCallback | None = None) -> None:
        await run_command(["git", "-C", str(self.directory), *args], on_output=on_output)

    async def read_output(self, *args: str, stdin: str = "") -> str:
        return await run_and_read_output(["git", "-C", str(self.directory), *args], stdin=stdin)

    async def prepare(self) -> None:
        """Create the repository if needed; existing files stay. Raises CheckoutError for local changes."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / ".git").exists():
            await self.run("init", "--quiet")
        changed = await list_changed_files(self.directory)
        if changed:
            raise CheckoutError(
                f"{self.directory} has local changes ({', '.join(changed[:5])}): move them elsewhere "
                "or remove the directory, then install again"
            )

    async def has_commit(self, commit: str) -> bool:
        try:
            await self.read_output("cat-file", "-e", f"{commit}^{{commit}}")
        except SubprocessFailed:
            return False
        return True

    async def list_blobs(self, commit: str) -> list[_GitBlob]:
        """Return the files of a commit; submodules are left out."""
        rows = (await self.read_output("ls-tree", "-r", "-z", commit)).split("\0")
        parts = (row.split("\t", 1) for row in rows if row)
        return [_GitBlob(head.split()[2], path) for head, path in parts if head.split()[1] == "blob"]

    async def list_index_files(self) -> set[str]:
        """Return the files of the index; submodules are left out."""
        rows = (await self.read_output("ls-files", "--stage", "-z")).split("\0")
        parts = (row.split("\t", 1) for row in rows if row)
        return {path for head, path in parts if not head.startswith(_SUBMODULE_MODE)}


async def _fetch_commit(git: _GitRepository, origin: str, ref: str, on_output: OutputCallback | None) -> str:
    """Fetch the objects of `ref` and return its commit."""
    if len(ref) == 40 and await git.has_commit(ref):
        return ref
    try:
        await git.run(
            "fetch", "--depth", "1", "--no-tags", "--progress", "--", origin, ref, on_output=on_output
        )
        return (await git.read_output("rev-parse", "FETCH_HEAD^{commit}")).strip()
    except SubprocessFailed as error:
        if not _is_local_directory(origin):
            raise CheckoutError(
                f"cannot fetch {ref} from {origin}: {error.last_output}. If this machine cannot reach it, "
                "give a mirror or a copy of the repository with --source"
            ) from error
    return await _copy_local_objects(git, origin, ref)


def _is_local_directory(origin: str) -> bool:
    return Path(origin).is_dir()


async def _copy_local_objects(git: _GitRepository, origin: str, ref: str) -> str:
    """Copy the object files of a local repository: git itself refuses to serve an incomplete one."""
    source = _GitRepository(Path(origin))
    try:
        commit = (await source.read_output("rev-parse", "--verify", f"{ref}^{{commit}}")).strip()
        objects = Path(origin) / (await source.read_output("rev-parse", "--git-path", "objects")).strip()
    except SubprocessFailed as error:
        raise CheckoutError(f"{origin} has no commit {ref}: {error.last_output}") from error
    target = git.directory / ".git" / "objects"
    await asyncio.to_thread(shutil.copytree, objects, target, dirs_exist_ok=True)
    return commit


async def _find_missing_files(
    git: _GitRepository, blobs: Iterable[_GitBlob], origin: str, may_lack: Sequence[str]
) -> tuple[str, ...]:
    """Return the paths whose content is missing. Raises CheckoutError if a required one is among them."""
    files = list(blobs)
    digests = "".join(f"{digest}\n" for digest in {blob.digest for blob in files})
    output = await git.read_output("cat-file", "--batch-check", stdin=digests)
    missing = {line.split()[0] for line in output.splitlines() if line.endswith(" missing")}
    lacks = tuple(sorted(blob.path for blob in files if blob.digest in missing))
    needed = [path for path in lacks if not any(fnmatch(path, pattern) for pattern in may_lack)]
    if needed:
        raise CheckoutError(f"{origin} is incomplete; missing files ({len(needed)}): {', '.join(needed[:5])}")
    return lacks


async def _write_files(
    git: _GitRepository, commit: str, blobs: Iterable[_GitBlob], missing_files: Sequence[str]
) -> None:
    """Write index and files first and HEAD last, so that an interrupted checkout is repeated."""
    before = await git.list_index_files()
    await git.run("read-tree", "--reset", commit)
    if missing_files:
        await git.read_output(
            "update-index", "--skip-worktree", "-z", "--stdin", stdin="\0".join(missing_files) + "\0"
        )
    await git.run("checkout-index", "--all", "--force", "--quiet")
    _delete_files(git.directory, before - {blob.path for blob in blobs})
    await git.run("update-ref", "--no-deref", "HEAD", commit)


def _delete_files(directory: Path, paths: Iterable[str]) -> None:
    """Delete files and the folders that become empty."""
    for path in paths:
        (directory / path).unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for folder in list(Path(path).parents)[:-1]:
                (directory / folder).rmdir()
