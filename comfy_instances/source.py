"""ComfyUI's source by git, at one commit: shallow, repeatable, and from a mirror with holes if need be."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from comfy_instances.commands import CommandFailed, Hear, output_of, run


class SourceError(Exception):
    """The source can not be brought to the wanted commit; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """What lies in the source directory now."""

    commit: str
    #: Files of the commit that the source we took it from does not have.
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Blob:
    digest: str
    path: str


async def check_out(
    directory: Path, *, origin: str, ref: str, may_lack: Sequence[str], hear: Hear | None = None
) -> Checkout:
    """Bring `directory` to `ref` (a commit, tag or branch) of `origin` (a URL or a path).

    May be repeated after any interruption; another commit than before replaces the files of the earlier one.
    Files that match a pattern in `may_lack` may be missing from an `origin` on this machine. Raises
    SourceError; local changes are never overwritten.
    """
    git = _Git(directory)
    try:
        await git.begin()
        commit = await _obtain(git, origin, ref, hear)
        blobs = await git.blobs(commit)
        lacks = await _holes(git, blobs, origin, may_lack)
        await _write_files(git, commit, blobs, lacks)
    except CommandFailed as error:
        raise SourceError(f"{directory}: {error}") from error
    except OSError as error:
        raise SourceError(f"{directory}: {error}") from error
    return Checkout(commit, lacks)


async def commit_of(directory: Path) -> str | None:
    """The commit that is checked out; None where that is not known."""
    if not (directory / ".git").exists():
        return None
    try:
        return (await output_of(["git", "-C", str(directory), "rev-parse", "HEAD"])).strip()
    except CommandFailed:
        return None


async def changed_files(directory: Path) -> list[str]:
    """Tracked files that differ from the commit; [] where there is no commit."""
    if await commit_of(directory) is None:
        return []
    status = ["git", "-C", str(directory), "status", "--porcelain", "-z", "--untracked-files=no"]
    return [entry[3:] for entry in (await output_of(status)).split("\0") if entry]


class _Git:
    """git in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def run(self, *words: str, hear: Hear | None = None) -> None:
        await run(["git", "-C", str(self.directory), *words], hear=hear)

    async def ask(self, *words: str, given: str = "") -> str:
        return await output_of(["git", "-C", str(self.directory), *words], given=given)

    async def begin(self) -> None:
        """Make the repository; files that lie there already are taken over."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / ".git").exists():
            await self.run("init", "--quiet")
        changed = await changed_files(self.directory)
        if changed:
            raise SourceError(
                f"{self.directory} has local changes ({', '.join(changed[:5])}): keep them elsewhere, "
                "or remove the directory, then install again"
            )

    async def has(self, commit: str) -> bool:
        try:
            await self.ask("cat-file", "-e", f"{commit}^{{commit}}")
        except CommandFailed:
            return False
        return True

    async def blobs(self, commit: str) -> list[_Blob]:
        rows = (await self.ask("ls-tree", "-r", "-z", commit)).split("\0")
        parts = (row.split("\t", 1) for row in rows if row)
        return [_Blob(head.split()[2], path) for head, path in parts if head.split()[1] == "blob"]


async def _obtain(git: _Git, origin: str, ref: str, hear: Hear | None) -> str:
    """Have the objects of `ref`; returns its commit."""
    if len(ref) == 40 and await git.has(ref):
        return ref
    try:
        await git.run("fetch", "--depth", "1", "--no-tags", "--progress", "--", origin, ref, hear=hear)
        return (await git.ask("rev-parse", "FETCH_HEAD^{commit}")).strip()
    except CommandFailed as error:
        if not _is_here(origin):
            raise SourceError(
                f"cannot fetch {ref} from {origin}: {error.last}. Without a way to it, name a mirror or a "
                "copy of the repository with --source"
            ) from error
    return await _borrow(git, origin, ref)


def _is_here(origin: str) -> bool:
    return Path(origin).is_dir()


async def _borrow(git: _Git, origin: str, ref: str) -> str:
    """Copy the objects of a repository on this machine as they are: git gives out no incomplete ones."""
    theirs = _Git(Path(origin))
    try:
        commit = (await theirs.ask("rev-parse", "--verify", f"{ref}^{{commit}}")).strip()
        objects = Path(origin) / (await theirs.ask("rev-parse", "--git-path", "objects")).strip()
    except CommandFailed as error:
        raise SourceError(f"{origin} has no commit {ref}: {error.last}") from error
    ours = git.directory / ".git" / "objects"
    await asyncio.to_thread(shutil.copytree, objects, ours, dirs_exist_ok=True)
    return commit


async def _holes(git: _Git, blobs: Iterable[_Blob], origin: str, may_lack: Sequence[str]) -> tuple[str, ...]:
    """Paths without content. Raises SourceError where one of them is needed."""
    paths = {blob.digest: blob.path for blob in blobs}
    answer = await git.ask("cat-file", "--batch-check", given="\n".join(paths) + "\n")
    missing = {line.split()[0] for line in answer.splitlines() if line.endswith(" missing")}
    lacks = tuple(sorted(paths[digest] for digest in missing))
    needed = [path for path in lacks if not any(fnmatch(path, pattern) for pattern in may_lack)]
    if needed:
        raise SourceError(f"{origin} is incomplete, it lacks {', '.join(needed[:5])} ({len(needed)} files)")
    return lacks


async def _write_files(git: _Git, commit: str, blobs: Iterable[_Blob], lacks: Sequence[str]) -> None:
    """Index and files first, HEAD last: what was interrupted is simply done again."""
    before = (await git.ask("ls-files", "-z")).split("\0")
    await git.run("read-tree", "--reset", commit)
    if lacks:
        await git.ask("update-index", "--skip-worktree", "--stdin", given="\n".join(lacks) + "\n")
    await git.run("checkout-index", "--all", "--force", "--quiet")
    _remove(git.directory, {path for path in before if path} - {blob.path for blob in blobs})
    await git.run("update-ref", "--no-deref", "HEAD", commit)


def _remove(directory: Path, paths: Iterable[str]) -> None:
    """Delete files, and the folders that are empty then."""
    for path in paths:
        (directory / path).unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for folder in list(Path(path).parents)[:-1]:
                (directory / folder).rmdir()
