"""Read the texts that ComfyUI and other tools embed in images, videos, audio files and 3D models."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.catalog.import_export.ui.ui_graph import InvalidWorkflow, as_mapping
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.ffmpeg import ffmpeg_errors, open_media
from orchestrator.media.marks.metadata import exif_texts, strip_metadata

#: Maximum bytes of one text; the largest published workflows are below 2 MB.
MAX_TEXT_BYTES = 16 * 2**20

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
#: EXIF tag of a user's comment, in which A1111 stores its parameters.
_USER_COMMENT_TAG = 0x9286
_SVG_METADATA_PATTERN = re.compile(rb"<metadata>\s*<!\[CDATA\[(.*?)\]\]>\s*</metadata>", re.DOTALL)
_GLB_HEADER_BYTES = 20

EmbeddedTexts = Iterator[tuple[str, str]]


def read_embedded_texts(data: bytes) -> EmbeddedTexts | None:
    """Return embedded metadata by name, such as `workflow`; None for a file without a known format.

    Raises InvalidWorkflow, also while the texts are read, if the file is broken.
    """
    for is_format, read in _READERS:
        if is_format(data):
            return read(data)
    return None


def _read_png_texts(data: bytes) -> EmbeddedTexts:
    position = len(_PNG_MAGIC)
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4])
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += length + 12
        name, _, rest = body.partition(b"\0")
        text: bytes | None = None
        # ComfyUI's animated PNGs have a chunk of their own kind, whose layout is that of tEXt.
        if kind in (b"tEXt", b"comf"):
            text = rest
        elif kind == b"zTXt" and rest[:1] == b"\0":
            text = _inflate(rest[1:])
        elif kind == b"iTXt" and len(rest) > 2:
            text = rest[2:].split(b"\0", 2)[-1]
            text = _inflate(text) if rest[0] else text
        if text is not None:
            yield name.decode("latin-1"), text.decode("utf-8", "replace")


def _inflate(data: bytes) -> bytes:
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(data, MAX_TEXT_BYTES)
    except zlib.error as error:
        raise InvalidWorkflow(f"a compressed text of the image is broken: {error}") from error
    if unpacker.unconsumed_tail:
        raise InvalidWorkflow(f"the JSON is larger than {MAX_TEXT_BYTES} bytes")
    return text


def _read_webp_texts(data: bytes) -> EmbeddedTexts:
    return _read_exif_texts(data, "image/webp")


def _read_jpeg_texts(data: bytes) -> EmbeddedTexts:
    return _read_exif_texts(data, "image/jpeg")


def _read_exif_texts(data: bytes, content_type: str) -> EmbeddedTexts:
    """Yield the texts `NAME:TEXT` of an image's EXIF data, and its comment as `parameters`."""
    try:
        # Pillow would allocate the pixels, of which a small file may declare very many.
        exif = strip_metadata(data, content_type).exif
    except CorruptMedia as error:
        raise InvalidWorkflow(f"the image cannot be read: {error}") from error
    for text in exif_texts(exif).values():
        name, _, rest = text.partition(":")
        yield name.lower(), rest
    comment = _find_user_comment(exif or b"")
    if comment:
        yield "parameters", comment


def _find_user_comment(exif: bytes) -> str:
    """Return the user's comment, which starts with the name of its encoding; empty if there is none."""
    for mark, encodings in ((b"UNICODE\0", ("utf-16-be", "utf-16-le")), (b"ASCII\0\0\0", ("utf-8",))):
        _, found, text = exif.partition(mark)
        if found:
            texts = [text.decode(encoding, "replace").rstrip("\0") for encoding in encodings]
            return max(texts, key=lambda each: sum(character.isascii() for character in each))
    return ""


def _read_media_texts(demuxer: str) -> Callable[[bytes], EmbeddedTexts]:
    """Return a reader of videos and audio files.

    The magic bytes select the demuxer: FFmpeg might choose one that opens other files and URLs.
    """

    def read(data: bytes) -> EmbeddedTexts:
        try:
            with open_media(data, demuxer) as container:
                tags = [dict(container.metadata), *(dict(stream.metadata) for stream in container.streams)]
        except ffmpeg_errors() as error:
            raise InvalidWorkflow(f"the {demuxer} file cannot be read: {error}") from error
        yield from ((name.lower(), text) for tag in tags for name, text in tag.items())

    return read


def _read_glb_texts(data: bytes) -> EmbeddedTexts:
    length = int.from_bytes(data[12:16], "little")
    scene = _parse_object(data[_GLB_HEADER_BYTES : _GLB_HEADER_BYTES + length])
    yield from _text_items(as_mapping(as_mapping(scene.get("asset")).get("extras")))


def _read_svg_texts(data: bytes) -> EmbeddedTexts:
    found = _SVG_METADATA_PATTERN.search(data)
    yield from _text_items(_parse_object(found[1]) if found else {})


def _read_safetensors_texts(data: bytes) -> EmbeddedTexts:
    length = int.from_bytes(data[:8], "little")
    yield from _text_items(as_mapping(_parse_object(data[8 : 8 + length]).get("__metadata__")))


def _parse_object(text: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a header; empty if it is none."""
    if len(text) > MAX_TEXT_BYTES:
        raise InvalidWorkflow(f"the JSON is larger than {MAX_TEXT_BYTES} bytes")
    try:
        return as_mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _text_items(values: Mapping[str, Any]) -> EmbeddedTexts:
    for name, value in values.items():
        yield name.lower(), value if isinstance(value, str) else json.dumps(value)


def _starts_with(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magic)


#: Whether a file has a format, and the reader of the format.
_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], EmbeddedTexts]], ...] = (
    (_starts_with(_PNG_MAGIC), _read_png_texts),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _read_webp_texts),
    (_starts_with(b"\xff\xd8\xff"), _read_jpeg_texts),
    (lambda data: data[4:8] == b"ftyp", _read_media_texts("mp4")),
    (_starts_with(b"\x1aE\xdf\xa3"), _read_media_texts("matroska")),
    (_starts_with(b"fLaC"), _read_media_texts("flac")),
    (_starts_with(b"OggS"), _read_media_texts("ogg")),
    (_starts_with(b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"), _read_media_texts("mp3")),
    (_starts_with(b"glTF"), _read_glb_texts),
    (lambda data: b"<svg" in data[:1000] and data.lstrip()[:1] != b"{", _read_svg_texts),
    (lambda data: data[8:9] == b"{" and b"__metadata__" in data[:200], _read_safetensors_texts),
)
