"""Read input images that callers send as base64, a data URL, an upload or a URL.

`inspect_image` checks the limits on the header, and allocates no memory for pixels. `decode_inspected_image`
decodes the image once in full, and returns a file without metadata. `read_image` does both.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

from PIL import Image, ImageFile

from orchestrator.errors import InvalidRequest
from orchestrator.media.errors import CorruptMedia, ImageTooLarge
from orchestrator.media.image_headers import read_image_size
from orchestrator.media.images import (
    check_pixel_count,
    encode_png,
    has_alpha,
    open_image,
    to_8bit_mode,
    verify_checksums,
)
from orchestrator.media.inputs.payloads import FetchUrl, InputRejected, PayloadDecoder
from orchestrator.media.marks.metadata import exif_orientation, strip_metadata
from orchestrator.media.sniffing import EXTENSIONS, detect_content_type

T = TypeVar("T")

#: Two threads bound the memory use under many large images: decoding takes four bytes per pixel.
_DECODER_POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="image-input")

#: Quality of a re-encoded JPEG.
_JPEG_QUALITY = 95
#: The transposition that brings an image of each EXIF orientation upright.
_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: EXIF orientations that swap width and height.
_SIDEWAYS_ORIENTATIONS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """Limits on one input image."""

    #: Size of the file after base64 decoding.
    max_bytes: int = 20 * 1024 * 1024
    #: Width times height (default: 8K).
    max_pixels: int = 7680 * 4320
    #: Pixels of the longer side.
    max_side: int = 16384
    formats: frozenset[str] = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})


@dataclass(frozen=True, kw_only=True, slots=True)
class InspectedImage:
    """An input image within the limits, whose pixels are not yet decoded."""

    #: The file without metadata.
    data: bytes
    content_type: str
    #: Pixels of the upright image.
    width: int
    height: int
    #: EXIF orientation, 1 (upright) to 8.
    orientation: int
    #: Whether `data` lacks further frames that the file had; decoding finds those that it still has.
    is_animated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class InputImage:
    """An upright PNG, JPEG or WebP image of one frame, without metadata."""

    data: bytes
    content_type: str
    width: int
    height: int
    #: Hexadecimal SHA-256 of `data`.
    sha256: str
    has_alpha: bool
    #: Alpha of the most transparent pixel, 0 to 255; 255 without an alpha channel.
    least_alpha: int = 255
    #: Red of the pixel with the most of it, 0 to 255; of a grey image its brightest pixel.
    most_red: int = 255
    #: Whether it is the first frame of an animation.
    is_animated: bool = False

    @property
    def ext(self) -> str:
        """The file extension without the dot."""
        return EXTENSIONS[self.content_type]

    @property
    def is_transparent(self) -> bool:
        """Whether some pixel is at least partly transparent; an alpha channel alone is not enough."""
        return self.least_alpha < 255


async def read_image(
    value: str | bytes, *, limits: ImageLimits, param: str = "image", fetch: FetchUrl | None = None
) -> InputImage:
    """Read an image from base64 text, a data URL, uploaded bytes, or a URL that `fetch` downloads.

    Base64 may use either alphabet, line breaks, and no padding. The first frame of an animation is used.
    Raises InvalidRequest with `param` and one of the codes `invalid_image`, `image_too_large`,
    `unsupported_image_format`, `image_url_refused`, `image_url_unreachable`; `image_url_not_supported` if
    `fetch` is None.
    """
    inspected = await inspect_image(value, limits=limits, param=param, fetch=fetch)
    return await decode_inspected_image(inspected, param=param)


async def fetch_image(
    value: str | bytes, *, limits: ImageLimits, param: str = "image", fetch: FetchUrl | None = None
) -> str | bytes:
    """Return the file behind a URL; any other value unchanged. Raises InvalidRequest as `read_image` does."""
    try:
        return await PayloadDecoder("image", limits.max_bytes).fetch_if_url(value, fetch)
    except InputRejected as rejected:
        raise InvalidRequest(str(rejected), code=rejected.code, param=param) from rejected


async def inspect_image(
    value: str | bytes, *, limits: ImageLimits, param: str = "image", fetch: FetchUrl | None = None
) -> InspectedImage:
    """Fetch an image and check its header. Raises InvalidRequest as `read_image` does."""
    value = await fetch_image(value, limits=limits, param=param, fetch=fetch)
    decoder = PayloadDecoder("image", limits.max_bytes)
    return await _run_decoder(lambda: inspect_image_data(decoder.decode(value), limits), param)


async def decode_inspected_image(inspected: InspectedImage, *, param: str = "image") -> InputImage:
    """Decode an image. Raises InvalidRequest with the code `invalid_image`."""
    return await _run_decoder(lambda: _decode(inspected, lossless=True), param)


async def _run_decoder(work: Callable[[], T], param: str) -> T:
    """Call `work` in a worker thread, and raise its errors as InvalidRequest."""
    try:
        return await asyncio.get_running_loop().run_in_executor(_DECODER_POOL, work)
    except InputRejected as rejected:
        raise InvalidRequest(str(rejected), code=rejected.code, param=param) from rejected
    except CorruptMedia as error:
        code = "image_too_large" if isinstance(error, ImageTooLarge) else "invalid_image"
        raise InvalidRequest(f"The image cannot be read: {error}.", code=code, param=param) from error


def inspect_image_data(data: bytes, limits: ImageLimits) -> InspectedImage:
    """Check the header of an image file. CPU-bound: call it in a worker thread.

    Raises InputRejected for an unsupported format; CorruptMedia.
    """
    content_type = detect_content_type(data)
    if content_type is None or content_type not in limits.formats:
        names = ", ".join(sorted(EXTENSIONS[name] for name in limits.formats))
        raise InputRejected(
            "unsupported_image_format",
            f"The image must be one of {names} (got {content_type or 'an unknown format'}).",
        )
    stripped = strip_metadata(data, content_type)
    size = read_image_size(stripped.data, content_type)
    check_pixel_count(size, limits.max_pixels)
    if max(size) > limits.max_side:
        raise ImageTooLarge(f"its longer side has {max(size)} pixels, at most {limits.max_side} are allowed")
    orientation = exif_orientation(stripped.exif)
    width, height = reversed(size) if orientation in _SIDEWAYS_ORIENTATIONS else size
    return InspectedImage(
        data=stripped.data,
        content_type=content_type,
        width=width,
        height=height,
        orientation=orientation,
        is_animated=stripped.lost_frames,
    )


def decode_image(data: bytes, limits: ImageLimits, *, lossless: bool = True) -> InputImage:
    """Check and decode an image file. CPU-bound: call it in a worker thread.

    An image that must be re-encoded (rotated, palette, animated) becomes a PNG; a JPEG stays a JPEG, at a
    tenth of the size, unless `lossless`. Raises InputRejected for an unsupported format; CorruptMedia.
    """
    return _decode(inspect_image_data(data, limits), lossless=lossless)


def _decode(inspected: InspectedImage, *, lossless: bool) -> InputImage:
    data, content_type = inspected.data, inspected.content_type
    with open_image(data, content_type, inspected.width * inspected.height) as image:
        image.load()
        verify_checksums(data, content_type)
        is_animated = inspected.is_animated or bool(getattr(image, "is_animated", False))
        transposition = _TRANSPOSE_BY_ORIENTATION.get(inspected.orientation)
        if transposition is None and _is_portable(image):
            return replace(to_input_image(data, content_type, image), is_animated=is_animated)
        upright = to_8bit_mode(image)
        if transposition is not None:
            upright = upright.transpose(transposition)
        if lossless or content_type != "image/jpeg":
            return replace(to_input_image(encode_png(upright), "image/png", upright), is_animated=is_animated)
        return to_input_image(_encode_jpeg(upright), content_type, upright)


def _encode_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _is_portable(image: ImageFile.ImageFile) -> bool:
    """Return whether every reader decodes the same pixels: 8 bits, no palette, no animation."""
    animated = getattr(image, "is_animated", False)
    return image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info and not animated


def open_input_image(image: InputImage) -> AbstractContextManager[ImageFile.ImageFile]:
    """Open the file of an image."""
    return open_image(image.data, image.content_type, image.width * image.height)


async def transform_input_image(work: Callable[[], InputImage]) -> InputImage:
    """Call `work`, which makes an image from others, in the worker threads of the decoders."""
    return await asyncio.get_running_loop().run_in_executor(_DECODER_POOL, work)


def to_input_image(data: bytes, content_type: str, image: Image.Image) -> InputImage:
    """Return a file and the image that it contains as an input image."""
    return InputImage(
        data=data,
        content_type=content_type,
        width=image.width,
        height=image.height,
        sha256=hashlib.sha256(data).hexdigest(),
        has_alpha=has_alpha(image),
        least_alpha=_extremum(image, "A", 0),
        most_red=_extremum(image, "R", 1),
    )


def _extremum(image: Image.Image, band: str, index: int) -> int:
    """Return the least (0) or the largest (1) value of a band; 255 if the image does not have it."""
    bands = image.getbands()
    band = "L" if band == "R" and bands[0] == "L" else band
    if band not in bands:
        return 255
    extrema = image.getchannel(band).getextrema()[index]
    return extrema if isinstance(extrema, int) else 255
