"""Read untrusted zip archives: check entry count, sizes, names and links before unpacking anything."""

from __future__ import annotations

import io
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from orchestrator.media.errors import CorruptMedia

#: Leading bytes of a zip archive: a file header, or the end record of an empty archive.
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
#: Maximum size of the central directory; each entry takes 46 bytes plus its name.
MAX_DIRECTORY_BYTES = 4 * 2**20
#: Maximum ratio of unpacked to packed size, and the bytes that are allowed in addition to it.
MAX_COMPRESSION_RATIO, RATIO_ALLOWANCE_BYTES = 100, 2**20

_END_RECORD_MAGIC, _END_RECORD_BYTES, _MAX_COMMENT_BYTES = b"PK\x05\x06", 22, 65535
_ZIP64_LOCATOR_MAGIC, _ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
_ENTRY_MAGIC, _ENTRY_BYTES = b"PK\x01\x02", 46
_ENCRYPTED_FLAG = 1
_DRIVE_LETTER = re.compile(r"[A-Za-z]:")
#: Exceptions that zipfile raises for damaged or malicious archives.
_ZIP_ERRORS = (BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)


class ArchiveTooLarge(CorruptMedia):
    """The archive has more entries or bytes than allowed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveLimits:
    """Limits on the contents of one archive."""

    #: Total unpacked size of the selected files, in bytes.
    max_unpacked_bytes: int
    #: Number of entries of any kind.
    max_entries: int


class ZipArchive:
    """A checked archive: its names are safe and its sizes within the limits."""

    def __init__(
        self, zip_file: ZipFile, entries: dict[PurePosixPath, ZipInfo], other_names: Sequence[PurePosixPath]
    ) -> None:
        self._zip_file = zip_file
        self._entries = entries
        #: Names of the files that were not selected, without system files, in the order of the archive.
        self.other_names = other_names
        #: Names of the selected files, sorted.
        self.names = sorted(entries)

    def __contains__(self, name: PurePosixPath) -> bool:
        return name in self._entries

    def size(self, name: PurePosixPath) -> int:
        """Return the unpacked size of a file in bytes."""
        return self._entries[name].file_size

    def read(self, name: PurePosixPath) -> bytes:
        """Unpack a file. CPU-bound: call it in a worker thread. Raises CorruptMedia."""
        with _translate_zip_errors(f"{name} is damaged"):
            data = self._zip_file.read(self._entries[name])
        if len(data) != self.size(name):
            raise CorruptMedia(f"{name} is damaged: its size is not the declared one")
        return data


@contextmanager
def open_archive(data: bytes, limits: ArchiveLimits, suffixes: frozenset[str]) -> Iterator[ZipArchive]:
    """Open an archive and select the files whose names end in one of `suffixes` (`.png`, case-insensitive).

    System files (`__MACOSX`, dotfiles) are ignored. Raises ArchiveTooLarge; CorruptMedia if
    the archive is damaged or encrypted, or contains duplicate names, links or paths outside of it.
    """
    _check_directory(data, limits.max_entries)
    with _translate_zip_errors("the archive is damaged"):
        opened = ZipFile(io.BytesIO(data))
    with opened:
        entries, other_names = _select_entries(opened.infolist(), suffixes)
        unpacked = sum(info.file_size for info in entries.values())
        max_bytes = min(limits.max_unpacked_bytes, len(data) * MAX_COMPRESSION_RATIO + RATIO_ALLOWANCE_BYTES)
        if unpacked > max_bytes:
            raise ArchiveTooLarge(
                f"the archive unpacks to {unpacked} bytes; for its size at most {max_bytes} are allowed"
            )
        yield ZipArchive(opened, entries, other_names)


def _check_directory(data: bytes, max_entries: int) -> None:
    """Raise CorruptMedia if the central directory is missing, or has too many entries.

    Checked before ZipFile reads it, because an entry takes many times its size in memory. Zip64 archives
    (over 4 GiB or 65535 files) are rejected: they exceed the limits here in any case.
    """
    end = data.rfind(_END_RECORD_MAGIC, max(0, len(data) - _END_RECORD_BYTES - _MAX_COMMENT_BYTES))
    if end < 0 or end + _END_RECORD_BYTES > len(data):
        raise CorruptMedia("the archive is truncated")
    (size,) = struct.unpack_from("<I", data, end + 12)
    locator = end - _ZIP64_LOCATOR_BYTES
    if size > MAX_DIRECTORY_BYTES or (locator >= 0 and data.startswith(_ZIP64_LOCATOR_MAGIC, locator)):
        raise ArchiveTooLarge("the archive has too many entries")
    if _count_entries(data, end - size, end, max_entries + 1) > max_entries:
        raise ArchiveTooLarge(f"the archive has more than {max_entries} entries")


def _count_entries(data: bytes, start: int, end: int, maximum: int) -> int:
    """Return the number of entries of the central directory in `data[start:end]`, at most `maximum`."""
    count = 0
    while count < maximum and start >= 0 and start + _ENTRY_BYTES <= end:
        if not data.startswith(_ENTRY_MAGIC, start):
            break  # ZipFile reports it
        start += _ENTRY_BYTES + sum(struct.unpack_from("<HHH", data, start + 28))
        count += 1
    return count


def _select_entries(
    infos: list[ZipInfo], suffixes: frozenset[str]
) -> tuple[dict[PurePosixPath, ZipInfo], list[PurePosixPath]]:
    """Return the entries with one of these suffixes, and the names of the other files."""
    entries: dict[PurePosixPath, ZipInfo] = {}
    other_names: list[PurePosixPath] = []
    for info in infos:
        name = _safe_name(info)
        if info.is_dir() or _is_system_file(name):
            continue
        if name.suffix.lower() not in suffixes:
            other_names.append(name)
            continue
        if name in entries:
            raise CorruptMedia(f"the archive has two files named {name}")
        _check_entry(name, info)
        entries[name] = info
    return entries, other_names


def _safe_name(info: ZipInfo) -> PurePosixPath:
    text = info.filename.replace("\\", "/")
    if not text:
        raise CorruptMedia("the archive contains an entry without a name")
    name = PurePosixPath(text)
    if name.is_absolute() or _DRIVE_LETTER.match(text) or ".." in name.parts:
        raise CorruptMedia(f"the archive contains a path outside of it: {text[:100]!r}")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise CorruptMedia(f"the archive contains a symbolic link: {text[:100]!r}")
    return name


def _is_system_file(name: PurePosixPath) -> bool:
    """Return whether the operating system wrote the file: `__MACOSX/._cat.jpg`, `.DS_Store` and the like."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)


def _check_entry(name: PurePosixPath, info: ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED_FLAG:
        raise CorruptMedia("the archive is encrypted")
    # Other methods (LZMA, bzip2) may allocate gigabytes before they produce the first byte.
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise CorruptMedia(f"{name} uses an unsupported compression method; use deflate or none")


@contextmanager
def _translate_zip_errors(message: str) -> Iterator[None]:
    try:
        yield
    except _ZIP_ERRORS as error:
        raise CorruptMedia(message) from error
