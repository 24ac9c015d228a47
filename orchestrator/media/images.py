"""Decode, probe, convert and encode images with Pillow. CPU-bound: call it in a worker thread."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from PIL import ExifTags, Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from orchestrator.media.errors import CorruptMedia, ImageTooLarge
from orchestrator.media.image_headers import read_image_size
from orchestrator.media.metadata import strip_metadata
from orchestrator.media.sniffing import MediaInfo, detect_content_type

#: The detected content type selects the decoder. Pillow's `Image.open` would also try other formats, and
#: enforces its own size limit where each caller has its own.
_DECODER_BY_CONTENT_TYPE: Mapping[str, type[ImageFile.ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/webp": WebPImageFile,
    "image/gif": GifImageFile,
}
IMAGE_TYPES = frozenset(_DECODER_BY_CONTENT_TYPE)

#: Default limit on decoded pixels: 16384x16384, the result of upscaling 4096x4096 by four.
MAX_IMAGE_PIXELS = 2**28

#: Maximum characters of an EXIF image description.
MAX_DESCRIPTION_LENGTH = 1000

#: Exceptions that Pillow raises for broken data.
_DECODE_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
    struct.error,
    zlib.error,
)


@contextmanager
def open_image(
    data: bytes, content_type: str, max_pixels: int = MAX_IMAGE_PIXELS
) -> Iterator[ImageFile.ImageFile]:
    """Open an image: the header is read, the pixels are not yet decoded.

    Raises ImageTooLarge if the header declares too many pixels, CorruptMedia if the header is broken, and
    CorruptMedia for decoding errors inside the `with` block.
    """
    decoder = _DECODER_BY_CONTENT_TYPE.get(content_type)
    if decoder is None:
        raise CorruptMedia(f"{content_type} is not a supported image format")
    size = read_image_size(data, content_type)
    check_pixel_count(size, max_pixels)
    try:
        with decoder(io.BytesIO(data)) as image:
            if image.size != size:
                raise CorruptMedia(f"the image declares two sizes, {size} and {image.size}")
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(str(error)) from error
    except _DECODE_ERRORS as error:
        raise CorruptMedia(f"the image cannot be decoded: {error}") from error


def check_pixel_count(size: tuple[int, int], max_pixels: int) -> None:
    """Raise ImageTooLarge for more pixels than allowed, CorruptMedia for an image without pixels."""
    width, height = size
    if width < 1 or height < 1:
        raise CorruptMedia("the image has no pixels")
    if width * height > max_pixels:
        raise ImageTooLarge(f"the image has {width}x{height} pixels, at most {max_pixels} are allowed")


def verify_checksums(data: bytes, content_type: str) -> None:
    """Verify every chunk checksum of a PNG; other formats have none. Raises as `open_image` does.

    Takes a tenth of the decoding time, and catches what decoding does not: Pillow ignores a wrong checksum
    at the end of the pixel data.
    """
    if content_type == "image/png":
        with open_image(data, content_type) as image:
            image.verify()


def probe_image(data: bytes, content_type: str) -> MediaInfo:
    """Return the size and frame count of an image. Raises CorruptMedia if it is broken or truncated."""
    if content_type == "image/jpeg":
        # Pillow reads the resolution from the EXIF block and warns about a broken one.
        data = strip_metadata(data, content_type).data
    with open_image(data, content_type) as image:
        width, height = image.size
        frames = int(getattr(image, "n_frames", 1))
        if isinstance(image, PngImageFile):
            duration = image.info.get("duration", 0)
            image.verify()  # the checksums cover all data, at a tenth of the time that decoding takes
        else:
            image.load()
            duration = image.info.get("duration", 0)
    if frames < 2:
        return MediaInfo(content_type=content_type, width=width, height=height)
    fps = 1000 / duration if duration else None
    return MediaInfo(content_type=content_type, width=width, height=height, frames=frames, fps=fps)


def has_alpha(image: Image.Image) -> bool:
    """Return whether the image has an alpha channel or a transparent colour."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def to_8bit_mode(image: Image.Image) -> Image.Image:
    """Convert to 8-bit L or RGB, or to RGBA if the image has transparency."""
    if has_alpha(image):
        return image.convert("RGBA")
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit values at 255 instead of scaling them.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return image.convert("L" if image.mode in ("1", "L", "F") else "RGB")


def encode_png(image: Image.Image) -> bytes:
    """Encode as PNG without metadata, with fast rather than small compression."""
    buffer = io.BytesIO()
    bare = image.copy()
    bare.info.clear()
    bare.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def convert_image(data: bytes, target_type: str, quality: int | None = None) -> bytes:
    """Convert the first frame of an image to `target_type` (image/png, image/jpeg or image/webp).

    `quality` is 0 to 100 (JPEG and WebP; default 90). Data that already is of `target_type` is returned
    unchanged unless a quality is given. Transparency becomes white in a JPEG. PNG texts, such as the mark of
    the simulator, become the EXIF description. Raises CorruptMedia.
    """
    content_type = detect_content_type(data)
    if content_type is None:
        raise CorruptMedia("the data is not of a supported image format")
    if content_type == target_type and quality is None:
        return data
    with open_image(data, content_type) as image:
        image.load()
        pixels, exif = to_8bit_mode(image), _texts_to_exif(image)
    buffer = io.BytesIO()
    if target_type == "image/png":
        pixels.save(buffer, "PNG", compress_level=4)
    elif target_type == "image/jpeg":
        _flatten_on_white(pixels).save(buffer, "JPEG", quality=90 if quality is None else quality, exif=exif)
    elif target_type == "image/webp":
        pixels.save(buffer, "WEBP", quality=90 if quality is None else quality, method=2, exif=exif)
    else:
        raise ValueError(f"target_type must be image/png, image/jpeg or image/webp (got {target_type!r})")
    return buffer.getvalue()


def _texts_to_exif(image: Image.Image) -> Image.Exif:
    """Return the texts of a PNG as the description of an EXIF block; empty if there are none."""
    exif = Image.Exif()
    texts = image.text if isinstance(image, PngImageFile) else {}
    if texts:
        description = "; ".join(f"{name}: {text}" for name, text in texts.items())
        exif[ExifTags.Base.ImageDescription] = description[:MAX_DESCRIPTION_LENGTH]
    return exif


def _flatten_on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    background = Image.new("RGB", image.size, "white")
    background.paste(image, mask=image.getchannel("A"))
    return background
