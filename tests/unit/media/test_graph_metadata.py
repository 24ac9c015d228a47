"""Results lose the graph that ComfyUI wrote into them, and nothing else."""

from __future__ import annotations

import io
import json

import av
import pytest
from PIL import ExifTags, Image, ImageSequence
from PIL.PngImagePlugin import PngInfo

from orchestrator.media.errors import CorruptMedia
from orchestrator.media.marks.provenance import strip_graph_metadata
from tests.support.media_files import video


def picture(**texts: str) -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(key, text, zip=key == "workflow")
    Image.effect_noise((40, 30), 60).save(buffer, "PNG", pnginfo=info)
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


@pytest.mark.parametrize(
    ("container", "codec", "content_type"),
    [
        ("mp4", "libx264", "video/mp4"),
        ("webm", "libvpx-vp9", "video/webm"),
        ("matroska", "libx264", "video/x-matroska"),
    ],
)
def test_a_video_loses_its_graph_and_keeps_its_frames(container: str, codec: str, content_type: str) -> None:
    before = video(container, codec, prompt="{}", workflow="{}", note="kept")
    after = strip_graph_metadata(before, content_type)
    keys, frames = opened(after)
    assert "note" in keys
    assert not keys & {"prompt", "workflow"}
    assert len(frames) == 5
    assert frames == opened(before)[1]


def test_a_video_without_a_graph_is_not_touched() -> None:
    data = video("mp4", "libx264", note="kept")
    assert strip_graph_metadata(data, "video/mp4") is data


def test_a_broken_file_is_refused() -> None:
    with pytest.raises(CorruptMedia):
        strip_graph_metadata(picture()[:60] + b"\0", "image/png")
    with pytest.raises(CorruptMedia):
        strip_graph_metadata(b"\0\0\0\x18ftypmp42", "video/mp4")


GRAPH = json.dumps({"3": {"class_type": "KSampler", "inputs": {"text": "a secret fox"}}})
SECRETS = (b"KSampler", b"secret fox", b"links")


def frames(count: int = 3) -> list[Image.Image]:
    return [Image.effect_noise((40, 30), 60).convert("RGB") for _ in range(count)]


def with_exif(kind: str, tags: dict[int, str], comment: bytes = b"", count: int = 3) -> bytes:
    """An image as ComfyUI's nodes write it: the graph in EXIF fields."""
    exif = Image.Exif()
    exif.update(tags)
    if comment:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    first, *others = frames(count)
    buffer = io.BytesIO()
    many = {"save_all": True, "append_images": others, "duration": 100} if others else {}
    first.save(buffer, kind, exif=exif, **many)
    return buffer.getvalue()


def pixels(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return [frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(image)]


COMFYUI_TAGS = {0x0110: f"prompt:{GRAPH}", 0x010F: 'workflow:{"nodes": [], "links": []}'}


@pytest.mark.parametrize(
    ("kind", "content_type", "count"),
    [
        ("WEBP", "image/webp", 3),
        ("WEBP", "image/webp", 1),
        ("JPEG", "image/jpeg", 1),
        ("PNG", "image/png", 3),
    ],
)
def test_an_image_loses_the_graph_in_its_exif_and_keeps_its_frames(
    kind: str, content_type: str, count: int
) -> None:
    before = with_exif(kind, COMFYUI_TAGS, count=count)
    assert SECRETS[0] in before
    after = strip_graph_metadata(before, content_type)
    assert not any(secret in after for secret in SECRETS)
    assert pixels(after) == pixels(before)
    assert strip_graph_metadata(after, content_type) == after
    with Image.open(io.BytesIO(after)) as image:
        assert dict(image.getexif()) == {}


@pytest.mark.parametrize(("kind", "content_type"), [("WEBP", "image/webp"), ("JPEG", "image/jpeg")])
def test_other_fields_of_the_exif_stay(kind: str, content_type: str) -> None:
    count = 2 if kind == "WEBP" else 1
    before = with_exif(kind, COMFYUI_TAGS | {0x0131: "simulated", 0x010E: "a prompt: fox"}, count=count)
    after = strip_graph_metadata(before, content_type)
    with Image.open(io.BytesIO(after)) as image:
        assert dict(image.getexif()) == {0x0131: "simulated", 0x010E: "a prompt: fox"}
    assert pixels(after) == pixels(before)


@pytest.mark.parametrize(
    "comment",
    [
        b"ASCII\0\0\0" + json.dumps({"prompt": json.loads(GRAPH)}).encode(),
        b"UNICODE\0" + json.dumps({"workflow": GRAPH}).encode("utf-16-le"),
        b"ASCII\0\0\0Prompt:" + GRAPH.encode(),
    ],
)
@pytest.mark.parametrize(("kind", "content_type"), [("WEBP", "image/webp"), ("JPEG", "image/jpeg")])
def test_an_image_loses_a_graph_in_its_user_comment(comment: bytes, kind: str, content_type: str) -> None:
    before = with_exif(kind, {0x0131: "kept"}, comment, count=1)
    after = strip_graph_metadata(before, content_type)
    assert not any(secret in after.replace(b"\0", b"") for secret in SECRETS)
    with Image.open(io.BytesIO(after)) as image:
        assert dict(image.getexif()) == {0x0131: "kept"}


def test_images_without_a_graph_stay_as_they_are() -> None:
    for kind, content_type in (("WEBP", "image/webp"), ("JPEG", "image/jpeg"), ("PNG", "image/png")):
        for tags in ({}, {0x010E: "a fox"}):
            data = with_exif(kind, tags, count=1)
            assert strip_graph_metadata(data, content_type) == data


def test_an_animated_png_loses_the_graph_in_chunks_of_comfyui() -> None:
    info, buffer = PngInfo(), io.BytesIO()
    info.add(b"comf", b"prompt\0" + GRAPH.encode(), after_idat=True)
    info.add(b"comf", b"workflow\0{}", after_idat=True)
    info.add_text("note", "kept")
    first, *others = frames()
    first.save(buffer, "PNG", save_all=True, append_images=others, duration=50, pnginfo=info)
    after = strip_graph_metadata(buffer.getvalue(), "image/png")
    assert not any(secret in after for secret in (*SECRETS, b"comf"))
    assert b"note\0kept" in after
    assert pixels(after) == pixels(buffer.getvalue())


def test_a_jpeg_loses_a_graph_in_its_comment() -> None:
    buffer = io.BytesIO()
    frames(1)[0].save(buffer, "JPEG", comment=f"workflow: {GRAPH}".encode())
    after = strip_graph_metadata(buffer.getvalue(), "image/jpeg")
    assert not any(secret in after for secret in SECRETS)
    assert pixels(after) == pixels(buffer.getvalue())


def mesh(**extras: str) -> bytes:
    document = {"asset": {"version": "2.0", "extras": extras}, "buffers": [{"byteLength": 4}]}
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary = b"\4\0\0\0BIN\0data"
    size = 20 + len(text) + len(binary)
    return b"glTF" + b"".join(n.to_bytes(4, "little") for n in (2, size, len(text))) + b"JSON" + text + binary


def test_a_mesh_loses_its_graph_and_keeps_its_data() -> None:
    after = strip_graph_metadata(mesh(prompt=GRAPH, workflow="{}", note="kept"), "model/gltf-binary")
    assert not any(secret in after for secret in SECRETS)
    assert int.from_bytes(after[8:12], "little") == len(after)
    assert after.endswith(b"BIN\0data")
    length = int.from_bytes(after[12:16], "little")
    assert json.loads(after[20 : 20 + length])["asset"] == {"version": "2.0", "extras": {"note": "kept"}}
    assert strip_graph_metadata(after, "model/gltf-binary") == after


@pytest.mark.parametrize(
    ("container", "codec", "content_type"),
    [("flac", "flac", "audio/flac"), ("mp3", "libmp3lame", "audio/mpeg"), ("ogg", "libopus", "audio/ogg")],
)
def test_audio_loses_its_graph(container: str, codec: str, content_type: str) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as target:
        target.metadata.update({"prompt": GRAPH, "title": "kept"})
        stream = target.add_stream(codec, rate=48_000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame(format="s16", layout="stereo", samples=4800)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = 48_000
        target.mux(stream.encode(frame))
        target.mux(stream.encode())
    assert b"KSampler" in buffer.getvalue()
    after = strip_graph_metadata(buffer.getvalue(), content_type)
    assert not any(secret in after for secret in SECRETS)
    with av.open(io.BytesIO(after), "r") as source:
        assert sum(one.samples for one in source.decode(audio=0)) >= 4800


def test_a_film_loses_a_graph_in_its_comment() -> None:
    before = video("mp4", "libx264", comment=json.dumps({"prompt": GRAPH}), title="kept")
    after = strip_graph_metadata(before, "video/mp4")
    assert opened(after)[0] & {"comment", "title"} == {"title"}
    assert opened(after)[1] == opened(before)[1]
