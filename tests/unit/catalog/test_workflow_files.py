"""Where a workflow can be found: JSON, pictures, videos."""

from __future__ import annotations

import io
import json
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from orchestrator.catalog.import_export import InvalidWorkflow, read_workflow
from orchestrator.catalog.import_export.workflow_files import MAX_JSON_BYTES
from tests.support.canvas import sdxl

API = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
UI = sdxl()


def png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def chunked(kind: bytes, body: bytes) -> bytes:
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunk


def webp(**texts: str) -> bytes:
    exif = Image.Exif()
    for tag, (name, text) in zip((0x010F, 0x0110), texts.items(), strict=False):
        exif[tag] = f"{name}:{text}"
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "WEBP", exif=exif)
    return buffer.getvalue()


def mp4(**texts: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", "mp4", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(texts)
        stream = container.add_stream("libx264", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(UI).encode(),
        png(workflow=json.dumps(UI), prompt=json.dumps(API)),
        webp(workflow=json.dumps(UI), prompt=json.dumps(API)),
        mp4(workflow=json.dumps(UI), prompt=json.dumps(API)),
        chunked(b"zTXt", b"workflow\0\0" + zlib.compress(json.dumps(UI).encode())),
        chunked(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(json.dumps(UI).encode())),
        chunked(b"iTXt", b"workflow\0\0\0\0\0" + json.dumps(UI).encode()),
    ],
)
def test_finds_the_workflow_in_an_image(data: bytes) -> None:
    assert read_workflow(data) == UI


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(API).encode(),
        json.dumps({"prompt": API, "client_id": "x"}).encode(),
        b"\xef\xbb\xbf" + json.dumps(API).encode(),
        png(prompt=json.dumps(API)),
        mp4(prompt=json.dumps(API)),
    ],
)
def test_falls_back_to_the_api_graph(data: bytes) -> None:
    assert read_workflow(data) == API


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"1":' * 150 + b"1" + b"}" * 150, "nested"),
        (b"[1, 2]", "must be a ComfyUI workflow"),
        (b"{}", "must be a ComfyUI workflow"),
        (b'{"1": {"inputs": {}}}', "must be a ComfyUI workflow"),
        (b" " * (MAX_JSON_BYTES + 1), "JSON is larger than"),
        (png(), "contains no embedded workflow"),
        (png(workflow="{"), "not valid JSON"),
        (png(workflow="{}"), "must be a ComfyUI workflow"),
        (webp(), "contains no embedded workflow"),
        (mp4(), "contains no embedded workflow"),
        (png(workflow=json.dumps(UI))[:60], "not valid JSON"),
        (png(workflow=json.dumps(UI))[:40], "contains no embedded workflow"),
        (b"RIFF\xff\0\0\0WEBPjunk", "cannot be read"),
        (b"RIFF\0\0\0\0WEBPjunk", "contains no embedded workflow"),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 40, "cannot be read"),
        (chunked(b"zTXt", b"workflow\0\0junk"), "broken"),
        (
            chunked(b"zTXt", b"workflow\0\0" + zlib.compress(b" " * (MAX_JSON_BYTES + 1))),
            "JSON is larger than",
        ),
    ],
)
def test_rejects_other_files(data: bytes, said: str) -> None:
    with pytest.raises(InvalidWorkflow, match=said):
        read_workflow(data)


def test_two_nodes_of_one_id_are_refused_by_name() -> None:
    node = '"7": {"class_type": "%s", "inputs": {}}'
    same = f"{{{node % 'VAEDecode'}, {node % 'VAEDecode'}}}"
    assert "7" in read_workflow(same.encode())
    two = f"{{{node % 'VAEDecode'}, {node % 'SaveImage'}}}"
    with pytest.raises(InvalidWorkflow, match="two nodes have the id 7: VAEDecode and SaveImage"):
        read_workflow(two.encode())
