"""Pictures through Pillow. All of it is CPU work: call it in a worker thread."""

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
from orchestrator.media.info import MediaInfo
from orchestrator.media.metadata import strip_metadata, webp_size
from orchestrator.media.sniffing import detect_content_type

#: The decoder is chosen by the bytes we looked at. Pillow's own `Image.open` would also try formats
#: that nobody asked for, and warn at a size of its own choosing where each caller has its limits.
_DECODER_BY_CONTENT_TYPE: Mapping[str, type[ImageFile.ImageFile]] = {
    "image/png": PngImageFile,
    "image/jpeg": JpegImageFile,
    "image/webp": WebPImageFile,
    "image/gif": GifImageFile,
}
IMAGE_TYPES = frozenset(_DECODER_BY_CONTENT_TYPE)

#: Pixels of the largest picture that is decoded where the caller sets no limit (16384x16384, what a
#: fourfold upscaling of 4096x4096 gives).
MAX_IMAGE_PIXELS = 2**28

#: Characters of what a picture says of itself.
MAX_DESCRIPTION_LENGTH = 1000

#: What Pillow raises when it meets broken data.
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
    """The picture with its header read and its pixels not yet decoded.

    Raises ImageTooLarge by what the header says, CorruptMedia where it is broken, and CorruptMedia
    also for whatever goes wrong inside the `with` block while decoding.
    """
    decoder = _DECODER_BY_CONTENT_TYPE.get(content_type)
    if decoder is None:
        raise CorruptMedia(f"{content_type} can not be decoded")
    if content_type == "image/webp":
        _check_size(webp_size(data), max_pixels)
    try:
        with decoder(io.BytesIO(data)) as picture:
            _check_size(picture.size, max_pixels)
            yield picture
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(str(error)) from error
    except _DECODE_ERRORS as error:
        raise CorruptMedia(f"the picture can not be decoded: {error}") from error


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise CorruptMedia("the picture has no pixels")
    if width * height > max_pixels:
        raise ImageTooLarge(f"the picture has {width}x{height} pixels, at most {max_pixels} are allowed")


def verify_checksums(data: bytes, content_type: str) -> None:
    """Looks at every checksum of a PNG, a tenth of the time that decoding takes; Pillow decodes past a wrong
    one at the end of the pixels. Other formats have none. Raises as `opened` does."""
    if content_type == "image/png":
        with open_image(data, content_type) as picture:
            picture.verify()


def probe_image(data: bytes, content_type: str) -> MediaInfo:
    """Raises CorruptMedia for a picture that is broken or cut off."""
    if content_type == "image/jpeg":
        # Pillow looks for a resolution in the EXIF block and complains aloud of a broken one.
        data = strip_metadata(data, content_type).data
    with open_image(data, content_type) as picture:
        width, height = picture.size
        frames = int(getattr(picture, "n_frames", 1))
        if isinstance(picture, PngImageFile):
            duration = picture.info.get("duration", 0)
            picture.verify()  # as `verify` does
        else:
            picture.load()
            duration = picture.info.get("duration", 0)
    if frames < 2:
        return MediaInfo(content_type=content_type, width=width, height=height)
    fps = 1000 / duration if duration else None
    return MediaInfo(content_type=content_type, width=width, height=height, frames=frames, fps=fps)


def has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def to_8bit_mode(image: Image.Image) -> Image.Image:
    """The picture as 8-bit L, RGB or, where it has transparency, RGBA."""
    if has_alpha(image):
        return image.convert("RGBA")
    if image.mode.startswith("I"):
        # Pillow cuts 16 bits off at 255; we want them scaled.
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return image.convert("L" if image.mode in ("1", "L", "F") else "RGB")


def encode_png(image: Image.Image) -> bytes:
    """Lossless, quick rather than small, and without any metadata."""
    buffer = io.BytesIO()
    bare = image.copy()
    bare.info.clear()
    bare.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def convert_image(data: bytes, target_type: str, quality: int | None = None) -> bytes:
    """The first frame of a picture as content type `target_type` (png, jpeg or webp).

    `quality` is 1..100 (JPEG and WebP; default 90). A picture that is of type `target_type` already comes
    back
    as it is unless a quality is asked of it. Transparency becomes white in a JPEG. What a PNG says of itself,
    such as that it is a simulator's, becomes the description of the others. Raises CorruptMedia.
    """
    content_type = detect_content_type(data)
    if content_type is None:
        raise CorruptMedia
    if content_type == target_type and quality is None:
        return data
    with open_image(data, content_type) as picture:
        picture.load()
        pixels, exif = to_8bit_mode(picture), _texts_to_exif(picture)
    buffer = io.BytesIO()
    if target_type == "image/png":
        pixels.save(buffer, "PNG", compress_level=4)
    elif target_type == "image/jpeg":
        _flatten_on_white(pixels).save(buffer, "JPEG", quality=quality or 90, exif=exif)
    elif target_type == "image/webp":
        pixels.save(buffer, "WEBP", quality=quality or 90, method=2, exif=exif)
    else:
        raise ValueError(f"no encoder for {target_type}")
    return buffer.getvalue()


def _texts_to_exif(image: Image.Image) -> Image.Exif:
    """The texts of a PNG as an EXIF block; empty where there are none."""
    exif = Image.Exif()
    texts = image.text if isinstance(image, PngImageFile) else {}
    if texts:
        told = "; ".join(f"{name}: {text}" for name, text in texts.items())
        exif[ExifTags.Base.ImageDescription] = told[:MAX_DESCRIPTION_LENGTH]
    return exif


def _flatten_on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    sheet = Image.new("RGB", image.size, "white")
    sheet.paste(image, mask=image.getchannel("A"))
    return sheet
