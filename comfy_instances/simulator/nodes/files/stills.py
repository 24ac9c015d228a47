"""Encodes single images with FFmpeg's libraries: PNG with 16 bits a channel, and OpenEXR.

Functions import PyAV on use: the import is slow, and most instances save neither.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo

from comfy_instances.simulator.nodes.files.png import add_chunk
from comfy_instances.simulator.nodes.values import FloatArray, ImageArray

if TYPE_CHECKING:
    from av.video.stream import VideoStream

#: Pixel formats of frames and of the encoder, by number of channels.
_PNG_FORMATS = {3: ("rgb48le", "rgb48be"), 4: ("rgba64le", "rgba64be")}
_EXR_FORMATS = {3: ("gbrpf32le", "gbrpf32le"), 4: ("gbrapf32le", "gbrapf32le")}


def encode_deep_png(frame: ImageArray, info: PngInfo) -> bytes:
    """Encode [height, width, 3 or 4] of uint8 with 16 bits a channel, with the texts of `info`."""
    png = _encode("png", frame.astype(np.uint16) * 257, *_PNG_FORMATS[frame.shape[2]])
    for name, data, *_ in reversed(info.chunks):
        png = add_chunk(png, name, data)
    return png


def encode_exr(frame: ImageArray, color_space: str) -> bytes:
    """Encode [height, width, 3 or 4] of uint8 as scene-linear 32-bit floats; `linear` values stay.

    Source of the curves: IEC 61966-2-1 (sRGB) and ITU-R BT.2100, table 5 (HLG).
    """
    values = frame.astype(np.float32) / 255
    colors: NDArray[Any] = values[..., :3]
    if color_space == "sRGB":
        colors = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    elif color_space == "HDR":
        colors = _hlg_to_linear(colors)
    values = np.concatenate([colors, values[..., 3:]], axis=2)
    return _encode("exr", values.astype(np.float32), *_EXR_FORMATS[frame.shape[2]])


def _hlg_to_linear(values: FloatArray) -> FloatArray:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    linear: FloatArray = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    return linear


def _encode(encoder: str, pixels: NDArray[Any], given: str, stored: str) -> bytes:
    """Encode one picture of the pixel format `given` with the pixel format `stored`."""
    import av

    made = io.BytesIO()
    with av.open(made, "w", format="image2pipe") as file:
        stream = cast("VideoStream", file.add_stream(encoder, rate=1))
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = stored
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=given)
        for packets in (stream.encode(picture), stream.encode(None)):
            file.mux(packets)
    return made.getvalue()
