"""A small file of each format that results have, and what decoders show of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from PIL import Image, ImageSequence


def image(format: str, mode: str = "RGB", **options: Any) -> bytes:
    """A noisy image."""
    picture, buffer = Image.effect_noise((40, 30), 60).convert(mode), io.BytesIO()
    if mode == "RGBA":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def animation(format: str) -> bytes:
    """Two frames."""
    first = Image.effect_noise((40, 30), 60).convert("RGB")
    buffer = io.BytesIO()
    first.save(buffer, format, save_all=True, append_images=[first.rotate(180)], duration=100)
    return buffer.getvalue()


def video(container: str, codec: str, **texts: str) -> bytes:
    """Five frames, and texts as metadata."""
    buffer = io.BytesIO()
    options = {"movflags": "use_metadata_tags"} if texts and container == "mp4" else {}
    with av.open(buffer, "w", format=container, container_options=options) as target:
        target.metadata.update(texts)
        stream = target.add_stream(codec, rate=8)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in range(0, 250, 50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8), format="rgb24")
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return buffer.getvalue()


def sound(container: str, codec: str, rate: int = 48000) -> bytes:
    """A tenth of a second of a tone."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as target:
        stream = target.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        wave = (8000 * np.sin(np.arange(rate // 10) / 20)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
        frame.sample_rate = rate
        target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return buffer.getvalue()


#: Content type and bytes by a name.
MEDIA: dict[str, Callable[[], tuple[str, bytes]]] = {
    "png": lambda: ("image/png", image("PNG")),
    "jpeg": lambda: ("image/jpeg", image("JPEG")),
    "webp": lambda: ("image/webp", image("WEBP")),
    "transparent webp": lambda: ("image/webp", image("WEBP", "RGBA", lossless=True)),
    "animated webp": lambda: ("image/webp", animation("WEBP")),
    "animated png": lambda: ("image/png", animation("PNG")),
    "gif": lambda: ("image/gif", animation("GIF")),
    "mp4": lambda: ("video/mp4", video("mp4", "libx264")),
    "mov": lambda: ("video/quicktime", video("mov", "libx264")),
    "webm": lambda: ("video/webm", video("webm", "libvpx-vp9")),
    "matroska": lambda: ("video/x-matroska", video("matroska", "libx264")),
    "m4a": lambda: ("audio/mp4", sound("ipod", "aac")),
    "wav": lambda: ("audio/wav", sound("wav", "pcm_s16le")),
    "flac": lambda: ("audio/flac", sound("flac", "flac")),
    "mp3": lambda: ("audio/mpeg", sound("mp3", "libmp3lame")),
    "ogg": lambda: ("audio/ogg", sound("ogg", "libopus")),
}


def decoded(data: bytes, content_type: str) -> list[bytes]:
    """Return all pixels or samples, frame by frame."""
    if content_type.startswith("image/"):
        with Image.open(io.BytesIO(data)) as opened:
            return [frame.convert("RGBA").tobytes() for frame in ImageSequence.Iterator(opened)]
    with av.open(io.BytesIO(data), "r") as container:
        if container.streams.video:
            return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
        return [frame.to_ndarray().tobytes() for frame in container.decode(audio=0)]
