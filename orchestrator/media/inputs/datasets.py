"""Read training datasets that callers send: images with optional captions.

A dataset is a zip archive of images in any folders, each with an optional caption file of the same name
(`fox.jpg`, `fox.txt`); or a single image. `read_dataset` first checks the headers of all images, then decodes
every image, checks every caption, and returns a new archive with numbered names.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from zipfile import ZipFile, ZipInfo

from orchestrator.errors import InvalidRequest
from orchestrator.fair_slots import run_to_end
from orchestrator.media.errors import CorruptMedia, ImageTooLarge
from orchestrator.media.inputs.archives import (
    ZIP_MAGIC,
    ArchiveLimits,
    ArchiveTooLarge,
    ZipArchive,
    open_archive,
)
from orchestrator.media.inputs.input_images import (
    ImageLimits,
    InputImage,
    InspectedImage,
    decode_image,
    inspect_image_data,
)
from orchestrator.media.inputs.payloads import FetchUrl, InputRejected, PayloadDecoder
from orchestrator.media.sniffing import EXTENSIONS, detect_content_type

#: Two threads bound the memory use: decoding an archive takes several times its size.
_DECODER_POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="dataset-input")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
CAPTION_SUFFIX = ".txt"
#: Names that a message about unused files shows, and characters of each.
MAX_SHOWN_NAMES, MAX_SHOWN_NAME = 5, 60
#: Maximum size of a caption file.
MAX_CAPTION_BYTES = 10_000
#: Checks the number of images of a dataset. Raises InvalidRequest.
CheckCount = Callable[[int], None]
CONTENT_TYPE_BY_SUFFIX = {f".{EXTENSIONS[kind]}": kind for kind in ("image/png", "image/jpeg", "image/webp")}


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLimits:
    """Limits on one dataset."""

    #: Size of the archive after base64 decoding; unpacked it may be twice as large.
    max_bytes: int = 128 * 2**20
    max_images: int = 1000
    #: Total pixels of all images; decoding this many takes about a minute.
    max_pixels: int = 4_000_000_000
    #: Limits on each image.
    image_limits: ImageLimits = field(default_factory=ImageLimits)

    @property
    def archive_limits(self) -> ArchiveLimits:
        return ArchiveLimits(max_unpacked_bytes=2 * self.max_bytes, max_entries=4 * self.max_images)


@dataclass(frozen=True, kw_only=True, slots=True)
class InputDataset:
    """An uncompressed zip archive of `0000.png`, `0000.txt`, `0001.jpg`, ...

    Equal images and captions in the same name order give equal bytes.
    """

    data: bytes
    #: Hexadecimal SHA-256 of `data`.
    sha256: str
    image_count: int
    #: All captions, one per line.
    captions: str
    #: What was sent and is not used, as sentences about the dataset.
    unused: Sequence[str] = ()
    content_type: str = "application/zip"

    @property
    def ext(self) -> str:
        """The file extension without the dot."""
        return "zip"


async def read_dataset(
    value: str | bytes,
    *,
    limits: DatasetLimits,
    param: str = "dataset",
    fetch: FetchUrl | None = None,
    check_count: CheckCount = lambda count: None,
    decoder_slot: AbstractAsyncContextManager[None] | None = None,
) -> InputDataset:
    """Read a dataset from base64 text, a data URL, uploaded bytes or a URL (see `read_image`).

    `decoder_slot` is held while the dataset is decoded, not while it is downloaded. `check_count` is called
    with the number of images before any of them is unpacked. Raises what it raises, and InvalidRequest with
    `param` and one of the codes `invalid_dataset`, `empty_dataset`, `dataset_too_large`,
    `unsupported_dataset_format`, `dataset_url_refused`, `dataset_url_unreachable`;
    `dataset_url_not_supported` if `fetch` is None.
    """
    loop = asyncio.get_running_loop()
    decoder = PayloadDecoder("dataset", limits.max_bytes)
    try:
        value = await decoder.fetch_if_url(value, fetch)
        async with decoder_slot or nullcontext():
            decoding = loop.run_in_executor(
                _DECODER_POOL, lambda: _decode_dataset(decoder.decode(value), limits, check_count)
            )
            return await run_to_end(decoding)
    except InputRejected as rejected:
        raise InvalidRequest(str(rejected), code=rejected.code, param=param) from rejected
    except CorruptMedia as error:
        large = isinstance(error, ArchiveTooLarge | ImageTooLarge)
        code = "dataset_too_large" if large else "invalid_dataset"
        raise InvalidRequest(f"The dataset cannot be read: {error}.", code=code, param=param) from error


def iter_dataset_files(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Yield the name, content type and contents of each file in the archive of an InputDataset."""
    with ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            content_type = CONTENT_TYPE_BY_SUFFIX.get(PurePosixPath(name).suffix, "text/plain")
            yield name, content_type, archive.read(name)


def _decode_dataset(data: bytes, limits: DatasetLimits, check_count: CheckCount) -> InputDataset:
    if detect_content_type(data) in limits.image_limits.formats:
        check_count(1)
        return _pack_dataset(
            [(_decode_dataset_image("the image", data, limits), "")],
            limits.archive_limits.max_unpacked_bytes,
        )
    if not data.startswith(ZIP_MAGIC):
        raise InputRejected(
            "unsupported_dataset_format", "The dataset must be a zip archive of images, or a single image."
        )
    with open_archive(data, limits.archive_limits, IMAGE_SUFFIXES | {CAPTION_SUFFIX}) as archive:
        images = _list_images(archive)
        if not images:
            suffixes = ", ".join(sorted(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES))
            other = _name_some(archive.other_names)
            raise InputRejected(
                "empty_dataset",
                f"The dataset contains no images ({suffixes})" + (f"; it has {other}." if other else "."),
            )
        if len(images) > limits.max_images:
            raise ArchiveTooLarge(
                f"it contains {len(images)} images; at most {limits.max_images} are allowed"
            )
        check_count(len(images))
        _check_headers(archive, images, limits)
        captions = _match_captions(archive, images)
        packed = _pack_dataset(
            _read_pairs(archive, images, captions, limits), limits.archive_limits.max_unpacked_bytes
        )
        return replace(packed, unused=(*packed.unused, *_describe_unused(archive, images, captions)))


def _list_images(archive: ZipArchive) -> list[PurePosixPath]:
    """Return the names of the images. Raises CorruptMedia if two of them would share a caption file."""
    found: dict[PurePosixPath, PurePosixPath] = {}
    for name in archive.names:
        if name.suffix.lower() in IMAGE_SUFFIXES and found.setdefault(name.with_suffix(""), name) != name:
            raise CorruptMedia(f"it contains two images named {name.with_suffix('')}")
    return list(found.values())


def _check_headers(archive: ZipArchive, names: list[PurePosixPath], limits: DatasetLimits) -> None:
    """Check the files and headers of all images, so that one that is refused costs no decoding.

    Raises CorruptMedia, ImageTooLarge, ArchiveTooLarge.
    """
    pixels = 0
    for name in names:
        if archive.size(name) > limits.image_limits.max_bytes:
            raise ArchiveTooLarge(f"{name} is larger than {limits.image_limits.max_bytes} bytes")
        inspected = _inspect_dataset_image(str(name), archive.read(name), limits)
        pixels += inspected.width * inspected.height
        if pixels > limits.max_pixels:
            raise ArchiveTooLarge(f"its images have more than {limits.max_pixels} pixels in total")


def _match_captions(
    archive: ZipArchive, images: Iterable[PurePosixPath]
) -> dict[PurePosixPath, PurePosixPath]:
    """Return the caption file of each image that has one: that of the same name, before its suffix."""
    by_stem: dict[PurePosixPath, PurePosixPath] = {}
    for name in reversed(archive.names):  # lower case comes last, and counts
        if name.suffix.lower() == CAPTION_SUFFIX:
            by_stem.setdefault(name.with_suffix(""), name)
    return {name: by_stem[stem] for name in images if (stem := name.with_suffix("")) in by_stem}


def _describe_unused(
    archive: ZipArchive, images: Iterable[PurePosixPath], captions: Mapping[PurePosixPath, PurePosixPath]
) -> Iterator[str]:
    """Yield sentences about files of the archive that are neither images nor their captions."""
    if archive.other_names:
        suffixes = ", ".join(sorted(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES))
        yield (
            f"not used: {_name_some(archive.other_names)}; images are {suffixes}, captions are"
            f" {CAPTION_SUFFIX.removeprefix('.')} files"
        )
    used = {*images, *captions.values()}
    lonely = [name for name in archive.names if name not in used]
    if lonely:
        yield f"not used: {_name_some(lonely)}; a caption has the name of its image, like fox.jpg and fox.txt"


def _name_some(names: Sequence[PurePosixPath]) -> str:
    """Return the first names of a list, and how many more there are; empty for none."""
    shown = [repr(str(name)[:MAX_SHOWN_NAME]) for name in names[:MAX_SHOWN_NAMES]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _read_pairs(
    archive: ZipArchive,
    names: list[PurePosixPath],
    captions: Mapping[PurePosixPath, PurePosixPath],
    limits: DatasetLimits,
) -> Iterator[tuple[InputImage, str]]:
    for name in names:
        caption = _read_caption(archive, captions[name]) if name in captions else ""
        yield _decode_dataset_image(str(name), archive.read(name), limits), caption


def _inspect_dataset_image(name: str, data: bytes, limits: DatasetLimits) -> InspectedImage:
    with _name_image(name):
        return inspect_image_data(data, limits.image_limits)


def _decode_dataset_image(name: str, data: bytes, limits: DatasetLimits) -> InputImage:
    with _name_image(name):
        return decode_image(data, limits.image_limits, lossless=False)


@contextmanager
def _name_image(name: str) -> Iterator[None]:
    """Add the name of the image to its errors."""
    try:
        yield
    except ImageTooLarge as error:
        raise ImageTooLarge(f"{name}: {error}") from error
    except (CorruptMedia, InputRejected) as error:
        raise CorruptMedia(f"{name} is not a readable image: {str(error).removesuffix('.')}") from error


def _read_caption(archive: ZipArchive, name: PurePosixPath) -> str:
    if archive.size(name) > MAX_CAPTION_BYTES:
        raise ArchiveTooLarge(f"{name} is larger than {MAX_CAPTION_BYTES} bytes")
    try:
        text = archive.read(name).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise CorruptMedia(f"{name} is not UTF-8 text") from error
    if "\0" in text:
        raise CorruptMedia(f"{name} contains a NUL character")
    return text


def _pack_dataset(pairs: Iterable[tuple[InputImage, str]], max_bytes: int) -> InputDataset:
    """Write the images and captions to a new archive.

    Raises ArchiveTooLarge beyond `max_bytes`: an image that had to be re-encoded may have grown.
    """
    buffer, image_count, animations, captions = io.BytesIO(), 0, 0, []
    with ZipFile(buffer, "w") as archive:
        for number, (image, caption) in enumerate(pairs):
            image_count += 1
            animations += image.is_animated
            # ZipInfo's fixed date keeps the bytes, and so the digest, the same for the same dataset.
            archive.writestr(ZipInfo(f"{number:04}.{image.ext}"), image.data)
            if caption:
                archive.writestr(ZipInfo(f"{number:04}{CAPTION_SUFFIX}"), caption)
                captions.append(caption)
            if buffer.tell() > max_bytes:
                raise ArchiveTooLarge(f"its images take more than {max_bytes} bytes once re-encoded")
    return InputDataset(
        data=buffer.getvalue(),
        sha256=hashlib.sha256(buffer.getbuffer()).hexdigest(),
        image_count=image_count,
        captions="\n".join(captions),
        unused=(f"{animations} animation(s), of which only the first frame is used",) if animations else (),
    )
