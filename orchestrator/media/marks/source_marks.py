"""Write and read the machine-readable mark of generated media: IPTC's `DigitalSourceType` in XMP.

The mark changes no pixel, frame or sample. It is in an XMP packet where the format has a place for one; WebM,
Matroska, FLAC, MP3 and Ogg have it as a tag.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.image_headers import read_image_size
from orchestrator.media.marks.metadata import (
    PNG_SIGNATURE,
    iter_jpeg_segments,
    iter_png_chunks,
    iter_webp_chunks,
    make_png_chunk,
    make_riff_chunk,
)
from orchestrator.media.marks.provenance import CONTAINERS, read_container_tags, write_container_tag

#: Where IPTC defines the values.
_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: Name of the tag of containers that have no place for XMP.
TAG = "DIGITALSOURCETYPE"
_FOUND = re.compile(rb"DigitalSourceType(?:>|=[\"'])\s*(http[^<\"'\s]{1,200})")
_PNG_KEYWORD = b"XML:com.adobe.xmp\0"
_JPEG_XMP = (b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0")
_APP0, _APP1, _APP11 = 0xE0, 0xE1, 0xEB
_BMFF_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_BMFF_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_BMFF_TYPES = frozenset({"video/mp4", "video/quicktime", "audio/mp4"})
#: VP8X flags of alpha and XMP.
_WEBP_ALPHA, _WEBP_XMP = 0x10, 0x04
#: Ends an XMP packet in a GIF: whatever byte of it a reader of blocks arrives at leads to the end.
_GIF_TRAILER = b"\x01" + bytes(range(0xFF, -1, -1)) + b"\0"
_GIF_EXTENSION = b"\x21\xff\x0bXMP DataXMP"


class SourceType(StrEnum):
    """How a medium came about, in IPTC's vocabulary."""

    GENERATED = f"{_VOCABULARY}trainedAlgorithmicMedia"
    #: A photograph of which parts were generated.
    COMPOSITE = f"{_VOCABULARY}compositeWithTrainedAlgorithmicMedia"


def source_packet(source: SourceType = SourceType.GENERATED) -> bytes:
    """Return the XMP packet that says how a medium came about. Equal for all media of a source."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    ).encode()


def mark_source(data: bytes, content_type: str, source: SourceType = SourceType.GENERATED) -> bytes:
    """Return the same media with the mark; data of other formats as it is.

    An earlier mark is replaced, and a signed manifest is dropped, which would no longer be true. CPU-bound:
    call it in a worker thread. Raises CorruptMedia.
    """
    try:
        if content_type in _WRITERS:
            return _WRITERS[content_type](data, source_packet(source))
        if content_type in CONTAINERS:
            return write_container_tag(data, content_type, TAG, source)
    except (struct.error, IndexError) as error:
        raise CorruptMedia("the media is truncated") from error
    return data


def read_source(data: bytes, content_type: str) -> str | None:
    """Return the mark of a medium, also that of another program; None without one. Raises CorruptMedia."""
    if content_type in CONTAINERS and content_type not in _WRITERS:
        return read_container_tags(data, content_type).get(TAG)
    try:
        for block in _xmp_blocks(data, content_type):
            if found := _FOUND.search(block):
                return found[1].decode("ascii", "replace")
    except (struct.error, IndexError) as error:
        raise CorruptMedia("the media is truncated") from error
    return None


def _xmp_blocks(data: bytes, content_type: str) -> Iterator[bytes]:
    match content_type:
        case "image/png":
            yield from (chunk.body for chunk in iter_png_chunks(data) if _is_png_xmp(chunk.body, chunk.kind))
        case "image/jpeg":
            yield from (raw for marker, raw in iter_jpeg_segments(data) if _is_jpeg_xmp(marker, raw))
        case "image/webp":
            yield from (body for kind, body, _ in iter_webp_chunks(data) if kind == b"XMP ")
        case "image/gif":
            yield from data.split(_GIF_EXTENSION)[1:]
        case "audio/wav":
            yield from (body for kind, body in _iter_riff(data) if kind == b"_PMX")
        case _ if content_type in _BMFF_TYPES:
            yield from (box for kind, box in _iter_boxes(data) if kind == b"uuid" and box[8:24] == _BMFF_XMP)


def _is_png_xmp(body: bytes, kind: bytes) -> bool:
    return kind == b"iTXt" and body.startswith(_PNG_KEYWORD)


def _is_jpeg_xmp(marker: int, raw: bytes) -> bool:
    return marker == _APP1 and raw[4:].startswith(_JPEG_XMP)


def _mark_png(data: bytes, packet: bytes) -> bytes:
    body = _PNG_KEYWORD + b"\0\0\0\0" + packet
    mark = make_png_chunk(b"iTXt", body)
    parts = [PNG_SIGNATURE]
    for chunk in iter_png_chunks(data):
        if chunk.kind == b"caBX" or _is_png_xmp(chunk.body, chunk.kind):
            continue
        parts.append(chunk.raw)
        if chunk.kind == b"IHDR":
            parts.append(mark)
    return b"".join(parts)


def _mark_jpeg(data: bytes, packet: bytes) -> bytes:
    body = _JPEG_XMP[0] + packet
    mark = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    parts, is_marked, length = [data[:2]], False, 2
    for marker, raw in iter_jpeg_segments(data):
        length += len(raw)
        if _is_jpeg_xmp(marker, raw) or (marker == _APP11 and raw[4:6] == b"JP"):
            continue
        # The mark stands behind the headers of JFIF and EXIF, which readers expect first.
        if not is_marked and marker != _APP0 and not (marker == _APP1 and raw[4:8] == b"Exif"):
            parts.append(mark)
            is_marked = True
        parts.append(raw)
    return b"".join(parts)


def _mark_webp(data: bytes, packet: bytes) -> bytes:
    chunks = [chunk for chunk in iter_webp_chunks(data) if chunk.kind not in (b"XMP ", b"C2PA")]
    if not chunks:
        raise CorruptMedia("the image is truncated")
    raws = [chunk.raw for chunk in chunks]
    if chunks[0].kind == b"VP8X":
        raws[0] = raws[0][:8] + bytes([raws[0][8] | _WEBP_XMP]) + raws[0][9:]
    else:
        # The plain form has no place for metadata; the extended one repeats size and transparency.
        width, height = read_image_size(data, "image/webp")
        has_alpha = chunks[0].kind == b"VP8L" and bool(chunks[0].body[4] & 0x10)
        flags = _WEBP_XMP | (_WEBP_ALPHA if has_alpha else 0)
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        raws.insert(0, b"VP8X" + struct.pack("<II", 10, flags) + size)
    raws.append(make_riff_chunk(b"XMP ", packet))
    body = b"WEBP" + b"".join(raws)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _mark_gif(data: bytes, packet: bytes) -> bytes:
    if _GIF_EXTENSION in data:
        return data
    palette = 3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    start = 13 + palette
    return b"GIF89a" + data[6:start] + _GIF_EXTENSION + packet + _GIF_TRAILER + data[start:]


def _mark_wav(data: bytes, packet: bytes) -> bytes:
    kept = [(kind, body) for kind, body in _iter_riff(data) if kind not in (b"_PMX", b"C2PA")]
    body = b"WAVE" + b"".join(make_riff_chunk(kind, chunk) for kind, chunk in (*kept, (b"_PMX", packet)))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _iter_riff(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and body of the chunks; the length of the last one may be too large, as in streams."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _mark_bmff(data: bytes, packet: bytes) -> bytes:
    """Append the packet: positions in the file, which tables in its boxes hold, do not change."""
    boxes = list(_iter_boxes(data))
    if any(kind == b"uuid" and box[8:24] == _BMFF_C2PA for kind, box in boxes):
        return data  # its manifest is signed with the mark, and stands before positions that tables hold
    if boxes and boxes[-1][0] == b"uuid" and boxes[-1][1][8:24] == _BMFF_XMP:
        boxes.pop()
    kept = b"".join(box for _, box in boxes)
    mark = struct.pack(">I", 24 + len(packet)) + b"uuid" + _BMFF_XMP + packet
    return kept + mark


def _iter_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and bytes of the outer boxes. One that reaches to the end of the file gets its length."""
    at = 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        box = data[at : at + length] if length else data[at:]
        if length == 0:
            if len(box) >= 2**32:
                raise CorruptMedia("the video has a box without a length that is too long")
            box = struct.pack(">I", len(box)) + box[4:]
        if len(box) < 8 or (length and len(box) < length):
            raise CorruptMedia("the video is truncated")
        yield kind, box
        at += len(box)


_WRITERS: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "image/png": _mark_png,
    "image/jpeg": _mark_jpeg,
    "image/webp": _mark_webp,
    "image/gif": _mark_gif,
    "audio/wav": _mark_wav,
    **dict.fromkeys(_BMFF_TYPES, _mark_bmff),
}
#: Types that get a mark. Others (meshes, tensors, text) have no place for one.
MARKED_TYPES = frozenset({*_WRITERS, *CONTAINERS})
