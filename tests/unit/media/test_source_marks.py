"""Generated media say so in their metadata, and no pixel, frame or sample of them changes."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence
from PIL.PngImagePlugin import PngInfo

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.formats import probe_media
from orchestrator.media.marks.provenance import strip_graph_metadata
from orchestrator.media.marks.source_marks import MARKED_TYPES, SourceType, mark_source, read_source
from tests.support.media_files import MEDIA, decoded, image

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.mark.parametrize("name", MEDIA)
def test_marks_a_medium_without_changing_what_it_shows(name: str) -> None:
    content_type, data = MEDIA[name]()
    assert content_type in MARKED_TYPES
    assert read_source(data, content_type) is None
    marked = mark_source(data, content_type)
    assert read_source(marked, content_type) == GENERATED
    assert decoded(marked, content_type) == decoded(data, content_type)
    before, after = probe_media(data), probe_media(marked)
    assert (after.content_type, after.width, after.height, after.frames) == (
        before.content_type, before.width, before.height, before.frames,
    )  # fmt: skip
    assert len(marked) - len(data) < 1200


@pytest.mark.parametrize("name", MEDIA)
def test_equal_media_get_equal_files_however_often_they_are_marked(name: str) -> None:
    content_type, data = MEDIA[name]()
    marked = mark_source(data, content_type)
    assert mark_source(data, content_type) == marked
    assert mark_source(marked, content_type) == marked


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "transparent webp", "mp4", "wav"])
def test_another_mark_replaces_the_first(name: str) -> None:
    content_type, data = MEDIA[name]()
    changed = mark_source(mark_source(data, content_type), content_type, SourceType.COMPOSITE)
    assert read_source(changed, content_type) == SourceType.COMPOSITE
    assert GENERATED.encode() not in changed


@pytest.mark.parametrize("name", MEDIA)
def test_removing_a_graph_keeps_the_mark(name: str) -> None:
    content_type, data = MEDIA[name]()
    marked = mark_source(data, content_type)
    assert read_source(strip_graph_metadata(marked, content_type), content_type) == GENERATED


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_other_programs_read_the_mark(format: str) -> None:
    marked = mark_source(image(format), f"image/{format.lower()}")
    with Image.open(io.BytesIO(marked)) as opened:
        packet = opened.info["xmp"]
    assert GENERATED.encode() in packet
    assert ElementTree.fromstring(packet).tag == "{adobe:ns:meta/}xmpmeta"


def test_texts_of_a_png_and_its_frames_stay() -> None:
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("note", "simulated")
    first, second = (Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (9, 90))
    first.save(buffer, "PNG", save_all=True, append_images=[second], duration=100, pnginfo=info)
    marked = mark_source(buffer.getvalue(), "image/png")
    with Image.open(io.BytesIO(marked)) as opened:
        assert opened.info["note"] == "simulated"
        assert len(list(ImageSequence.Iterator(opened))) == 2


def test_the_exif_of_a_jpeg_stays_before_the_mark() -> None:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x010E] = "a cat"
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", exif=exif)
    marked = mark_source(buffer.getvalue(), "image/jpeg")
    assert marked.index(b"Exif\0\0") < marked.index(b"http://ns.adobe.com/xap/1.0/")
    with Image.open(io.BytesIO(marked)) as opened:
        assert opened.getexif()[0x010E] == "a cat"


def test_a_video_whose_last_box_has_no_length_gets_a_mark_that_is_found() -> None:
    content_type, data = MEDIA["mp4"]()
    at = data.index(b"moov") - 4
    # Some writers leave out the length of the last box: it reaches to the end of the file.
    open_ended = data[:at] + b"\0\0\0\0" + data[at + 4 :]
    marked = mark_source(open_ended, content_type)
    assert read_source(marked, content_type) == GENERATED
    assert decoded(marked, content_type) == decoded(data, content_type)


@pytest.mark.parametrize("content_type", ["model/gltf-binary", "application/octet-stream", "text/plain"])
def test_formats_without_a_place_for_a_mark_stay_as_they_are(content_type: str) -> None:
    assert mark_source(b"anything", content_type) == b"anything"
    assert read_source(b"anything", content_type) is None


@pytest.mark.parametrize(("name", "cut"), [("png", 20), ("jpeg", 30), ("webp", 11), ("mp4", 50)])
def test_refuses_to_mark_what_is_cut_off(name: str, cut: int) -> None:
    content_type, data = MEDIA[name]()
    with pytest.raises(CorruptMedia):
        mark_source(data[:cut], content_type)


def test_a_film_that_streams_begins_with_its_index() -> None:
    """The mark is behind everything that a player needs at first."""
    content_type, data = MEDIA["mp4"]()
    marked = mark_source(data, content_type)
    assert marked.startswith(data)


def test_samples_keep_their_layout() -> None:
    content_type, data = MEDIA["flac"]()
    marked = mark_source(data, content_type)

    def describe(file: bytes) -> Any:
        with av.open(io.BytesIO(file)) as container:
            stream = container.streams.audio[0]
            return stream.rate, stream.layout.name, np.dtype(np.int16).itemsize

    assert describe(marked) == describe(data)
