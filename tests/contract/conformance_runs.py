"""Scenarios of prompts: run, cached, failing, stopped, waiting, remembered."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from tests.contract.conformance_client import client, shape
from tests.contract.conformance_graphs import emptied, enlarged, entry, events, node, tedious, texts


async def happy_path(url: str) -> Any:
    async with client(url) as user:
        prompt_id = await user.submit(enlarged("happy"))
        heard = await user.hear_to_end(prompt_id)
        history = await user.finished(prompt_id)
        _, job = await user.get(f"/api/jobs/{prompt_id}")
        status, content = await user.get("/view", filename="happy_00001_.png", type="output")
    picture = Image.open(io.BytesIO(content))
    picture.load()
    metadata = json.loads(getattr(picture, "text", {})["prompt"])
    seen = [status, picture.size, picture.mode, picture.getpixel((0, 0)), sorted(metadata)]
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
        await emptied(user)
        heard = await user.hear_to_end(await user.submit(enlarged("free", scale_by=5.0)))
    cached = [data for event, data in texts(heard) if event == "execution_cached"]
    return {"freed": [freed[0], len(freed[1])], "cached": cached}


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
        "outside": events(refused),
    }


async def interrupt(url: str) -> Any:
    async with client(url) as user:
        # The simulator waits at the third node, so that the prompt cannot finish before the interrupt.
        await user.arm_simulator_fault("hold_node")
        prompt_id = await user.submit(tedious("interrupted", 0x112233))
        waiting = await user.submit(enlarged("after", scale_by=1.5))
        # The server checks for interrupts between nodes: an interrupt during the second stops at the third.
        await user.hear_until("executing", prompt_id=prompt_id, node="2")
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
        "rest": events(rest), "after": events(after),
        "status": history["status"]["status_str"], "completed": history["status"]["completed"],
        "messages": [event for event, _ in history["status"]["messages"]], "outputs": history["outputs"],
        "job": [job["status"], sorted(job)],
    }  # fmt: skip


async def queue(url: str) -> Any:
    """Waiting prompts are listed, deleted without a message and cleared; the running one is not affected."""
    async with client(url) as user:
        await user.arm_simulator_fault("hold_node")
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
    number, _, graph, extra, outputs = rows["queue_running"][0]
    return {
        "row": [shape(number), len(graph), shape(extra), outputs],
        "first": min(rows["queue_pending"], key=lambda row: row[0])[1] == front,
        "info": info, "jobs": [shape(job) for job in jobs],
        "listed": sorted(job["status"] for job in listed["jobs"]), "pagination": shape(listed["pagination"]),
        "deleted": [deleted[0], len(deleted[1]), unknown], "after delete": _lengths(after_delete),
        "cleared": [cleared[0], len(cleared[1])], "after clear": _lengths(after_clear),
        "cancelled": [cancelled, stopped], "last": events(heard)[-3:], "gone": gone,
    }  # fmt: skip


def _lengths(rows: dict[str, Any]) -> list[int]:
    return [len(rows["queue_running"]), len(rows["queue_pending"])]


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
        "deleted": [deleted[0], len(deleted[1])], "left": left, "cleared": cleared[0], "nothing": nothing,
        "bad": bad,
    }  # fmt: skip


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
    return {"heard": events(heard), "outputs": shape(history["outputs"]), "ran": history["prompt"][4]}
