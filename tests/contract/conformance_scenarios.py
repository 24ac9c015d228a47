"""What is asked of the simulator and of a real ComfyUI alike. Each scenario returns what is to be equal.

Every scenario works with names and prompts of its own, so that they can share one server.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import aiohttp
from conformance_client import Graph, client, shape
from PIL import Image

Scenario = Callable[[str], Awaitable[Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def enlarged(prefix: str, **scale: Any) -> Graph:
    """A picture of one colour, made larger and saved."""
    factor = {"upscale_method": "nearest-exact", "scale_by": 2.0} | scale
    return {
        "1": node("EmptyImage", width=24, height=16, batch_size=1, color=0x3366CC),
        "2": node("ImageScaleBy", image=["1", 0], **factor),
        "3": node("SaveImage", images=["2", 0], filename_prefix=prefix),
    }


def tedious(prefix: str, color: int) -> Graph:
    """Enough work in enough nodes that there is time to stop it; no two colours share a cache entry."""
    graph = {"1": node("EmptyImage", width=1600, height=1600, batch_size=1, color=color)}
    for index in range(2, 42):
        side = 1600 - index
        scale = {"upscale_method": "lanczos", "width": side, "height": side, "crop": "disabled"}
        graph[str(index)] = node("ImageScale", image=[str(index - 1), 0], **scale)
    graph["save"] = node("SaveImage", images=["41", 0], filename_prefix=prefix)
    return graph


def png(color: tuple[int, ...] = (10, 200, 30), size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(out, "PNG")
    return out.getvalue()


def entry(history: dict[str, Any]) -> dict[str, Any]:
    """A history entry, reduced to what both servers agree on."""
    number, _, graph, extra, outputs = history["prompt"]
    status = history["status"] | {
        "messages": [[event, shape(data)] for event, data in history["status"]["messages"]]
    }
    return {
        "prompt": [shape(number), sorted(graph), sorted(extra), sorted(outputs)],
        "outputs": shape(history["outputs"]),
        "meta": shape(history["meta"]),
        "status": shape(status),
    }


async def happy_path(url: str) -> Any:
    async with client(url) as user:
        prompt_id = await user.submit(enlarged("happy"))
        heard = await user.hear_to_end(prompt_id)
        history = await user.finished(prompt_id)
        _, job = await user.get(f"/api/jobs/{prompt_id}")
        status, content = await user.get("/view", filename="happy_00001_.png", type="output")
    picture = Image.open(io.BytesIO(content))
    picture.load()
    texts = json.loads(getattr(picture, "text", {})["prompt"])
    seen = [status, picture.size, picture.mode, picture.getpixel((0, 0)), sorted(texts)]
    return {"heard": heard, "history": entry(history), "job": shape(job), "picture": seen}


async def cached_second_run(url: str) -> Any:
    """The same graph names the old file; another prefix runs the saver alone."""
    async with client(url) as user:
        await user.hear_to_end(await user.submit(enlarged("cached", scale_by=3.0)))
        again_id = await user.submit(enlarged("cached", scale_by=3.0))
        again = await user.hear_to_end(again_id)
        history = await user.finished(again_id)
        renamed = await user.hear_to_end(await user.submit(enlarged("renamed", scale_by=3.0)))
        other = enlarged("other", scale_by=4.0)
        await user.hear_to_end(await user.submit(other))
        back = await user.hear_to_end(await user.submit(enlarged("cached", scale_by=3.0)))
    return {"again": again, "history": entry(history), "renamed": renamed, "back": back}


async def free_forgets(url: str) -> Any:
    async with client(url) as user:
        await user.hear_to_end(await user.submit(enlarged("free", scale_by=5.0)))
        freed = await user.post("/free", {"unload_models": True, "free_memory": True})
        await asyncio.sleep(0.3)
        heard = await user.hear_to_end(await user.submit(enlarged("free", scale_by=5.0)))
    return {
        "freed": [freed[0], len(freed[1])],
        "cached": [data for event, data in _texts(heard) if event == "execution_cached"],
    }


def _texts(heard: list[Any]) -> list[Any]:
    return [message for message in heard if isinstance(message, list)]


def broken_graphs() -> dict[str, Any]:
    """Name -> a graph that is not, or not wholly, acceptable."""
    good = enlarged("broken")

    def changed(node_id: str, **inputs: Any) -> Graph:
        one = json.loads(json.dumps(good))
        one[node_id]["inputs"] |= inputs
        return dict(one)

    without_input = changed("2")
    del without_input["2"]["inputs"]["scale_by"]
    no_inputs = changed("2")
    del no_inputs["2"]["inputs"]
    nameless = changed("2")
    del nameless["2"]["class_type"]
    half = good | {"4": node("SaveImage", images=["5", 0], filename_prefix="half")}
    half["5"] = node("EmptyImage", width=0, height=16, batch_size=1, color=0)
    return {
        "unknown class": good | {"2": node("NoSuchNode", image=["1", 0])},
        "titled unknown class": good | {"2": node("NoSuchNode") | {"_meta": {"title": "Mine"}}},
        "no class": nameless,
        "missing input": without_input,
        "missing inputs": {"1": node("EmptyImage"), "3": node("SaveImage", images=["1", 0])},
        "wrong link type": changed("3", images=["4", 0]) | {"4": node("SolidMask", value=1.0, width=8, height=8)},
        "link to nowhere from the output": changed("3", images=["99", 0]),
        "link to nowhere": changed("2", image=["99", 0]),
        "link to a slot that is not there": changed("2", image=["1", 7]),
        "link of one": changed("2", image=["1"]),
        "no inputs": no_inputs,
        "text for a number": changed("1", width="wide"),
        "nothing for a number": changed("1", width=None),
        "above maximum": changed("2", scale_by=9.0),
        "below minimum": changed("1", batch_size=0),
        "not in the list": changed("2", upscale_method="magic"),
        "not in a long list": {
            "1": node("KSamplerSelect", sampler_name="magic"),
            "2": node("PreviewAny", source=["1", 0]),
        },
        "cycle": changed("1") | {
            "1": node("ImageInvert", image=["2", 0]),
            "2": node("ImageInvert", image=["1", 0]),
        },
        "no output": {"1": good["1"]},
        "empty": {},
        "one of two outputs": half,
        "missing file": {"1": node("LoadImage", image="none.png"), "2": node("PreviewImage", images=["1", 0])},
        "file outside": {
            "1": node("LoadImage", image="../../etc/passwd"),
            "2": node("PreviewImage", images=["1", 0]),
        },
        "weights that are none": {
            "1": node("UpscaleModelLoader", model_name="none"),
            "2": node("ImageUpscaleWithModel", upscale_model=["1", 0], image=["3", 0]),
            "3": good["1"],
            "4": node("SaveImage", images=["2", 0], filename_prefix="x"),
        },
        "member of a group missing": {
            "1": node("BatchImagesNode"),
            "2": node("PreviewImage", images=["1", 0]),
        },
        "choice within a choice": {
            "1": good["1"],
            "2": node("ResizeImageMaskNode", input=["1", 0], scale_method="area", resize_type="scale width",
                      **{"resize_type.width": -1}),
            "3": node("PreviewImage", images=["2", 0]),
        },
        "numbers as texts, and more than asked": changed("2", scale_by="2", bogus=[1, 2, 3]),
    }  # fmt: skip


async def refused_graphs(url: str) -> Any:
    answers = {}
    async with client(url) as user:
        for name, graph in broken_graphs().items():
            status, answer = await user.post("/prompt", {"prompt": graph, "client_id": user.client_id})
            answers[name] = [status, _sorted_errors(shape(answer))]
            if status == 200:
                answers[name].append(sorted((await user.finished(answer["prompt_id"]))["outputs"]))
    return answers


def _sorted_errors(answer: dict[str, Any]) -> dict[str, Any]:
    """Errors of one node come in any order."""
    for blamed in answer["node_errors"].values():
        blamed["errors"].sort(key=lambda error: json.dumps(error, sort_keys=True))
    return answer


async def refused_bodies(url: str) -> Any:
    good = enlarged("bodies")
    bodies = {
        "no prompt": {},
        "a list": [],
        "prompt is a list": {"prompt": []},
        "node is a text": {"prompt": {"1": "x"}},
        "number is a text": {"prompt": good, "number": "first"},
        "id is no UUID": {"prompt": good, "prompt_id": "mine"},
        "id in capitals": {"prompt": good, "prompt_id": str(uuid4()).upper()},
        "id is a number": {"prompt": good, "prompt_id": 17},
        "target is no output": {"prompt": good, "partial_execution_targets": ["1"]},
    }
    answers: dict[str, Any] = {}
    async with client(url, connected=False) as user:
        for name, body in bodies.items():
            status, answer = await user.post("/prompt", body)
            answers[name] = [status, shape(answer) if status < 500 else type(answer).__name__]
        for path in ("/prompt", "/queue", "/free", "/history"):
            async with user.http.post(url + path, data=b"{not json") as response:
                answers[f"not JSON: {path}"] = [response.status, response.content_type]
        for path in ("/history/unknown", "/api/jobs/unknown", "/object_info/Unknown", "/models/unknown"):
            status, answer = await user.get(path)
            answers[path] = [status, shape(answer) if isinstance(answer, dict) else len(answer)]
    return answers


async def failing_node(url: str) -> Any:
    """A file that is no picture passes the checks and fails at run time."""
    async with client(url) as user:
        await user.upload("broken.png", b"this is no picture", overwrite="true")
        prompt_id = await user.submit({
            "1": node("LoadImage", image="broken.png"),
            "2": node("ImageInvert", image=["1", 0]),
            "3": node("SaveImage", images=["2", 0], filename_prefix="failing"),
        })  # fmt: skip
        heard = await user.hear_to_end(prompt_id)
        history = await user.finished(prompt_id)
        _, job = await user.get(f"/api/jobs/{prompt_id}")
        outside = await user.submit({
            "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
            "2": node("SaveImage", images=["1", 0], filename_prefix="../outside"),
        })  # fmt: skip
        refused = await user.hear_to_end(outside)
    return {
        "heard": heard,
        "history": entry(history),
        "job": shape(job),
        "outside": [m[0] for m in _texts(refused)],
    }


async def interrupt(url: str) -> Any:
    async with client(url) as user:
        prompt_id = await user.submit(tedious("interrupted", 0x112233))
        waiting = await user.submit(enlarged("after", scale_by=1.5))
        await user.hear_until("executing", prompt_id=prompt_id)
        missed = await user.post("/interrupt", {"prompt_id": waiting})
        hit = await user.post("/interrupt", {"prompt_id": prompt_id})
        heard = await user.hear_until("execution_interrupted")
        rest = await user.hear_to_end(waiting)
        history = await user.finished(prompt_id)
        _, job = await user.get(f"/api/jobs/{prompt_id}")
        idle = await user.post("/interrupt", {})
        after = await user.hear_to_end(await user.submit(enlarged("idle", scale_by=1.5)))
    told = next(data for event, data in heard if event == "execution_interrupted")
    return {
        "answers": [[status, len(body)] for status, body in (missed, hit, idle)],
        "interrupted": sorted(told), "node_type": told["node_type"],
        "rest": [m[0] for m in _texts(rest)], "after": [m[0] for m in _texts(after)],
        "status": history["status"]["status_str"], "completed": history["status"]["completed"],
        "messages": [event for event, _ in history["status"]["messages"]], "outputs": history["outputs"],
        "job": [job["status"], sorted(job)],
    }  # fmt: skip


async def queue(url: str) -> Any:
    """Waiting prompts are seen, deleted without a word, cleared; the running one is not touched."""
    async with client(url) as user:
        running = await user.submit(tedious("queue", 0x223344), extra_data={"note": "x"})
        await user.hear_until("executing", prompt_id=running)
        ids = [await user.submit(enlarged(f"queued{index}")) for index in range(3)]
        front = await user.submit(enlarged("front"), front=True)
        _, rows = await user.get("/queue")
        _, info = await user.get("/prompt")
        jobs = [(await user.get(f"/api/jobs/{one}"))[1] for one in (running, ids[0])]
        _, listed = await user.get("/api/jobs", status="pending,in_progress")
        deleted = await user.post("/queue", {"delete": [ids[0], running, "unknown"]})
        _, after_delete = await user.get("/queue")
        unknown, _ = await user.get(f"/api/jobs/{ids[0]}")
        cancelled = (await user.post(f"/api/jobs/{ids[1]}/cancel", {}))[1]
        cleared = await user.post("/queue", {"clear": True})
        _, after_clear = await user.get("/queue")
        stopped = (await user.post("/api/jobs/cancel", {"job_ids": [running]}))[1]
        heard = await user.hear_to_end(running)
        gone = (await user.get(f"/history/{ids[0]}"))[1]
    return {
        "row": [shape(part) if index in (0, 3) else type(part).__name__ for index, part in enumerate(rows["queue_running"][0])],
        "first": min(rows["queue_pending"], key=lambda row: row[0])[1] == front,
        "info": info, "jobs": [shape(job) for job in jobs], "listed": sorted(job["status"] for job in listed["jobs"]),
        "pagination": shape(listed["pagination"]),
        "deleted": [deleted[0], len(deleted[1]), len(after_delete["queue_pending"]), len(after_delete["queue_running"]), unknown],
        "cleared": [cleared[0], len(cleared[1]), len(after_clear["queue_pending"]), len(after_clear["queue_running"])],
        "cancelled": [cancelled, stopped], "last": [m[0] for m in _texts(heard)][-3:], "gone": gone,
    }  # fmt: skip


async def socket_lost_and_found(url: str) -> Any:
    """The prompt runs on; a new socket with the old id hears where it is, and the rest."""
    async with client(url) as user:
        prompt_id = await user.submit(tedious("lost", 0x334455))
        await user.hear_until("executing", prompt_id=prompt_id)
        await user.disconnect()
        await asyncio.sleep(0.05)
        await user.connect()
        first = [await user.hear(), await user.hear()]
        rest = await user.hear_to_end(prompt_id)
        history = await user.finished(prompt_id)
        await user.disconnect()
        await user.connect()
        idle = await user.hear()
    return {
        "first": [[message["type"], sorted(message["data"])] for message in first],
        "events": sorted({m[0] for m in _texts(rest)}), "last": [m[0] for m in _texts(rest)][-4:],
        "history": history["status"]["status_str"], "outputs": shape(history["outputs"]),
        "idle": [idle["type"], shape(idle["data"])],
    }  # fmt: skip


async def two_clients(url: str) -> Any:
    """Each hears of its own prompt only, and both of the queue; a prompt of nobody is hardly heard of."""
    async with client(url) as first, client(url) as second:
        one = await first.submit(enlarged("first", scale_by=2.5))
        heard_first = await first.hear_to_end(one)
        two = await second.submit(enlarged("second", scale_by=3.5))
        heard_second = await second.hear_to_end(two)
        status, answer = await first.post("/prompt", {"prompt": enlarged("nobody", scale_by=4.5)})
        history = await first.finished(answer["prompt_id"])
        three = await first.submit(enlarged("third", scale_by=2.5))
        heard_third = await first.hear_to_end(three)
    return {
        "first": [m[0] for m in heard_first], "second": [m[0] for m in heard_second],
        "after nobody": [m[0] for m in heard_third],
        "nobody": [status, sorted(answer), sorted(history["prompt"][3]), shape(history["outputs"])],
    }  # fmt: skip


async def taken_over(url: str) -> Any:
    """A second socket takes a client id over; when the first closes, nobody has it any more."""
    async with client(url) as user:
        old = user.socket
        await user.connect()
        await user.hear()
        heard = await user.hear_to_end(await user.submit(enlarged("taken", scale_by=2.2)))
        if old is not None:
            await old.close()
        await asyncio.sleep(0.2)
        prompt_id = await user.submit(enlarged("deaf", scale_by=2.3))
        await user.finished(prompt_id)
        try:
            message = await asyncio.wait_for(user.hear(), 0.5)
        except TimeoutError:
            message = None
    return {"heard": [m[0] for m in heard], "deaf": message}


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


async def history(url: str) -> Any:
    async with client(url) as user:
        ids = []
        for index in range(3):
            ids.append(await user.submit(enlarged(f"history{index}", scale_by=1.2)))
            await user.hear_to_end(ids[-1])
        _, newest = await user.get("/history", max_items="2")
        _, whole = await user.get("/history")
        offset = list(whole).index(ids[0])
        _, oldest = await user.get("/history", max_items="2", offset=str(offset))
        deleted = await user.post("/history", {"delete": [ids[1], "unknown"]})
        left = [one in (await user.get("/history"))[1] for one in ids]
        cleared = await user.post("/history", {"clear": True})
        _, nothing = await user.get("/history")
        bad = (await user.get("/history", max_items="many"))[0]
    return {
        "newest": [ids.index(one) for one in newest], "oldest": [ids.index(one) for one in oldest],
        "deleted": [deleted[0], len(deleted[1])], "left": left, "cleared": cleared[0], "nothing": nothing, "bad": bad,
    }  # fmt: skip


async def pictures_over_the_socket(url: str) -> Any:
    """As plain and, to those who say that they take them, as described binary messages."""
    graph = {
        "1": node("EmptyImage", width=16, height=8, batch_size=2, color=0xFF0000),
        "2": node("SaveImageWebsocket", images=["1", 0]),
        "3": node("GetImageSize", image=["1", 0]),
        "4": node("PreviewAny", source=["3", 0]),
    }
    async with client(url) as user:
        prompt_id = await user.submit({key: graph[key] for key in ("1", "2")})
        plain = await user.hear_to_end(prompt_id)
        outputs = (await user.finished(prompt_id))["outputs"]
        again = await user.hear_to_end(await user.submit({key: graph[key] for key in ("1", "2")}))
        texts = await user.hear_to_end(await user.submit({key: graph[key] for key in ("1", "3", "4")}))
    async with client(url, connected=False) as user:
        await user.connect({"supports_preview_metadata": True})
        greeting = [await user.hear(), await user.hear()]
        described = await user.hear_to_end(await user.submit({key: graph[key] for key in ("1", "2")}))
    return {
        "plain": plain, "outputs": outputs, "again": [m for m in again if isinstance(m, dict)],
        "texts": texts, "greeting": [[message["type"], sorted(message["data"])] for message in greeting],
        "described": described,
    }  # fmt: skip


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
        "odd": [m[0] for m in _texts(failed)], "film": film(content),
    }  # fmt: skip


def film(content: bytes) -> Any:
    import av

    with av.open(io.BytesIO(content)) as file:
        stream = file.streams.video[0]
        frames = [one.to_ndarray(format="rgb24") for one in file.decode(stream)]
        rate = str(stream.average_rate)
        keys = sorted(key for key in file.metadata if key == "prompt")
        colour = [round(float(value) / 16) for value in frames[0][24, 32]]
        return [stream.codec_context.name, stream.width, stream.height, len(frames), rate, keys, colour]


async def switches(url: str) -> Any:
    """Of two branches only the chosen one runs."""
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=1),
        "2": node("EmptyImage", width=8, height=8, batch_size=1, color=2),
        "3": node("ComfySwitchNode", switch=True, on_false=["1", 0], on_true=["2", 0]),
        "4": node("SaveImage", images=["3", 0], filename_prefix="switch"),
    }
    async with client(url) as user:
        heard = await user.hear_to_end(await user.submit(graph))
    return heard


async def partial_run(url: str) -> Any:
    graph = enlarged("partial") | {"4": node("SaveImage", images=["1", 0], filename_prefix="whole")}
    async with client(url) as user:
        prompt_id = await user.submit(graph, partial_execution_targets=["4"])
        heard = await user.hear_to_end(prompt_id)
        history = await user.finished(prompt_id)
    return {"heard": [m[0] for m in heard], "outputs": shape(history["outputs"]), "ran": history["prompt"][4]}


async def oversized(url: str) -> Any:
    """Bodies over the limit are refused, large graphs are not."""
    async with client(url) as user:
        chain: Graph = {"0": node("EmptyImage", width=8, height=8, batch_size=1, color=5)}
        for index in range(1, 120):
            chain[str(index)] = node("ImageInvert", image=[str(index - 1), 0])
        chain["save"] = node("SaveImage", images=["119", 0], filename_prefix="chain")
        long = await user.hear_to_end(await user.submit(chain, extra_data={"filler": "x" * 3_000_000}))
        try:
            async with user.http.post(f"{url}/prompt", data=b" " * (101 * 1024 * 1024)) as response:
                refused: Any = [response.status, response.content_type]
        except aiohttp.ClientOSError:
            refused = [413, "text/plain"]
    return {"long": [m[0] for m in _texts(long)].count("executing"), "refused": refused}


async def origins(url: str) -> Any:
    """Pages from elsewhere may not talk to a server on this machine."""
    port = url.rsplit(":", 1)[1]
    statuses = []
    async with client(url, connected=False) as user:
        for origin in ("http://evil.example", f"http://127.0.0.1:{port}", "http://127.0.0.1", "null"):
            async with user.http.get(f"{url}/queue", headers={"Origin": origin}) as response:
                statuses.append([origin.replace(port, "PORT"), response.status])
    return statuses


async def descriptions(url: str) -> Any:
    async with client(url, connected=False) as user:
        _, stats = await user.get("/system_stats")
        _, features = await user.get("/features")
        _, folders = await user.get("/models")
        _, files = await user.get("/models/checkpoints")
        _, embeddings = await user.get("/embeddings")
        _, one = await user.get("/object_info/ImageScaleBy")
        _, every = await user.get("/object_info")
        _, prefixed = await user.get("/api/object_info/ImageScaleBy")
    return {
        "system": sorted(stats["system"]), "device": sorted(stats["devices"][0]),
        "version": stats["system"]["comfyui_version"], "features": features, "folders": sorted(folders),
        "files": [files, embeddings], "node": [sorted(one), sorted(one["ImageScaleBy"]["input"]["required"])],
        "core": len(set(every) & {"KSampler", "SaveVideo", "LoadImage"}), "same": one == prefixed,
    }  # fmt: skip


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        happy_path, cached_second_run, free_forgets, refused_graphs, refused_bodies, failing_node, interrupt,
        queue, socket_lost_and_found, two_clients, taken_over, uploads, views, history,
        pictures_over_the_socket, videos, switches, partial_run, oversized, origins, descriptions,
    )
}  # fmt: skip
