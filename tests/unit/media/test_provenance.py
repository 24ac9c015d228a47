"""Results lose the graph that ComfyUI wrote into them, and nothing else."""

from __future__ import annotations

import io
import json

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.provenance import strip_graph_metadata


def picture(**texts: str) -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(key, text, zip=key == "workflow")
    Image.effect_noise((40, 30), 60).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def film(container: str, codec: str, **texts: str) -> bytes:
    buffer = io.BytesIO()
    options = {"movflags": "use_metadata_tags"} if container == "mp4" else {}
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


def opened(data: bytes) -> tuple[set[str], list[bytes]]:
    """Keywords of a film's metadata, and its decoded frames."""
    with av.open(io.BytesIO(data), "r") as container:
        keys = {key.lower() for key in container.metadata}
        return keys, [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


def test_an_image_loses_its_graph_and_keeps_its_pixels() -> None:
    before = picture(prompt=json.dumps({"3": {}}), workflow="{}", note="kept")
    after = strip_graph_metadata(before, "image/png")
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(after)) as new:
        assert new.tobytes() == old.tobytes()
        assert new.info == {"note": "kept"}


def test_two_runs_of_the_same_pixels_become_the_same_file() -> None:
    noise = picture(prompt="a")
    other = noise.replace(b"prompt\0a", b"prompt\0b")
    assert noise != other
    assert strip_graph_metadata(noise, "image/png") == strip_graph_metadata(other, "image/png")


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("webm", "libvpx-vp9")])
def test_a_video_loses_its_graph_and_keeps_its_frames(container: str, codec: str) -> None:
    before = film(container, codec, prompt="{}", workflow="{}", note="kept")
    after = strip_graph_metadata(before, f"video/{container}")
    keys, frames = opened(after)
    assert "note" in keys
    assert not keys & {"prompt", "workflow"}
    assert len(frames) == 5
    assert frames == opened(before)[1]


def test_a_video_without_a_graph_is_not_touched() -> None:
    data = film("mp4", "libx264", note="kept")
    assert strip_graph_metadata(data, "video/mp4") is data


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(CorruptMedia):
        strip_graph_metadata(picture()[:60] + b"\0", "image/png")
    with pytest.raises(CorruptMedia):
        strip_graph_metadata(b"\0\0\0\x18ftypmp42", "video/mp4")
