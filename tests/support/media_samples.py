"""Small real files of every format, made by the encoders themselves."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image

ORIENTATION, DESCRIPTION = 0x0112, 0x010E
SECRET = "somewhere in Bern"


def gradient(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """No two corners alike, so that a turn or a flip shows."""
    across = np.tile(np.linspace(0, 255, width), (height, 1))
    down = np.tile(np.linspace(0, 255, height)[:, None], (1, width))
    pixels = np.stack([across, down, 255 - across], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION], block[DESCRIPTION] = orientation, SECRET
    return block


def animation(kind: str, frames: int = 3, **options: Any) -> bytes:
    shades = [Image.new("RGB", (24, 16), (80 * index, 0, 0)) for index in range(frames)]
    return encoded(shades[0], kind, save_all=True, append_images=shades[1:], duration=125, **options)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_size(width: int, height: int) -> bytes:
    """A good header and nothing behind it that could be decoded."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"junk") + png_chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    """A real JPEG whose frame header tells another size."""
    data = bytearray(encoded(gradient(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded(gradient(), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def webp_of_size(width: int, height: int) -> bytes:
    """An extended WebP whose canvas tells another size."""
    data = bytearray(encoded(gradient(mode="RGBA"), "WEBP", exif=exif()))
    assert data[12:16] == b"VP8X"
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def clip(frames: int, rate: Fraction, width: int, height: int) -> bytes:
    """An MP4 of grey frames that become lighter."""
    with tempfile.NamedTemporaryFile() as file, av.open(file.name, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=rate)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            pixels = np.full((height, width, 3), index * 255 // frames, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
        output.close()
        return Path(file.name).read_bytes()


def film(container: str = "mp4", codec: str = "libx264", frames: int = 9, **options: str) -> bytes:
    """64x48, 8 frames a second."""
    with (
        tempfile.NamedTemporaryFile() as file,  # `faststart` opens its output a second time
        av.open(file.name, "w", format=container, options=options) as output,
    ):
        stream = output.add_stream(codec, rate=8)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            pixels = np.full((48, 64, 3), index * 8, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
        output.close()
        return Path(file.name).read_bytes()


def sound(container: str, codec: str, sample_format: str = "s16") -> bytes:
    """Half a second of a tone, mono."""
    rate = 48000 if codec == "libopus" else 44100
    tone = (np.sin(np.arange(rate // 2) / 20) * 8000).astype(np.int16)[None]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        stream.format = sample_format
        resampler = av.AudioResampler(
            format=sample_format, layout="mono", rate=rate, frame_size=stream.frame_size
        )
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = rate
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode())
    return buffer.getvalue()
