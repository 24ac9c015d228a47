"""Scenarios of clients: lost and found, side by side, taken over, shown pictures."""

from __future__ import annotations

from typing import Any

from tests.contract.conformance_client import client, shape
from tests.contract.conformance_graphs import enlarged, events, node, tedious


async def socket_lost_and_found(url: str) -> Any:
    """The prompt runs on; a new socket with the old id hears where it is, and the rest."""
    async with client(url) as user:
        prompt_id = await user.submit(tedious("lost", 0x334455))
        await user.hear_until("executing", prompt_id=prompt_id)
        await user.disconnect()
        await user.round_trip()  # an old socket whose end is noticed late takes the new one with it
        await user.connect()
        first = [await user.hear(), await user.hear()]
        rest = await user.hear_to_end(prompt_id)
        history = await user.finished(prompt_id)
        await user.disconnect()
        await user.connect()
        idle = await user.hear()
    return {
        "first": [[message["type"], sorted(message["data"])] for message in first],
        "events": sorted(set(events(rest))), "last": events(rest)[-4:],
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
        "first": events(heard_first), "second": events(heard_second),
        "after nobody": events(heard_third),
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
        await user.round_trip()
        prompt_id = await user.submit(enlarged("deaf", scale_by=2.3))
        await user.finished(prompt_id)
        await user.round_trip()
        message = await user.hear_what_was_sent()
    return {"heard": events(heard), "deaf": message}


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
        words = await user.hear_to_end(await user.submit({key: graph[key] for key in ("1", "3", "4")}))
    async with client(url, connected=False) as user:
        await user.connect({"supports_preview_metadata": True})
        greeting = [await user.hear(), await user.hear()]
        described = await user.hear_to_end(await user.submit({key: graph[key] for key in ("1", "2")}))
    return {
        "plain": plain, "outputs": outputs, "again": [m for m in again if isinstance(m, dict)],
        "texts": words, "greeting": [[message["type"], sorted(message["data"])] for message in greeting],
        "described": described,
    }  # fmt: skip
