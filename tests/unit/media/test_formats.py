"""Types by the bytes, descriptions, and conversion."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from orchestrator.media.formats import (
    EXTENSIONS,
    CorruptMedia,
    MediaInfo,
    convert_image,
    detect_content_type,
    probe_media,
)
from tests.support.media_samples import animation, encoded, film, gradient, png_of_size, sound
from tests.support.weight_files import safetensors

Samples = dict[str, Callable[[], bytes]]

STILLS: Samples = {
    "image/png": lambda: encoded(gradient(), "PNG"),
    "image/jpeg": lambda: encoded(gradient(), "JPEG"),
    "image/webp": lambda: encoded(gradient(), "WEBP"),
    "image/gif": lambda: encoded(gradient(), "GIF"),
}
FILMS: Samples = {
    "video/mp4": lambda: film(),
    "video/quicktime": lambda: film("mov"),
    "video/webm": lambda: film("webm", "libvpx-vp9"),
    "video/x-matroska": lambda: film("matroska"),
}
SOUNDS: Samples = {
    "audio/wav": lambda: sound("wav", "pcm_s16le"),
    "audio/flac": lambda: sound("flac", "flac"),
    "audio/mpeg": lambda: sound("mp3", "libmp3lame", "s16p"),
    "audio/ogg": lambda: sound("ogg", "libopus"),
    "audio/mp4": lambda: sound("ipod", "aac", "fltp"),
    "audio/webm": lambda: sound("webm", "libopus"),
}
ALL = STILLS | FILMS | SOUNDS


@pytest.fixture(scope="module")
def samples() -> dict[str, bytes]:
    return {content_type: make() for content_type, make in ALL.items()}


@pytest.mark.parametrize("content_type", STILLS)
def test_a_still_is_described(samples: dict[str, bytes], content_type: str) -> None:
    assert probe_media(samples[content_type]) == MediaInfo(content_type=content_type, width=48, height=32)


@pytest.mark.parametrize("content_type", FILMS)
def test_a_video_is_described(samples: dict[str, bytes], content_type: str) -> None:
    info = probe_media(samples[content_type])
    assert (info.content_type, info.width, info.height, info.frames, info.fps) == (content_type, 64, 48, 9, 8)
    assert info.duration == pytest.approx(9 / 8, abs=0.2)
    assert not info.has_audio


@pytest.mark.parametrize("content_type", SOUNDS)
def test_a_sound_is_described(samples: dict[str, bytes], content_type: str) -> None:
    info = probe_media(samples[content_type])
    assert (info.content_type, info.width, info.frames, info.has_audio) == (content_type, None, None, True)
    assert info.duration == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", {}), ("GIF", {}), ("PNG", {"default_image": False})],
    ids=["webp", "gif", "png"],
)
def test_an_animation_is_described(kind: str, options: dict[str, bool]) -> None:
    info = probe_media(animation(kind, **options))
    assert (info.width, info.height, info.frames) == (24, 16, 3)
    assert info.fps == pytest.approx(8, abs=0.5)


def test_an_mp3_without_a_tag_is_known(samples: dict[str, bytes]) -> None:
    tagged = samples["audio/mpeg"]
    size = int.from_bytes(bytes(tagged[6:10]), "big")  # seven bits a byte, but small
    assert tagged.startswith(b"ID3")
    assert size < 128
    assert detect_content_type(tagged[10 + size :]) == "audio/mpeg"


@pytest.mark.parametrize("left", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("content_type", [*STILLS, *FILMS, "audio/mp4"])
def test_truncated_files_are_corrupt(samples: dict[str, bytes], content_type: str, left: float) -> None:
    whole = samples[content_type]
    with pytest.raises(CorruptMedia):
        probe_media(whole[: int(len(whole) * left)])


@pytest.mark.parametrize("content_type", SOUNDS)
def test_the_mere_beginning_of_a_sound_is_corrupt(samples: dict[str, bytes], content_type: str) -> None:
    with pytest.raises(CorruptMedia):
        probe_media(samples[content_type][:40])


def test_a_video_whose_last_frames_are_missing_is_corrupt() -> None:
    streamable = film(movflags="faststart", frames=30)
    assert probe_media(streamable).frames == 30
    with pytest.raises(CorruptMedia, match="frames"):
        probe_media(streamable[:-40])


@pytest.mark.parametrize("content_type", ["video/webm", "video/x-matroska", "audio/webm", "audio/wav"])
def test_a_stream_without_its_last_bytes_is_corrupt(samples: dict[str, bytes], content_type: str) -> None:
    with pytest.raises(CorruptMedia, match="truncated"):
        probe_media(samples[content_type][:-10])


def test_a_png_with_a_flipped_bit_is_corrupt(samples: dict[str, bytes]) -> None:
    data = bytearray(samples["image/png"])
    data[data.index(b"IDAT") + 9] ^= 1
    with pytest.raises(CorruptMedia):
        probe_media(bytes(data))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00" * 100, b"RIFF\x00\x00\x00\x00AVI ", b"<svg/>"])
def test_files_of_unknown_formats_are_corrupt(data: bytes) -> None:
    assert detect_content_type(data) is None
    with pytest.raises(CorruptMedia):
        probe_media(data)


def test_unsupported_formats_are_corrupt() -> None:
    for kind in ("BMP", "TIFF"):
        data = encoded(gradient(), kind)
        assert detect_content_type(data) == f"image/{kind.lower()}"
        with pytest.raises(CorruptMedia, match="not of a supported output format"):
            probe_media(data)


@settings(deadline=None)
@given(st.binary(max_size=80))
@example(b"\xff\xfb")
@example(b"\x00\x00\x00\x18ftyp")
@example(b"RIFF")
def test_sniff_takes_any_bytes(data: bytes) -> None:
    found = detect_content_type(data)
    assert found is None or found in EXTENSIONS


@settings(deadline=None)
@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF....WEBP"]),
    st.binary(max_size=200),
)
def test_describe_takes_any_image_bytes(magic: bytes, rest: bytes) -> None:
    with pytest.raises(CorruptMedia):
        probe_media(magic + rest)


@settings(deadline=None)
@given(
    st.sampled_from([b"....ftypisom", b"\x1a\x45\xdf\xa3webm", b"RIFF....WAVE", b"fLaC", b"OggS", b"ID3"]),
    st.binary(max_size=200),
)
def test_describe_takes_any_stream_bytes(magic: bytes, rest: bytes) -> None:
    with pytest.raises(CorruptMedia):
        probe_media(magic + rest)


@settings(deadline=None)
@given(st.sampled_from(sorted(STILLS)), st.data())
def test_a_damaged_image_is_described_or_corrupt(content_type: str, data: st.DataObject) -> None:
    damaged = bytearray(STILLS[content_type]())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert probe_media(bytes(damaged)).content_type in EXTENSIONS
    except CorruptMedia:
        return


@pytest.mark.parametrize("source", [STILLS["image/png"], STILLS["image/webp"], STILLS["image/gif"]])
@pytest.mark.parametrize("to", ["image/png", "image/jpeg", "image/webp"])
def test_an_image_is_converted(source: Callable[[], bytes], to: str) -> None:
    converted = convert_image(source(), to, 95)
    assert probe_media(converted) == MediaInfo(content_type=to, width=48, height=32)
    with Image.open(io.BytesIO(converted)) as after:
        for at in ((0, 0), (47, 0), (0, 31), (47, 31)):
            want, got = gradient().getpixel(at), after.convert("RGB").getpixel(at)
            assert isinstance(want, tuple)
            assert isinstance(got, tuple)
            assert max(abs(a - b) for a, b in zip(want, got, strict=True)) < 40


def test_an_image_of_the_asked_type_stays_as_it_is() -> None:
    data = STILLS["image/jpeg"]()
    assert convert_image(data, "image/jpeg") is data


@pytest.mark.parametrize("to", ["image/jpeg", "image/webp"])
def test_png_metadata_is_kept(to: str) -> None:
    buffer, texts = io.BytesIO(), PngInfo()
    texts.add_text("pixelfactory_simulated", "true")
    texts.add_text("comment", "x" * 5000)
    gradient().save(buffer, "PNG", pnginfo=texts)
    with Image.open(io.BytesIO(convert_image(buffer.getvalue(), to))) as after:
        told = after.getexif()[ExifTags.Base.ImageDescription]
    assert told.startswith("pixelfactory_simulated: true; comment: xxx")
    assert len(told) == 1000
    with Image.open(io.BytesIO(convert_image(STILLS["image/png"](), to))) as after:
        assert not after.getexif()


def test_lower_quality_is_smaller() -> None:
    noise = encoded(Image.effect_noise((128, 128), 60), "PNG")
    for to in ("image/jpeg", "image/webp"):
        assert len(convert_image(noise, to, 20)) < len(convert_image(noise, to, 95))


def test_transparency_becomes_white_in_a_jpeg_and_stays_elsewhere() -> None:
    clear = encoded(Image.new("RGBA", (16, 16), (255, 0, 0, 0)), "PNG")
    with Image.open(io.BytesIO(convert_image(clear, "image/jpeg"))) as jpeg:
        assert jpeg.getpixel((8, 8)) == (255, 255, 255)
    with Image.open(io.BytesIO(convert_image(clear, "image/webp"))) as webp:
        assert webp.convert("RGBA").getpixel((8, 8))[3] == 0  # type: ignore[index]


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    deep = Image.new("I;16", (8, 8), 0x8000)
    with Image.open(io.BytesIO(convert_image(encoded(deep, "PNG"), "image/jpeg"))) as jpeg:
        assert jpeg.convert("L").getpixel((4, 4)) == pytest.approx(128, abs=2)


def test_conversion_rejects_unsupported_formats() -> None:
    with pytest.raises(CorruptMedia):
        convert_image(b"no picture", "image/png")
    with pytest.raises(CorruptMedia):
        convert_image(film(), "image/png")
    with pytest.raises(CorruptMedia):
        convert_image(png_of_size(10, 10), "image/jpeg")
    with pytest.raises(ValueError, match="avif"):
        convert_image(STILLS["image/png"](), "image/avif")


LORA, MESH = safetensors({"a.lora_up.weight": ("F32", [4, 2])}), struct.pack("<4sII", b"glTF", 2, 12)


@pytest.mark.parametrize(
    ("data", "content_type", "extension"),
    [(LORA, "application/octet-stream", "safetensors"), (MESH, "model/gltf-binary", "glb")],
)
def test_recognises_weights_and_meshes_by_their_headers(
    data: bytes, content_type: str, extension: str
) -> None:
    found = probe_media(data)
    assert (found.content_type, found.ext) == (content_type, extension)
    assert (found.width, found.frames, found.duration) == (None, None, None)


@pytest.mark.parametrize(
    "data",
    [
        *(LORA[:-1], LORA + b"\0", LORA[:30], b"PK" + LORA[2:], LORA.replace(b"F32", b"F99")),
        *(safetensors({"a": ("F32", [4])}, a={"dtype": "F32", "shape": [9], "data_offsets": [0, 16]}),),
        *(MESH[:-1], MESH + b"\0", MESH[:6]),
    ],
)
def test_weights_and_meshes_that_are_none_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptMedia):
        probe_media(data)


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_training_that_has_diverged_is_no_result(bits: int, number: str) -> None:
    kind = np.dtype(f"<f{bits // 8}")

    def weights(last: float) -> bytes:
        numbers = np.array([0.0, -1.5, last], kind).tobytes()
        head = {"a": {"dtype": f"F{bits}", "shape": [3], "data_offsets": [0, len(numbers)]}}
        text = json.dumps(head).encode()
        return len(text).to_bytes(8, "little") + text + numbers

    assert probe_media(weights(float(np.finfo(kind).max))).content_type == "application/octet-stream"
    with pytest.raises(CorruptMedia, match="infinity or NaN"):
        probe_media(weights(float(number)))
