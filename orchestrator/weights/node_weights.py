"""Weight files on the nodes of a cluster: pulled by digest, once per node, from the bucket or the hub.

    MODELS/FOLDER/FILE       what ComfyUI loads: a link to the file with its digest
    MODELS/.blobs/DIGEST     the file itself, verified while it was downloaded
    MODELS/.locks/NAME.lock  held while one of the node's agents pulls the file; the others wait for it

A file of the same name and size but other content is therefore never taken for the right one. Files without a
known digest are stored under their names, as on a single machine.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from comfy_instances.tasks import spawn
from orchestrator.catalog import Model, WeightFile
from orchestrator.net.egress import create_public_session
from orchestrator.weights.download import HUGGING_FACE_URL, HuggingFaceHub, WeightDownloader
from orchestrator.weights.errors import BadWeightFile, InsufficientDiskSpace, WeightError
from orchestrator.weights.file_checks import compute_sha256, find_size_problem
from orchestrator.weights.pins import PinnedChecksums
from orchestrator.weights.planning import MIN_FREE_BYTES, free_disk_bytes, plan_downloads

BLOBS_DIR, LOCKS_DIR = ".blobs", ".locks"
#: Prefix of the keys of weight files in the bucket.
WEIGHTS_PREFIX = "weights/"
#: Files that an agent pulls at a time.
PARALLEL = 3
LOCK_POLL_SECONDS = 0.2


class MirrorStore(Protocol):
    """The part of the bucket that keeps weight files."""

    async def has(self, key: str, size: int) -> bool:
        """Whether there is an object of this size."""

    async def put_file(self, key: str, file: Path) -> None:
        """Store a file."""


def mirror_key(digest: str) -> str:
    """Return the key of a weight file in the bucket, by its SHA-256."""
    return f"{WEIGHTS_PREFIX}{digest[:2]}/{digest}"


def list_wanted_weights(
    models: Iterable[Model],
    dtypes: Sequence[str],
    models_dir: Path,
    mirror_url: Callable[[str], str] | None,
) -> list[dict[str, Any]]:
    """Return what nodes should have of these models, as `pull_node_weights` reads it on the node.

    `dtypes` are the variants that the node's GPU prefers. The pins in `models_dir`, that of the service, give
    digests to files whose manifest has none. `mirror_url` returns a download URL for a key of the bucket.
    Raises WeightError.
    """
    pins = PinnedChecksums(models_dir)
    rows = []
    for weight in _select_for_nodes(models, dtypes, pins, models_dir):
        digest = weight.sha256 or pins.get(weight.path) or ""
        mirror = mirror_url(mirror_key(digest)) if mirror_url is not None and digest else ""
        rows.append(
            {
                **weight.model_dump(mode="json"),
                "digest": digest,
                "mirror_url": mirror,
                "sha256": weight.sha256,
            }
        )
    return rows


def _select_for_nodes(
    models: Iterable[Model], dtypes: Sequence[str], pins: PinnedChecksums, models_dir: Path
) -> list[WeightFile]:
    """Return the files for nodes. They make none: what was not made here is replaced by another variant."""
    selected: dict[str, WeightFile] = {}
    for model in models:
        available = {
            weight.file for weight in model.manifest.weights if not weight.made_by or pins.get(weight.path)
        }
        for weight in model.select_weights(dtypes, available):
            if weight.file in available:
                selected.setdefault(weight.path, weight)
    # Two models that declare different files for a path are an error, as in a plan.
    plan_downloads(models, dtypes, models_dir)
    return [selected[path] for path in sorted(selected)]


async def mirror_weights(
    weights: Iterable[WeightFile],
    models_dir: Path,
    store: MirrorStore,
    on_file: Callable[[WeightFile, bool], None],
) -> None:
    """Store files of this machine in the bucket by their digests, from where nodes pull them.

    `on_file(weight, is_new)` is called for each. Raises BadWeightFile for a file that has not the digest of
    its manifest or pin, ObjectStoreError, OSError.
    """
    pins = PinnedChecksums(models_dir)
    for weight in weights:
        file = models_dir / weight.path
        digest = await asyncio.to_thread(compute_sha256, file)
        known = weight.sha256 or pins.get(weight.path)
        if known and digest != known:
            raise BadWeightFile(f"{weight.path} has SHA-256 {digest}, not {known}: pull it again")
        is_new = not await store.has(mirror_key(digest), file.stat().st_size)
        if is_new:
            await store.put_file(mirror_key(digest), file)
        if not known:
            pins.add(weight.path, digest)
        on_file(weight, is_new)


async def pull_node_weights(
    models_dir: Path, files: Sequence[Mapping[str, Any]], on_file: Callable[[str, int], None]
) -> None:
    """Bring the files of a list to this node; `on_file(path, size)` is called for each complete one.

    A file that fails does not stop the others. Raises WeightError, OSError.
    """
    hub = HuggingFaceHub(
        url=os.environ.get("HF_ENDPOINT", HUGGING_FACE_URL), token=os.environ.get("HF_TOKEN")
    )
    for name in (BLOBS_DIR, LOCKS_DIR):
        (models_dir / name).mkdir(parents=True, exist_ok=True)
    slots = asyncio.Semaphore(PARALLEL)
    # The list comes from the service: its bucket and a mirror of the hub may be in the cluster's network.
    async with create_public_session(allow_private=True, timeout=aiohttp.ClientTimeout(total=None)) as http:
        node = NodeWeights(models_dir, WeightDownloader(http, hub))

        async def pull(row: Mapping[str, Any]) -> None:
            async with slots:
                file = await node.ensure(NodeWeight(row))
                on_file(str(row["path"]), file.stat().st_size)

        tasks = [spawn(pull(row), "weight file", str(row.get("path")), awaited=True) for row in files]
        try:
            results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
    problems = [str(error) for error in results if isinstance(error, WeightError | OSError)]
    for error in results:
        if isinstance(error, BaseException) and not isinstance(error, WeightError | OSError):
            raise error
    if problems:
        raise WeightError("; ".join(problems))


class NodeWeight:
    """One row of the list."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        fields = {name: row[name] for name in WeightFile.model_fields if name in row}
        self.weight = WeightFile.model_validate(fields)
        #: SHA-256 by the manifest or by a pin of the service; empty if unknown.
        self.digest = str(row.get("digest") or self.weight.sha256)
        self.mirror_url = str(row.get("mirror_url") or "")

    @property
    def sources(self) -> list[str]:
        """URLs to try, in this order."""
        return [url for url in (self.mirror_url, self.weight.url) if url]


class NodeWeights:
    """The weight files below the models directory of a node."""

    def __init__(self, models_dir: Path, downloader: WeightDownloader) -> None:
        self._models_dir = models_dir
        self._downloader = downloader

    async def ensure(self, wanted: NodeWeight) -> Path:
        """Return the complete file, pulling it if it is missing. Raises WeightError, OSError."""
        file = self._models_dir / wanted.weight.path
        target = self._blob(wanted.digest) if wanted.digest else file
        name = wanted.digest or sha256(wanted.weight.path.encode()).hexdigest()
        async with _locked(self._models_dir / LOCKS_DIR / f"{name}.lock"):
            if not await asyncio.to_thread(self._is_complete, wanted, file, target):
                await self._download(wanted, target)
            if wanted.digest:
                await asyncio.to_thread(_link, target, file)
        return file

    def _blob(self, digest: str) -> Path:
        return self._models_dir / BLOBS_DIR / digest

    def _is_complete(self, wanted: NodeWeight, file: Path, target: Path) -> bool:
        """Whether the file is on the disk. One that was put there by hand is taken once it is verified."""
        if target.is_file():
            return bool(wanted.digest) or find_size_problem(wanted.weight, target.stat().st_size) is None
        if not wanted.digest or not file.is_file():
            return False
        if find_size_problem(wanted.weight, file.stat().st_size) or compute_sha256(file) != wanted.digest:
            return False
        os.link(file.resolve(), target)
        return True

    async def _download(self, wanted: NodeWeight, target: Path) -> None:
        weight = wanted.weight
        free = free_disk_bytes(self._models_dir)
        if weight.bytes + MIN_FREE_BYTES > free:
            raise InsufficientDiskSpace(
                f"{weight.path} has {weight.bytes / 1e9:.1f} GB, but {self._models_dir} has"
                f" {free / 1e9:.1f} GB free; make space or name fewer models in PIXELFACTORY_RAY_MODELS"
            )
        if not wanted.sources:
            raise WeightError(
                f"{weight.path} has no URL: put it there, or into the bucket by `pixelfactory weights mirror`"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        problem: WeightError | None = None
        for url in wanted.sources:
            source = weight.model_copy(update={"url": url})
            try:
                await self._downloader.download(source, target, wanted.digest or None, lambda count: None)
                return
            except WeightError as error:
                problem = problem or error
        raise WeightError(f"{weight.path}: {problem}")


@asynccontextmanager
async def _locked(file: Path) -> AsyncIterator[None]:
    """Hold a lock that ends with this process; wait while another process holds it."""
    with file.open("ab") as opened:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(LOCK_POLL_SECONDS)
        yield


def _link(blob: Path, file: Path) -> None:
    """Make `file` the blob, by a hard link or, on file systems without them, a symbolic one."""
    with suppress(OSError):
        if file.samefile(blob):
            return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.link")
    draft.unlink(missing_ok=True)
    try:
        os.link(blob, draft)
    except OSError:
        draft.symlink_to(blob.resolve())
    draft.replace(file)
