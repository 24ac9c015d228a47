"""Decode, probe, convert and encode images with Pillow. CPU-bound: call it in a worker thread."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from PIL import ExifTags, Image, ImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from orchestrator.media.errors import CorruptMedia, ImageTooLarge, LosesFrames
from orchestrator.media.image_headers import read_image_size
from orchestrator.media.marks.metadata import strip_metadata
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

#: Formats that hold several frames and to which images are converted.
ANIMATION_TYPES = frozenset({"image/png", "image/webp"})
#: Limit on the pixels of all frames of an animation that is converted: they are in memory together.
MAX_ANIMATION_PIXELS = 2**27
#: Duration of frames that state none: browsers show those of a GIF for this long.
DEFAULT_FRAME_MILLISECONDS = 100
#: JPEG or WebP quality of conversions for which none is asked.
DEFAULT_QUALITY = 90

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


def convert_image(
    data: bytes, target_type: str, quality: int | None = None, default_quality: int = DEFAULT_QUALITY
) -> bytes:
    """Convert an image to `target_type` (image/png, image/jpeg or image/webp), with all of its frames.

    `quality` is 1 to 100 (JPEG and WebP); if it is None, data that already is of `target_type` is returned
    unchanged, and other data is encoded with `default_quality`. PNG is lossless and needs no quality.
    Transparency becomes white in a JPEG. PNG texts, such as the mark of the simulator, become the EXIF
    description. Raises CorruptMedia, LosesFrames for an animation as a JPEG.
    """
    content_type = detect_content_type(data)
    if content_type is None:
        raise CorruptMedia("the data is not of a supported image format")
    if content_type == target_type and (quality is None or target_type == "image/png"):
        return data
    options: dict[str, Any] = {} if target_type == "image/png" else {"quality": quality}
    if quality is None and options:
        options["quality"] = default_quality
    with open_image(data, content_type) as image:
        if int(getattr(image, "n_frames", 1)) > 1:
            return _convert_animation(image, target_type, options)
        image.load()
        pixels, exif = to_8bit_mode(image), _texts_to_exif(image)
    buffer = io.BytesIO()
    if target_type == "image/png":
        pixels.save(buffer, "PNG", compress_level=4)
    elif target_type == "image/jpeg":
        _flatten_on_white(pixels).save(buffer, "JPEG", exif=exif, **options)
    elif target_type == "image/webp":
        pixels.save(buffer, "WEBP", method=2, exif=exif, **options)
    else:
        raise ValueError(f"target_type must be image/png, image/jpeg or image/webp (got {target_type!r})")
    return buffer.getvalue()


def _convert_animation(image: ImageFile.ImageFile, target_type: str, options: dict[str, Any]) -> bytes:
    """Encode all frames with their durations. Raises LosesFrames for a format without animations."""
    count, (width, height) = int(getattr(image, "n_frames", 1)), image.size
    if target_type not in ANIMATION_TYPES:
        raise LosesFrames(
            f"an animation of {count} frames cannot become {target_type}, which holds one frame"
        )
    if count * width * height > MAX_ANIMATION_PIXELS:
        raise ImageTooLarge(
            f"the animation has {count} frames of {width}x{height} pixels; at most {MAX_ANIMATION_PIXELS}"
            " pixels in all can be converted"
        )
    exif, loop = _texts_to_exif(image), int(image.info.get("loop", 0 if image.format != "GIF" else 1))
    frames, durations = [], []
    # The default image of a PNG is shown by viewers that know no animations; it is not one of the frames.
    for index in range(1 if image.info.get("default_image") else 0, count):
        image.seek(index)
        image.load()
        durations.append(round(image.info.get("duration", 0)) or DEFAULT_FRAME_MILLISECONDS)
        frames.append(to_8bit_mode(image))
    mode = "RGBA" if any(frame.mode == "RGBA" for frame in frames) else "RGB"
    first, *others = [frame.convert(mode) for frame in frames]
    for frame in (first, *others):
        frame.info.clear()
    moving: dict[str, Any] = {"append_images": others, "duration": durations, "loop": loop}
    buffer = io.BytesIO()
    if target_type == "image/png":
        first.save(buffer, "PNG", save_all=True, compress_level=4, **moving)
    else:
        first.save(buffer, "WEBP", save_all=True, method=2, exif=exif, **moving, **options)
    data = buffer.getvalue()
    return _declare_alpha(data) if target_type == "image/webp" and mode == "RGBA" else data


def _declare_alpha(webp: bytes) -> bytes:
    """Set the alpha flag of an animated WebP.

    libwebp cuts frames to what is opaque, and then leaves the flag out: readers show the rest as black.
    """
    data = bytearray(webp)
    if data[12:16] == b"VP8X":
        data[20] |= 0x10
    return bytes(data)


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
