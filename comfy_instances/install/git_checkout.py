"""ComfyUI's source by git, at one commit: shallow, repeatable, and from a mirror with holes if need be."""

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


class CheckoutError(Exception):
    """The source can not be brought to the wanted commit; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """What lies in the source directory now."""

    commit: str
    #: Files of the commit that the source we took it from does not have.
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
    """Bring `directory` to `ref` (a commit, tag or branch) of `origin` (a URL or a path).

    May be repeated after any interruption; another commit than before replaces the files of the earlier one.
    Files that match a pattern in `may_lack` may be missing from an `origin` on this machine. Raises
    CheckoutError; local changes are never overwritten.
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
    """The commit that is checked out; None where that is not known."""
    if not (directory / ".git").exists():
        return None
    try:
        return (await run_and_read_output(["git", "-C", str(directory), "rev-parse", "HEAD"])).strip()
    except SubprocessFailed:
        return None


async def list_changed_files(directory: Path) -> list[str]:
    """Tracked files that differ from the commit; [] where there is no commit."""
    if await read_head_commit(directory) is None:
        return []
    status = ["git", "-C", str(directory), "status", "--porcelain", "-z", "--untracked-files=no"]
    return [entry[3:] for entry in (await run_and_read_output(status)).split("\0") if entry]


class _GitRepository:
    """git in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def run(self, *args: str, on_output: OutputCallback | None = None) -> None:
        await run_command(["git", "-C", str(self.directory), *args], on_output=on_output)

    async def read_output(self, *args: str, stdin: str = "") -> str:
        return await run_and_read_output(["git", "-C", str(self.directory), *args], stdin=stdin)

    async def prepare(self) -> None:
        """Make the repository; files that lie there already are taken over."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / ".git").exists():
            await self.run("init", "--quiet")
        changed = await list_changed_files(self.directory)
        if changed:
            raise CheckoutError(
                f"{self.directory} has local changes ({', '.join(changed[:5])}): keep them elsewhere, "
                "or remove the directory, then install again"
            )

    async def has_commit(self, commit: str) -> bool:
        try:
            await self.read_output("cat-file", "-e", f"{commit}^{{commit}}")
        except SubprocessFailed:
            return False
        return True

    async def list_blobs(self, commit: str) -> list[_GitBlob]:
        rows = (await self.read_output("ls-tree", "-r", "-z", commit)).split("\0")
        parts = (row.split("\t", 1) for row in rows if row)
        return [_GitBlob(head.split()[2], path) for head, path in parts if head.split()[1] == "blob"]


async def _fetch_commit(git: _GitRepository, origin: str, ref: str, on_output: OutputCallback | None) -> str:
    """Have the objects of `ref`; returns its commit."""
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
                f"cannot fetch {ref} from {origin}: {error.last_output}. Without a way to it, name a mirror "
                "or a copy of the repository with --source"
            ) from error
    return await _copy_local_objects(git, origin, ref)


def _is_local_directory(origin: str) -> bool:
    return Path(origin).is_dir()


async def _copy_local_objects(git: _GitRepository, origin: str, ref: str) -> str:
    """Copy the objects of a repository on this machine as they are: git gives out no incomplete ones."""
    theirs = _GitRepository(Path(origin))
    try:
        commit = (await theirs.read_output("rev-parse", "--verify", f"{ref}^{{commit}}")).strip()
        objects = Path(origin) / (await theirs.read_output("rev-parse", "--git-path", "objects")).strip()
    except SubprocessFailed as error:
        raise CheckoutError(f"{origin} has no commit {ref}: {error.last_output}") from error
    ours = git.directory / ".git" / "objects"
    await asyncio.to_thread(shutil.copytree, objects, ours, dirs_exist_ok=True)
    return commit


async def _find_missing_files(
    git: _GitRepository, blobs: Iterable[_GitBlob], origin: str, may_lack: Sequence[str]
) -> tuple[str, ...]:
    """Paths without content. Raises CheckoutError where one of them is needed."""
    paths = {blob.digest: blob.path for blob in blobs}
    answer = await git.read_output("cat-file", "--batch-check", stdin="\n".join(paths) + "\n")
    missing = {line.split()[0] for line in answer.splitlines() if line.endswith(" missing")}
    lacks = tuple(sorted(paths[digest] for digest in missing))
    needed = [path for path in lacks if not any(fnmatch(path, pattern) for pattern in may_lack)]
    if needed:
        raise CheckoutError(f"{origin} is incomplete, it lacks {', '.join(needed[:5])} ({len(needed)} files)")
    return lacks


async def _write_files(
    git: _GitRepository, commit: str, blobs: Iterable[_GitBlob], missing_files: Sequence[str]
) -> None:
    """Index and files first, HEAD last: what was interrupted is simply done again."""
    before = (await git.read_output("ls-files", "-z")).split("\0")
    await git.run("read-tree", "--reset", commit)
    if missing_files:
        await git.read_output(
            "update-index", "--skip-worktree", "--stdin", stdin="\n".join(missing_files) + "\n"
        )
    await git.run("checkout-index", "--all", "--force", "--quiet")
    _delete_files(git.directory, {path for path in before if path} - {blob.path for blob in blobs})
    await git.run("update-ref", "--no-deref", "HEAD", commit)


def _delete_files(directory: Path, paths: Iterable[str]) -> None:
    """Delete files, and the folders that are empty then."""
    for path in paths:
        (directory / path).unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for folder in list(Path(path).parents)[:-1]:
                (directory / folder).rmdir()
