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
    ZIP_MAGIC,
    ArchiveLimits,
    ArchiveTooLarge,
    ZipArchive,
    open_archive,
)
from orchestrator.media.errors import CorruptMedia, ImageTooLarge
from orchestrator.media.input_images import ImageLimits, InputImage, decode_image
from orchestrator.media.payloads import FetchUrl, InputRejected, PayloadDecoder
from orchestrator.media.sniffing import EXTENSIONS, detect_content_type

#: Two at a time: a bound on memory, of which an archive takes several times its size.
_DECODER_POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="dataset-input")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
CAPTION_SUFFIX = ".txt"
#: Bytes of a caption's file.
MAX_CAPTION_BYTES = 10_000
CONTENT_TYPE_BY_SUFFIX = {f".{EXTENSIONS[kind]}": kind for kind in ("image/png", "image/jpeg", "image/webp")}


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLimits:
    """What one dataset may be."""

    #: Bytes of the archive, once out of its base64; unpacked it may be twice as large.
    max_bytes: int = 128 * 2**20
    max_images: int = 1000
    #: Of all pictures together: what a reader decodes in about a minute.
    max_pixels: int = 4_000_000_000
    #: What each of the pictures may be.
    image_limits: ImageLimits = field(default_factory=ImageLimits)

    @property
    def archive_limits(self) -> ArchiveLimits:
        return ArchiveLimits(max_unpacked_bytes=2 * self.max_bytes, max_entries=4 * self.max_images)


@dataclass(frozen=True, kw_only=True, slots=True)
class InputDataset:
    """A zip archive, without compression, of `0000.png`, `0000.txt`, `0001.jpg`, ...: the same for the same
    pictures and captions in the same order of names."""

    data: bytes
    #: Of `data`, hexadecimal.
    sha256: str
    #: How many there are.
    image_count: int
    #: All of them, a line each.
    captions: str
    content_type: str = "application/zip"

    @property
    def ext(self) -> str:
        """Extension without the dot."""
        return "zip"


async def read_dataset(
    value: str | bytes, *, limits: DatasetLimits, param: str = "dataset", fetch: FetchUrl | None = None
) -> InputDataset:
    """Reads a dataset given in any way that a picture may be given in (see `read_image`).

    Raises InvalidRequest with `param` and one of the codes `invalid_dataset`, `empty_dataset`,
    `dataset_too_large`, `unsupported_dataset_format`, `dataset_url_refused`, `dataset_url_unreachable`,
    and without `fetch` `dataset_url_not_supported`.
    """
    loop = asyncio.get_running_loop()
    wrapping = PayloadDecoder("dataset", limits.max_bytes)
    try:
        value = await wrapping.fetch_if_url(value, fetch)
        return await loop.run_in_executor(
            _DECODER_POOL, lambda: _decode_dataset(wrapping.decode(value), limits)
        )
    except InputRejected as refused:
        raise InvalidRequest(str(refused), code=refused.code, param=param) from refused
    except CorruptMedia as error:
        large = isinstance(error, ArchiveTooLarge | ImageTooLarge)
        code = "dataset_too_large" if large else "invalid_dataset"
        raise InvalidRequest(f"The dataset can not be read: {error}.", code=code, param=param) from error


def iter_dataset_files(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Name, content type and contents of each file of a Dataset's archive."""
    with ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            content_type = CONTENT_TYPE_BY_SUFFIX.get(PurePosixPath(name).suffix, "text/plain")
            yield name, content_type, archive.read(name)


def _decode_dataset(data: bytes, limits: DatasetLimits) -> InputDataset:
    if detect_content_type(data) in limits.image_limits.formats:
        return _pack_dataset(
            [(_decode_dataset_image("the picture", data, limits), "")],
            limits.archive_limits.max_unpacked_bytes,
        )
    if not data.startswith(ZIP_MAGIC):
        raise InputRejected(
            "unsupported_dataset_format", "The dataset must be a zip archive of pictures, or a picture."
        )
    with open_archive(data, limits.archive_limits, IMAGE_SUFFIXES | {CAPTION_SUFFIX}) as archive:
        pictures = _list_images(archive)
        if not pictures:
            kinds = ", ".join(sorted(kind.removeprefix(".") for kind in IMAGE_SUFFIXES))
            raise InputRejected("empty_dataset", f"The dataset has no pictures ({kinds}) in it.")
        if len(pictures) > limits.max_images:
            raise ArchiveTooLarge(f"there are more than {limits.max_images} pictures")
        return _pack_dataset(_read_pairs(archive, pictures, limits), limits.archive_limits.max_unpacked_bytes)


def _list_images(archive: ZipArchive) -> list[PurePosixPath]:
    """Names, no two of which would have the same caption."""
    found: dict[PurePosixPath, PurePosixPath] = {}
    for name in archive.names:
        if name.suffix.lower() in IMAGE_SUFFIXES and found.setdefault(name.with_suffix(""), name) != name:
            raise CorruptMedia(f"there are two pictures named {name.with_suffix('')}")
    return list(found.values())


def _read_pairs(
    archive: ZipArchive, names: list[PurePosixPath], limits: DatasetLimits
) -> Iterator[tuple[InputImage, str]]:
    pixels = 0
    for name in names:
        image, caption = _read_pair(archive, name, limits)
        pixels += image.width * image.height
        if pixels > limits.max_pixels:
            raise ArchiveTooLarge(f"its pictures have more than {limits.max_pixels} pixels together")
        yield image, caption


def _read_pair(archive: ZipArchive, name: PurePosixPath, limits: DatasetLimits) -> tuple[InputImage, str]:
    if archive.size(name) > limits.image_limits.max_bytes:
        raise ArchiveTooLarge(f"{name} is larger than {limits.image_limits.max_bytes} bytes")
    captions = (name.with_suffix(suffix) for suffix in (CAPTION_SUFFIX, CAPTION_SUFFIX.upper()))
    caption = next((_read_caption(archive, text) for text in captions if text in archive), "")
    return _decode_dataset_image(str(name), archive.read(name), limits), caption


def _decode_dataset_image(name: str, data: bytes, limits: DatasetLimits) -> InputImage:
    try:
        return decode_image(data, limits.image_limits, lossless=False)
    except ImageTooLarge as error:
        raise ImageTooLarge(f"{name}: {error}") from error
    except (CorruptMedia, InputRejected) as error:
        raise CorruptMedia(f"{name} is no picture that can be read") from error


def _read_caption(archive: ZipArchive, name: PurePosixPath) -> str:
    if archive.size(name) > MAX_CAPTION_BYTES:
        raise ArchiveTooLarge(f"{name} is larger than {MAX_CAPTION_BYTES} bytes")
    try:
        text = archive.read(name).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise CorruptMedia(f"{name} is no text in UTF-8") from error
    if "\0" in text:
        raise CorruptMedia(f"{name} has a NUL character in it")
    return text


def _pack_dataset(pairs: Iterable[tuple[InputImage, str]], max_bytes: int) -> InputDataset:
    """Raises ArchiveTooLarge beyond `most` bytes: pictures that were written anew may have grown."""
    buffer, pictures, captions = io.BytesIO(), 0, []
    with ZipFile(buffer, "w") as archive:
        for number, (image, caption) in enumerate(pairs):
            pictures += 1
            # With a date of its own the same dataset would be another file each time.
            archive.writestr(ZipInfo(f"{number:04}.{image.ext}"), image.data)
            if caption:
                archive.writestr(ZipInfo(f"{number:04}{CAPTION_SUFFIX}"), caption)
                captions.append(caption)
            if buffer.tell() > max_bytes:
                raise ArchiveTooLarge(f"its pictures, brought upright, take more than {max_bytes} bytes")
    return InputDataset(
        data=buffer.getvalue(),
        sha256=hashlib.sha256(buffer.getbuffer()).hexdigest(),
        image_count=pictures,
        captions="\n".join(captions),
    )
