"""Datasets that callers send to train on: pictures, and what they show.

Taken is a zip archive of pictures, each perhaps with a text of the same name (`fox.jpg`, `fox.txt`), in
any folders; or a single picture, a dataset of one. What comes out of `read_dataset` is an archive of our
own making: every picture was decoded in full, every caption is text, and the names are numbers.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from zipfile import ZipFile, ZipInfo

from orchestrator.errors import InvalidRequest
from orchestrator.media.archives import (
    BEGINNINGS,
    Archive,
    ArchiveLimits,
    ArchiveTooLarge,
    opened_archive,
)
from orchestrator.media.errors import CorruptMedia, PictureTooLarge
from orchestrator.media.inputs import ImageLimits, InputImage, decode
from orchestrator.media.sniffing import EXTENSIONS, sniff
from orchestrator.media.wrapping import Fetch, Refused, Wrapping

#: Two at a time: a bound on memory, of which an archive takes several times its size.
_READERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="dataset-input")

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
CAPTION = ".txt"
#: Bytes of a caption's file.
MAX_CAPTION = 10_000
CONTENT_TYPES = {f".{EXTENSIONS[kind]}": kind for kind in ("image/png", "image/jpeg", "image/webp")}


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLimits:
    """What one dataset may be."""

    #: Bytes of the archive, once out of its base64; unpacked it may be twice as large.
    max_bytes: int = 128 * 2**20
    max_pictures: int = 1000
    #: Of all pictures together: what a reader decodes in about a minute.
    max_pixels: int = 4_000_000_000
    #: What each of the pictures may be.
    images: ImageLimits = field(default_factory=ImageLimits)

    @property
    def archive(self) -> ArchiveLimits:
        return ArchiveLimits(max_unpacked=2 * self.max_bytes, max_entries=4 * self.max_pictures)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A zip archive, without compression, of `0000.png`, `0000.txt`, `0001.jpg`, ...: the same for the same
    pictures and captions in the same order of names."""

    data: bytes
    #: Of `data`, hexadecimal.
    sha256: str
    #: How many there are.
    pictures: int
    #: All of them, a line each.
    captions: str
    content_type: str = "application/zip"

    @property
    def ext(self) -> str:
        """Extension without the dot."""
        return "zip"


async def read_dataset(
    value: str | bytes, *, limits: DatasetLimits, param: str = "dataset", fetch: Fetch | None = None
) -> Dataset:
    """Reads a dataset given in any way that a picture may be given in (see `read_image`).

    Raises InvalidRequest with `param` and one of the codes `invalid_dataset`, `empty_dataset`,
    `dataset_too_large`, `unsupported_dataset_format`, `dataset_url_refused`, `dataset_url_unreachable`,
    and without `fetch` `dataset_url_not_supported`.
    """
    loop = asyncio.get_running_loop()
    wrapping = Wrapping("dataset", limits.max_bytes)
    try:
        value = await wrapping.fetched(value, fetch)
        return await loop.run_in_executor(_READERS, lambda: _read(wrapping.opened(value), limits))
    except Refused as refused:
        raise InvalidRequest(str(refused), code=refused.code, param=param) from refused
    except CorruptMedia as error:
        large = isinstance(error, ArchiveTooLarge | PictureTooLarge)
        code = "dataset_too_large" if large else "invalid_dataset"
        raise InvalidRequest(f"The dataset can not be read: {error}.", code=code, param=param) from error


def files_of(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Name, content type and contents of each file of a Dataset's archive."""
    with ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            content_type = CONTENT_TYPES.get(PurePosixPath(name).suffix, "text/plain")
            yield name, content_type, archive.read(name)


def _read(data: bytes, limits: DatasetLimits) -> Dataset:
    if sniff(data) in limits.images.formats:
        return _packed([(_picture("the picture", data, limits), "")], limits.archive.max_unpacked)
    if not data.startswith(BEGINNINGS):
        raise Refused(
            "unsupported_dataset_format", "The dataset must be a zip archive of pictures, or a picture."
        )
    with opened_archive(data, limits.archive, PICTURES | {CAPTION}) as archive:
        pictures = _pictures(archive)
        if not pictures:
            kinds = ", ".join(sorted(kind.removeprefix(".") for kind in PICTURES))
            raise Refused("empty_dataset", f"The dataset has no pictures ({kinds}) in it.")
        if len(pictures) > limits.max_pictures:
            raise ArchiveTooLarge(f"there are more than {limits.max_pictures} pictures")
        return _packed(_pairs(archive, pictures, limits), limits.archive.max_unpacked)


def _pictures(archive: Archive) -> list[PurePosixPath]:
    """Names, no two of which would have the same caption."""
    found: dict[PurePosixPath, PurePosixPath] = {}
    for name in archive.names:
        if name.suffix.lower() in PICTURES and found.setdefault(name.with_suffix(""), name) != name:
            raise CorruptMedia(f"there are two pictures named {name.with_suffix('')}")
    return list(found.values())


def _pairs(
    archive: Archive, names: list[PurePosixPath], limits: DatasetLimits
) -> Iterator[tuple[InputImage, str]]:
    pixels = 0
    for name in names:
        image, caption = _pair(archive, name, limits)
        pixels += image.width * image.height
        if pixels > limits.max_pixels:
            raise ArchiveTooLarge(f"its pictures have more than {limits.max_pixels} pixels together")
        yield image, caption


def _pair(archive: Archive, name: PurePosixPath, limits: DatasetLimits) -> tuple[InputImage, str]:
    if archive.size(name) > limits.images.max_bytes:
        raise ArchiveTooLarge(f"{name} is larger than {limits.images.max_bytes} bytes")
    captions = (name.with_suffix(suffix) for suffix in (CAPTION, CAPTION.upper()))
    caption = next((_caption(archive, text) for text in captions if text in archive), "")
    return _picture(str(name), archive.read(name), limits), caption


def _picture(name: str, data: bytes, limits: DatasetLimits) -> InputImage:
    try:
        return decode(data, limits.images, lossless=False)
    except PictureTooLarge as error:
        raise PictureTooLarge(f"{name}: {error}") from error
    except (CorruptMedia, Refused) as error:
        raise CorruptMedia(f"{name} is no picture that can be read") from error


def _caption(archive: Archive, name: PurePosixPath) -> str:
    if archive.size(name) > MAX_CAPTION:
        raise ArchiveTooLarge(f"{name} is larger than {MAX_CAPTION} bytes")
    try:
        text = archive.read(name).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise CorruptMedia(f"{name} is no text in UTF-8") from error
    if "\0" in text:
        raise CorruptMedia(f"{name} has a NUL character in it")
    return text


def _packed(pairs: Iterable[tuple[InputImage, str]], most: int) -> Dataset:
    """Raises ArchiveTooLarge beyond `most` bytes: pictures that were written anew may have grown."""
    buffer, pictures, captions = io.BytesIO(), 0, []
    with ZipFile(buffer, "w") as archive:
        for number, (image, caption) in enumerate(pairs):
            pictures += 1
            # With a date of its own the same dataset would be another file each time.
            archive.writestr(ZipInfo(f"{number:04}.{image.ext}"), image.data)
            if caption:
                archive.writestr(ZipInfo(f"{number:04}{CAPTION}"), caption)
                captions.append(caption)
            if buffer.tell() > most:
                raise ArchiveTooLarge(f"its pictures, brought upright, take more than {most} bytes")
    return Dataset(
        data=buffer.getvalue(),
        sha256=hashlib.sha256(buffer.getbuffer()).hexdigest(),
        pictures=pictures,
        captions="\n".join(captions),
    )
