"""Pictures that callers send: taken in any wrapping, trusted in none.

Whatever comes out of `read_image` has been decoded once in full, within limits that were checked on the
header first, and carries pixels only.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image, ImageFile

from orchestrator.errors import InvalidRequest
from orchestrator.media.errors import CorruptMedia, ImageTooLarge
from orchestrator.media.images import encode_png, has_alpha, open_image, to_8bit_mode, verify_checksums
from orchestrator.media.metadata import exif_orientation, strip_metadata
from orchestrator.media.payloads import FetchUrl, InputRejected, PayloadDecoder
from orchestrator.media.sniffing import EXTENSIONS, detect_content_type

#: Two decoders at once: enough for the cores beside the GPUs, and a bound on memory under a flood of
#: large pictures (each takes four bytes a pixel while it is decoded).
_DECODER_POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="picture-input")

#: Quality of a JPEG that is written anew.
_JPEG_QUALITY = 95
#: What brings a picture of each EXIF orientation upright.
_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """What one input picture may be."""

    #: Bytes of the file, once out of its base64.
    max_bytes: int = 20 * 1024 * 1024
    #: Width times height (default: 8K).
    max_pixels: int = 7680 * 4320
    #: Pixels of the longer side.
    max_side: int = 16384
    formats: frozenset[str] = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})


@dataclass(frozen=True, kw_only=True, slots=True)
class InputImage:
    """An upright PNG, JPEG or WebP of one frame, without metadata."""

    data: bytes
    content_type: str
    width: int
    height: int
    #: Of `data`, hexadecimal.
    sha256: str
    has_alpha: bool

    @property
    def ext(self) -> str:
        """Extension without the dot."""
        return EXTENSIONS[self.content_type]


async def read_image(
    value: str | bytes, *, limits: ImageLimits, param: str = "image", fetch: FetchUrl | None = None
) -> InputImage:
    """Reads a picture given as base64 text (any alphabet, wrapped or unpadded), as a data URL, as the
    bytes of an uploaded file, or as an address that `fetch` gets it from.

    Of an animation the first frame is taken. Raises InvalidRequest with `param` and one of the codes
    `invalid_image`, `image_too_large`, `unsupported_image_format`, `image_url_refused`,
    `image_url_unreachable`, and without `fetch` `image_url_not_supported`.
    """
    loop = asyncio.get_running_loop()
    try:
        value = await _payload_decoder(limits).fetch_if_url(value, fetch)
        return await loop.run_in_executor(_DECODER_POOL, _decode_payload, value, limits)
    except InputRejected as refused:
        raise InvalidRequest(str(refused), code=refused.code, param=param) from refused
    except CorruptMedia as error:
        code = "image_too_large" if isinstance(error, ImageTooLarge) else "invalid_image"
        raise InvalidRequest(f"The image can not be read: {error}.", code=code, param=param) from error


def _decode_payload(value: str | bytes, limits: ImageLimits) -> InputImage:
    return decode_image(_payload_decoder(limits).decode(value), limits)


def _payload_decoder(limits: ImageLimits) -> PayloadDecoder:
    return PayloadDecoder("image", limits.max_bytes)


def decode_image(data: bytes, limits: ImageLimits, *, lossless: bool = True) -> InputImage:
    """The picture in a file: CPU work. Where its pixels must be written anew, a JPEG becomes a PNG, or stays
    a JPEG of a tenth of the size where it need not be `lossless`.

    Raises Refused for a format that is not taken, CorruptMedia.
    """
    content_type = detect_content_type(data)
    if content_type not in limits.formats:
        names = ", ".join(sorted(EXTENSIONS[name] for name in limits.formats))
        raise InputRejected("unsupported_image_format", f"The image must be one of {names}.")
    stripped = strip_metadata(data, content_type)
    with open_image(stripped.data, content_type, limits.max_pixels) as picture:
        if max(picture.size) > limits.max_side:
            raise ImageTooLarge(f"a side of the picture is longer than {limits.max_side} pixels")
        picture.load()
        verify_checksums(stripped.data, content_type)
        turn = _TRANSPOSE_BY_ORIENTATION.get(exif_orientation(stripped.exif))
        if turn is None and _is_portable(picture):
            return _to_input_image(stripped.data, content_type, picture)
        upright = to_8bit_mode(picture)
        if turn is not None:
            upright = upright.transpose(turn)
        if lossless or content_type != "image/jpeg":
            return _to_input_image(encode_png(upright), "image/png", upright)
        return _to_input_image(_encode_jpeg(upright), content_type, upright)


def _encode_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _is_portable(image: ImageFile.ImageFile) -> bool:
    """Whether every reader takes the file for the same pixels: no palette, no animation, 8 bits."""
    animated = getattr(image, "is_animated", False)
    return image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info and not animated


def _to_input_image(data: bytes, content_type: str, image: Image.Image) -> InputImage:
    return InputImage(
        data=data,
        content_type=content_type,
        width=image.width,
        height=image.height,
        sha256=hashlib.sha256(data).hexdigest(),
        has_alpha=has_alpha(image),
    )
