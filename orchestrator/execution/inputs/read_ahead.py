"""Reads weight files into the page cache before an instance on this machine loads them.

ComfyUI maps its files and touches them tensor by tensor; one sequential reader is faster on most disks.
Reading is bounded by the free memory, and done by one thread at a time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import psutil

#: Bytes that are read at a time.
CHUNK_BYTES = 16 * 2**20
#: Share of the available memory that one load may fill.
MEMORY_SHARE = 0.6


class ReadAhead:
    """Reads files of the models directory in the background."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._lock = asyncio.Lock()
        self._is_stopping = False

    def stop(self) -> None:
        """Read no further."""
        self._is_stopping = True

    async def read(self, paths: Iterable[str]) -> int:
        """Read the files that are there, and return the number of bytes.

        Files that cannot be read are left out.
        """
        async with self._lock:
            return await asyncio.to_thread(self._read_all, [*paths])

    def _read_all(self, paths: list[str]) -> int:
        budget = int(psutil.virtual_memory().available * MEMORY_SHARE)
        count = 0
        for path in paths:
            count += self._read_file(self._models_dir / path, budget - count)
        return count

    def _read_file(self, file: Path, budget: int) -> int:
        try:
            with file.open("rb", buffering=0) as opened:
                if os.fstat(opened.fileno()).st_size > budget:
                    return 0
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                buffer, count = bytearray(CHUNK_BYTES), 0
                while not self._is_stopping and (read := opened.readinto(buffer)):
                    count += read
                return count
        except OSError:
            return 0
