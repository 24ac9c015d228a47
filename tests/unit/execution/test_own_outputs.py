"""What is stored of files that nodes of a caller's own graph save."""

from __future__ import annotations

import hashlib
import io
from functools import partial

import numpy as np
import pytest
from blake3 import blake3
from PIL import Image
from safetensors.numpy import save

from comfy_instances.protocol.outputs import FileRef, NodeOutput
from orchestrator.execution.results.outputs import prepare_file
from orchestrator.execution.results.own_outputs import OwnOutput, prepare_own_output
from orchestrator.media.errors import CorruptMedia
from orchestrator.media.marks.content_credentials import MediaOrigin
from orchestrator.media.marks.marking import MediaMarker

LATENT = save({"latent_tensor": np.zeros((1, 4, 8, 8), np.float32)}, {"prompt": "{}"})
#: As a sampler leaves it that has diverged.
BROKEN_LATENT = save({"latent_tensor": np.full((1, 4, 8, 8), np.nan, np.float32)})
ANY = "application/octet-stream"


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def prepare(item: NodeOutput, data: bytes) -> OwnOutput:
    plain = partial(prepare_file, marker=MediaMarker(), origin=MediaOrigin(model="own-graph"))
    return prepare_own_output(item, data, plain)


def saved(name: str) -> NodeOutput:
    return NodeOutput("7", "files", FileRef(name))


@pytest.mark.parametrize(
    ("name", "data", "content_type", "extension"),
    [
        ("x_00001_.latent", LATENT, ANY, "latent"),
        ("x_00001_.latent", BROKEN_LATENT, ANY, "latent"),
        ("x_00001_.safetensors", LATENT, ANY, "safetensors"),
        ("x.exr", b"v/1\x01 and pixels", ANY, "exr"),
        ("x.PLY", b"ply\nformat", ANY, "ply"),
        ("x.tif", b"II*\0 and pixels", ANY, "tif"),
        ("x.tiff", b"II*\0 and pixels", ANY, "tiff"),
        ("x.splat", b"\xff\xfb\x90\x00 floats", ANY, "splat"),
        ("x", b"anything", ANY, "bin"),
        ("x.a/b", b"anything", ANY, "bin"),
        ("x.html", b"<script>alert(1)</script>", ANY, "html"),
        ("x.csv", b"a,b\n1,2", "text/plain", "csv"),
        ("x.json", b"{}", "text/plain", "json"),
        ("x.txt", b"", "text/plain", "txt"),
    ],
)
def test_keeps_files_that_are_no_media(name: str, data: bytes, content_type: str, extension: str) -> None:
    output = prepare(saved(name), data)
    assert output.data == data
    assert (output.info.content_type, output.extension) == (content_type, extension)
    assert output.sha256 == hashlib.sha256(data).hexdigest()
    assert output.blake3 == blake3(data).hexdigest()


def test_a_medium_has_the_extension_of_its_content() -> None:
    output = prepare(saved("x.webp"), png())
    assert (output.info.content_type, output.extension, output.info.width) == ("image/png", "png", 8)


def test_a_text_without_a_file_is_a_text() -> None:
    output = prepare(NodeOutput("7", "text", text="hello"), b"hello")
    assert (output.data, output.info.content_type, output.extension) == (b"hello", "text/plain", "txt")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.png", b"no picture"),
        ("x.mp4", b"no film"),
        ("x.png", png()[:40]),
        ("x.glb", b"glTF"),
        ("x.exr", b""),
        ("x.safetensors", BROKEN_LATENT),
    ],
)
def test_rejects_media_that_are_broken_and_files_that_are_empty(name: str, data: bytes) -> None:
    with pytest.raises(CorruptMedia):
        prepare(saved(name), data)
