"""Zip archives from strangers: what is in them, found out within limits before anything is unpacked."""

from __future__ import annotations

import io
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from orchestrator.media.errors import CorruptMedia

#: What an archive begins with: its first file, or the end of an empty one.
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
#: Bytes of the directory at the end; each entry in it takes 46 and its name.
MAX_DIRECTORY_BYTES = 4 * 2**20
#: How many times as large as the archive its contents may be, beside a first megabyte.
MAX_COMPRESSION_RATIO, RATIO_ALLOWANCE_BYTES = 100, 2**20

_END_RECORD_MAGIC, _END_RECORD_BYTES, _MAX_COMMENT_BYTES = b"PK\x05\x06", 22, 65535
_ZIP64_LOCATOR_MAGIC, _ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
_ENCRYPTED_FLAG = 1
_DRIVE_LETTER = re.compile(r"[A-Za-z]:")
#: What zipfile raises for archives that are damaged, or made to look so.
_ZIP_ERRORS = (BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)


class ArchiveTooLarge(CorruptMedia):
    """The archive holds more than allowed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveLimits:
    #: Bytes of all files that are wanted, unpacked.
    max_unpacked_bytes: int
    #: Entries of any kind.
    max_entries: int


class ZipArchive:
    """An archive that was looked at: names are safe, sizes within limits."""

    def __init__(self, zip_file: ZipFile, entries: dict[PurePosixPath, ZipInfo]) -> None:
        self._zip_file = zip_file
        self._entries = entries
        #: Of the wanted files, in alphabetical order.
        self.names = sorted(entries)

    def __contains__(self, name: PurePosixPath) -> bool:
        return name in self._entries

    def size(self, name: PurePosixPath) -> int:
        """Bytes, unpacked."""
        return self._entries[name].file_size

    def read(self, name: PurePosixPath) -> bytes:
        """CPU work. Raises CorruptMedia."""
        with _translate_zip_errors(f"{name} is damaged"):
            return self._zip_file.read(self._entries[name])


@contextmanager
def open_archive(data: bytes, limits: ArchiveLimits, suffixes: frozenset[str]) -> Iterator[ZipArchive]:
    """The files whose names end in one of `suffixes` (`.png`, in any case); all others, and what
    computers put into archives for themselves, are passed over.

    Raises ArchiveTooLarge, and CorruptMedia where the archive is damaged, encrypted, has two files of one
    name, links, or names that lead out of it.
    """
    _check_directory(data)
    with _translate_zip_errors("the archive is damaged"):
        opened = ZipFile(io.BytesIO(data))
    with opened:
        infos = opened.infolist()
        if len(infos) > limits.max_entries:
            raise ArchiveTooLarge(f"the archive has more than {limits.max_entries} entries")
        entries = _select_entries(infos, suffixes)
        unpacked = sum(info.file_size for info in entries.values())
        if unpacked > min(
            limits.max_unpacked_bytes, len(data) * MAX_COMPRESSION_RATIO + RATIO_ALLOWANCE_BYTES
        ):
            raise ArchiveTooLarge("the archive unpacks to more than is taken")
        yield ZipArchive(opened, entries)


def _check_directory(data: bytes) -> None:
    """Raises CorruptMedia for a directory that would take much memory to read. Archives beyond the limits
    of the original format (4 GiB, 65535 files) are beyond ours too."""
    end = data.rfind(_END_RECORD_MAGIC, max(0, len(data) - _END_RECORD_BYTES - _MAX_COMMENT_BYTES))
    if end < 0 or end + _END_RECORD_BYTES > len(data):
        raise CorruptMedia("the archive is cut off")
    (size,) = struct.unpack_from("<I", data, end + 12)
    locator = end - _ZIP64_LOCATOR_BYTES
    if size > MAX_DIRECTORY_BYTES or (locator >= 0 and data.startswith(_ZIP64_LOCATOR_MAGIC, locator)):
        raise ArchiveTooLarge("the archive has too many entries")


def _select_entries(infos: list[ZipInfo], suffixes: frozenset[str]) -> dict[PurePosixPath, ZipInfo]:
    entries: dict[PurePosixPath, ZipInfo] = {}
    for info in infos:
        name = _safe_name(info)
        if info.is_dir() or _is_system_file(name) or name.suffix.lower() not in suffixes:
            continue
        if name in entries:
            raise CorruptMedia(f"the archive has two files named {name}")
        _check_entry(name, info)
        entries[name] = info
    return entries


def _safe_name(info: ZipInfo) -> PurePosixPath:
    text = info.filename.replace("\\", "/")
    name = PurePosixPath(text)
    if name.is_absolute() or _DRIVE_LETTER.match(text) or ".." in name.parts:
        raise CorruptMedia("the archive has names that lead out of it")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise CorruptMedia("the archive has links in it")
    return name


def _is_system_file(name: PurePosixPath) -> bool:
    """`__MACOSX/._cat.jpg`, `.DS_Store` and the like."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)


def _check_entry(name: PurePosixPath, info: ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED_FLAG:
        raise CorruptMedia("the archive is encrypted")
    # The others may ask for gigabytes of memory before the first byte comes out.
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise CorruptMedia(f"{name} is packed in a way that is not taken")


@contextmanager
def _translate_zip_errors(message: str) -> Iterator[None]:
    try:
        yield
    except _ZIP_ERRORS as error:
        raise CorruptMedia(message) from error
