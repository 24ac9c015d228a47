"""Scenarios of files: uploaded, viewed, films."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from tests.contract.conformance_client import client
from tests.contract.conformance_graphs import events, node, png


async def uploads(url: str) -> Any:
    answers: list[Any] = []
    async with client(url, connected=False) as user:
        for name, data, fields in (
            ("up.png", png(), {}),
            ("up.png", png(), {}),
            ("up.png", png((1, 2, 3)), {}),
            ("up.png", png((4, 5, 6)), {}),
            ("up.png", png((7, 8, 9)), {"overwrite": "true"}),
            ("up.png", png(), {"subfolder": "deep/er", "type": "temp"}),
            ("sound.wav", b"RIFF", {"type": "input"}),
            ("../up.png", png(), {}),
            ("up.png", png(), {"subfolder": "../../out"}),
            ("up.png", png(), {"type": "elsewhere"}),
        ):
            status, answer = await user.upload(name, data, **fields)
            answers.append([status, answer if isinstance(answer, dict) else type(answer).__name__])
        async with user.http.post(f"{url}/upload/image", data={"image": "no file"}) as response:
            answers.append(response.status)
        reference = json.dumps({"filename": "up.png", "subfolder": "", "type": "input"})
        masked = await user.upload("masked.png", png((0, 0, 0, 77), (8, 6)), "mask", original_ref=reference)
        _, content = await user.get("/view", filename="masked.png", type="input")
        pixel = Image.open(io.BytesIO(content)).getpixel((0, 0))
    return {"answers": answers, "masked": masked, "pixel": pixel}


async def views(url: str) -> Any:
    queries: list[dict[str, str]] = [
        {"filename": "seen.png", "type": "input"},
        {"filename": "seen.png [input]"},
        {"filename": "seen.png", "type": "input", "preview": "webp;80"},
        {"filename": "seen.png", "type": "input", "preview": "jpeg;50"},
        {"filename": "seen.png", "type": "input", "preview": "gif"},
        {"filename": "seen.png", "type": "input", "channel": "rgb"},
        {"filename": "seen.png", "type": "input", "channel": "a"},
        {"filename": "seen.png", "type": "output"},
        {"filename": "seen.png", "type": "elsewhere"},
        {"filename": "../seen.png", "type": "input"},
        {"filename": "/etc/hostname", "type": "input"},
        {"filename": "seen.png", "type": "input", "subfolder": "../.."},
        {"filename": ""},
        {},
        {"filename": "page.html", "type": "input"},
    ]
    answers = []
    async with client(url, connected=False) as user:
        await user.upload("seen.png", png((9, 8, 7, 66)), overwrite="true")
        await user.upload("page.html", b"<html></html>", overwrite="true")
        for query in queries:
            async with user.http.get(f"{url}/view", params=query) as response:
                content = await response.read()
                picture = _picture(content) if response.content_type.startswith("image/") else len(content)
                found = "Content-Disposition" in response.headers
                answers.append([query, response.status, response.content_type, found, picture])
        part = {"Range": "bytes=1-3"}
        query = {"filename": "seen.png", "type": "input"}
        async with user.http.get(f"{url}/view", params=query, headers=part) as response:
            ranged = [response.status, (await response.read()).decode(), "ETag" in response.headers]
    return {"answers": answers, "range": ranged}


def _picture(content: bytes) -> Any:
    with Image.open(io.BytesIO(content)) as picture:
        exact = picture.format == "PNG"
        return [picture.format, picture.mode, picture.size, picture.getpixel((0, 0)) if exact else None]


async def videos(url: str) -> Any:
    graph = {
        "1": node("EmptyImage", width=64, height=48, batch_size=9, color=0x00FF00),
        "2": node("CreateVideo", images=["1", 0], fps=12.0),
        "3": node("SaveVideo", video=["2", 0], filename_prefix="video/clip", format="mp4", codec="h264"),
        "4": node("SaveAnimatedWEBP", images=["1", 0], filename_prefix="moving", fps=12.0, lossless=True,
                  quality=80, method="fastest"),
        "5": node("SaveWEBM", images=["1", 0], filename_prefix="clip", codec="vp9", fps=12.0, crf=32.0),
    }  # fmt: skip
    async with client(url) as user:
        prompt_id = await user.submit(graph)
        await user.hear_to_end(prompt_id)
        outputs = (await user.finished(prompt_id))["outputs"]
        _, job = await user.get(f"/api/jobs/{prompt_id}")
        odd = graph | {"1": node("EmptyImage", width=63, height=48, batch_size=2, color=1)}
        failed = await user.hear_to_end(await user.submit({key: odd[key] for key in ("1", "2", "3")}))
        _, content = await user.get("/view", filename="clip_00001_.mp4", subfolder="video", type="output")
    return {
        "outputs": outputs, "counts": [job["outputs_count"], job["preview_output"]["mediaType"]],
        "odd": events(failed), "film": film(content),
    }  # fmt: skip


def film(content: bytes) -> Any:
    import av

    with av.open(io.BytesIO(content), "r") as file:
        stream = file.streams.video[0]
        frames = [one.to_ndarray(format="rgb24") for one in file.decode(stream)]
        rate = str(stream.average_rate)
        keys = sorted(key for key in file.metadata if key == "prompt")
        colour = [round(float(value) / 16) for value in frames[0][24, 32]]
        return [stream.codec_context.name, stream.width, stream.height, len(frames), rate, keys, colour]
