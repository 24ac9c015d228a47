"""Finds and fetches the repositories of node packs: from their URL, a mirror, or a folder."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from comfy_instances.install.commands import (
    OutputCallback,
    SubprocessFailed,
    run_and_read_output,
    run_command,
)
from comfy_instances.install.git_checkout import (
    CheckoutError,
    checkout_source,
    list_changed_files,
    read_head_commit,
)
from comfy_instances.install.packs.errors import PackError
from comfy_instances.install.packs.lock_file import PackPin, check_pack_name
from comfy_instances.install.packs.releases import find_release, is_release
from comfy_instances.process.installed_packs import source_directory

DEFAULT_REF = "HEAD"
URL_SCHEMES = ("https", "http", "ssh", "git", "file")
#: Files that a mirror may lack: no pack reads them when it is imported.
MAY_LACK = (
    "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.svg", "*.mp4", "*.webm", "*.mp3", "*.wav",
    "*.ttf", "*.otf", "*.pt", "*.pth", "*.bin", "*.onnx", "*.task", "*.safetensors", "*.md", "*.ipynb",
    "*tokenizer*/*", "*tokenizer*.json", "*tokenizer*.model", "*workflow*/*", "*example*/*",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PackAddress:
    """Where a pack's repository is, and which of its versions is wanted."""

    url: str
    ref: str = DEFAULT_REF

    @property
    def name(self) -> str:
        """Return the name of the repository."""
        return self.url.rstrip("/").rpartition("/")[2].removesuffix(".git")


def parse_pack_address(text: str) -> PackAddress:
    """Return the address that `URL[@REF]` or `PATH[@REF]` names. Raises PackError."""
    url, ref = text.strip(), DEFAULT_REF
    head, _, tail = url.rpartition("@")
    # An @ before the path belongs to a user name, as in ssh://git@host/owner/name.
    if "/" in head and not head.endswith("//") and urlsplit(head).path.strip("/"):
        url, ref = head, tail
    parts = urlsplit(url)
    if not ref or ref.startswith("-"):
        raise PackError(f"{text!r} has no valid version after `@`: give a branch, a tag or a commit")
    if parts.scheme in URL_SCHEMES:
        if parts.password or (parts.username and parts.scheme != "ssh"):
            raise PackError(
                "the URL of a pack must not contain a user name or password: use git's credentials"
            )
        return PackAddress(url.rstrip("/"), ref)
    if parts.scheme == "" and Path(url).is_dir():
        return PackAddress(str(Path(url).resolve()), ref)
    raise PackError(
        f"{text!r} is no repository: give URL[@REF] with {', '.join(URL_SCHEMES)}, or an existing folder"
    )


def mirrored_origin(url: str, mirror: str | None) -> str:
    """Return where to fetch `url` from: in `mirror`, a folder or a base URL, if one is given.

    A folder may hold repositories as OWNER/NAME or NAME, with or without `.git`. Raises PackError.
    """
    if mirror is None:
        return url
    parts = [part for part in urlsplit(url).path.removesuffix(".git").split("/") if part]
    full, name = "/".join(parts[-2:]), parts[-1]
    if "://" in mirror:
        return f"{mirror.rstrip('/')}/{full}.git"
    tried = [f"{full}.git", full, f"{name}.git", name]
    for path in tried:
        if (Path(mirror) / path).is_dir():
            return str((Path(mirror) / path).resolve())
    raise PackError(f"the mirror {mirror} has none of {', '.join(tried)}: copy the repository there")


def is_local_directory(origin: str) -> bool:
    return Path(origin).is_dir()


async def resolve_ref(origin: str, ref: str) -> str:
    """Return the commit that a branch, tag or full commit names at `origin` now. Raises PackError."""
    if len(ref) == 40 and set(ref) <= set("0123456789abcdef"):
        return ref
    # `^{}` is the commit of an annotated tag.
    names = (
        [ref] if ref == DEFAULT_REF else [f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"]
    )
    try:
        output = await run_and_read_output(["git", "ls-remote", "--", origin, *names, ref])
    except SubprocessFailed as error:
        raise PackError(
            f"cannot reach the repository {origin}: {error.last_output}. Check the URL and the network, or"
            " give a mirror with --mirror"
        ) from error
    found = {name: commit for commit, _, name in (line.partition("\t") for line in output.splitlines())}
    commit = next((found[name] for name in names if name in found), None)
    if commit is None:
        commit = await _resolve_locally(origin, ref)
    if commit is None and is_release(ref):
        commit = await _resolve_release(origin, ref)
    if commit is None:
        raise PackError(
            f"{origin} has no branch, tag or release (`version` in pyproject.toml) {ref!r}; a commit needs"
            " all 40 digits"
        )
    return commit


async def _resolve_release(origin: str, ref: str) -> str | None:
    try:
        return await find_release(origin, ref)
    except SubprocessFailed as error:
        raise PackError(f"cannot read the history of {origin}: {error.last_output}") from error


async def _resolve_locally(origin: str, ref: str) -> str | None:
    """Return the commit of a name in a local repository, which may also be a short commit."""
    if not is_local_directory(origin):
        return None
    command = [
        "git",
        "-C",
        origin,
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{ref}^{{commit}}",
    ]
    with suppress(SubprocessFailed):
        return (await run_and_read_output(command)).strip()
    return None


@dataclass(frozen=True, slots=True)
class FetchedPack:
    """The source of a pack at one commit."""

    directory: Path
    commit: str
    tree: str
    #: What is incomplete, one line each.
    notes: tuple[str, ...] = ()

    @property
    def requirements_sha256(self) -> str:
        return hash_file(self.directory / "requirements.txt")


async def fetch_pack(
    comfyui_dir: Path, name: str, origin: str, commit: str, on_output: OutputCallback
) -> FetchedPack:
    """Fetch a pack at a commit into its folder, with its submodules; nothing of it is executed.

    Does nothing if it is there and unchanged. Raises PackError.
    """
    check_pack_name(name)
    directory = source_directory(comfyui_dir, name, commit)
    if await read_head_commit(directory) != commit or await list_changed_files(directory):
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    try:
        checkout = await checkout_source(
            directory, origin=origin, ref=commit, may_lack=MAY_LACK, on_output=on_output
        )
    except CheckoutError as error:
        raise PackError(f"{name}: {error}".replace("--source", "--mirror")) from error
    if checkout.commit != commit:
        raise PackError(f"{name}: {origin} has {checkout.commit} instead of {commit}")
    notes = [f"{name}: not in the repository's copy: {', '.join(checkout.missing_files[:5])}"]
    return FetchedPack(
        directory,
        commit,
        await _read_tree(directory, commit),
        (*(notes if checkout.missing_files else ()), *await _fetch_submodules(directory, name, on_output)),
    )


async def verify_pinned(pin: PackPin, fetched: FetchedPack) -> None:
    """Raise PackError if a fetched pack is not what the lock file says."""
    for field, wanted, found in (
        ("tree", pin.tree, fetched.tree),
        ("requirements_sha256", pin.requirements_sha256, fetched.requirements_sha256),
    ):
        if wanted != found:
            raise PackError(
                f"{pin.name}: `{field}` in the lock file is {wanted or 'empty'}, but commit {pin.commit} has"
                f" {found or 'none'}: run `pixelfactory packs update {pin.name}`"
            )


async def list_changes(directory: Path) -> list[str]:
    """Return the changed files of a pack's source; ["missing"] if it is not there."""
    if await read_head_commit(directory) is None:
        return ["missing"]
    return await list_changed_files(directory)


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read."""
    try:
        return sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


async def _read_tree(directory: Path, commit: str) -> str:
    command = ["git", "-C", str(directory), "rev-parse", f"{commit}^{{tree}}"]
    return (await run_and_read_output(command)).strip()


async def _fetch_submodules(directory: Path, name: str, on_output: OutputCallback) -> tuple[str, ...]:
    """Fetch the submodules at the commits that the pack names; a failure is a note, not an error."""
    if not (directory / ".gitmodules").is_file():
        return ()
    command = ["git", "-C", str(directory), "submodule", "update", "--init", "--recursive", "--depth", "1"]
    try:
        await run_command(command, on_output=on_output)
    except SubprocessFailed as error:
        paths = ", ".join(_submodule_paths(directory))
        return (f"{name}: its submodules ({paths}) cannot be fetched: {error.last_output}",)
    return ()


def _submodule_paths(directory: Path) -> Iterator[str]:
    for line in (directory / ".gitmodules").read_text("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "path":
            yield value.strip()
