"""Input files by digest, fetched by presigned requests ahead of their prompt and cached in the input folder.

A file is named after its digest, so that ComfyUI's own cache recognises an image that it has encoded before.
What arrives must have the digest: nothing else can be brought into the folder through this.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .courier import read_number
from .upload import open_connection

log = logging.getLogger(__name__)

CACHE_VARIABLE, DEFAULT_CACHE_MB = "PIXEL_FACTORY_INPUT_CACHE_MB", 4096
#: Files are in the input folder itself: loaders of some packs list no others.
PREFIX, PARTIAL_PREFIX = "pixelfactory-", ".pixelfactory-partial-"
#: Files of finished jobs do not stay longer, in seconds.
LONGEST_KEPT = 3600.0
#: A prompt whose end the service does not report lets go of its files after this time, in seconds.
LONGEST_NEEDED = 6 * 3600.0
_CHUNK_BYTES = 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXTENSION = re.compile(r"[a-z0-9-]{1,16}")


class InputFailed(Exception):
    """An input file cannot be fetched. The text holds no part of the request."""


class InputCache:
    """Files in ComfyUI's input folder, the one that was used last kept longest."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.hits = 0
        self.fetched = 0
        self.fetched_bytes = 0
        self._needed: dict[str, tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()
        self._loading: dict[str, asyncio.Lock] = {}

    async def fetch(self, prompt_id: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """Have files in the folder and keep them for a prompt; return their names.

        A row has `url`, `sha256`, `size` and `extension`. Raises InputFailed, and ValueError for other rows.
        """
        wanted = [(_name_of(row), str(row["url"]), int(row["size"])) for row in rows]
        with self._lock:
            self._needed[prompt_id] = (time.monotonic(), frozenset(name for name, _, _ in wanted))
        await asyncio.gather(*(self._ensure(*each) for each in wanted))
        await asyncio.to_thread(self.trim)
        return [name for name, _, _ in wanted]

    async def _ensure(self, name: str, url: str, size: int) -> None:
        """Have one file; prompts that want the same one at once fetch it once."""
        async with self._loading.setdefault(name, asyncio.Lock()):
            file = self.folder / name
            if file.is_file() and file.stat().st_size == size:
                file.touch()
                self.hits += 1
                return
            await asyncio.to_thread(self._download, url, file, size)
            self.fetched += 1
            self.fetched_bytes += size

    def _download(self, url: str, file: Path, size: int) -> None:
        """Fetch a file; it appears under its name when it is complete and has its digest."""
        partial = self.folder / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}"
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with partial.open("wb") as target:
                for chunk in _read(url, size):
                    digest.update(chunk)
                    target.write(chunk)
            if f"{PREFIX}{digest.hexdigest()}" != file.name.partition(".")[0]:
                raise InputFailed("what arrived does not have the digest of the input file")
            partial.replace(file)
        except OSError as error:
            raise InputFailed(
                f"cannot write the input file: {error.strerror or type(error).__name__}"
            ) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def release(self, prompt_id: str) -> None:
        """A prompt has ended."""
        with self._lock:
            self._needed.pop(prompt_id, None)

    def trim(self) -> None:
        """Delete what no prompt needs: old files, and those used longest ago while there is too much."""
        now = time.monotonic()
        with self._lock:
            late = [key for key, (since, _) in self._needed.items() if now - since > LONGEST_NEEDED]
            for key in late:
                del self._needed[key]
            needed = frozenset[str]().union(*(names for _, names in self._needed.values()))
            files = sorted(self._list(), key=lambda each: each[1])
            total = sum(size for _, _, size in files)
            for file, used_at, size in files:
                if file.name in needed or (total <= self.limit and time.time() - used_at <= LONGEST_KEPT):
                    continue
                with suppress(OSError):
                    file.unlink()
                    total -= size
                self._loading.pop(file.name, None)

    def describe(self) -> dict[str, Any]:
        """Return the size of the cache and how often it had a file."""
        files = self._list()
        return {
            "limit": self.limit,
            "bytes": sum(size for _, _, size in files),
            "files": len(files),
            "hits": self.hits,
            "fetched": self.fetched,
            "fetched_bytes": self.fetched_bytes,
        }

    def _list(self) -> list[tuple[Path, float, int]]:
        """Return file, time of last use and size of each complete file."""
        found = []
        with suppress(OSError):
            for entry in os.scandir(self.folder):
                with suppress(OSError):
                    if entry.name.startswith(PREFIX) and entry.is_file():
                        stat = entry.stat()
                        found.append((Path(entry.path), stat.st_mtime, stat.st_size))
        return found

    def delete_partial(self) -> None:
        """Delete what an earlier process did not finish."""
        for file in self.folder.glob(f"{PARTIAL_PREFIX}*"):
            with suppress(OSError):
                file.unlink()


def _name_of(row: Mapping[str, Any]) -> str:
    sha256, extension = str(row["sha256"]), str(row["extension"])
    if not _SHA256.fullmatch(sha256) or not _EXTENSION.fullmatch(extension):
        raise ValueError("not a digest and an extension")
    return f"{PREFIX}{sha256}.{extension}"


def _read(url: str, size: int) -> Iterable[bytes]:
    """Yield the bytes of an object of this size. Raises InputFailed."""
    parts = urlsplit(url)
    connection = open_connection(parts)
    if connection is None:
        raise InputFailed("the address of object storage is not http or https")
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        response = connection.getresponse()
        if response.status != 200:
            raise InputFailed(f"object storage answers {response.status}")
        left = size
        while chunk := response.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise InputFailed("what arrived does not have the size of the input file")
    except (OSError, http.client.HTTPException) as error:
        raise InputFailed(f"{parts.hostname}: {type(error).__name__}") from error
    finally:
        connection.close()


@lru_cache(maxsize=1)
def get_inputs() -> InputCache:
    """Return the cache of this server, in ComfyUI's input folder."""
    folder = Path(import_module("folder_paths").get_input_directory())
    cache = InputCache(folder, read_number(CACHE_VARIABLE, DEFAULT_CACHE_MB) * 2**20)
    cache.delete_partial()
    return cache
