"""A job as it happens: its place in the queue, its steps, its pictures, and coming back after a break."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.support.api import submit_job
from tests.support.paused_instances import paused_instances
from tests.support.polling import poll, wait_until
from tests.support.service import ServiceProcess, running
from tests.support.sse import SseEvent, SseReader

PATH = "/api/v1/images/generations"
END = 2**53 - 1


@pytest.fixture(scope="module")
def one_card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with one simulated card that takes its time, so that there is something to see."""
    environment = {"PIXELFACTORY_SIMULATOR_TIME_SCALE": "0.3", "PIXELFACTORY_DRAIN_SECONDS": "1"}
    with running(
        ServiceProcess(tmp_path_factory.mktemp("card"), ("--simulate", "1"), environment)
    ) as started:
        yield started


@pytest.fixture(scope="module")
def caller(one_card: ServiceProcess) -> str:
    return one_card.key("50.00")


async def submit(http: aiohttp.ClientSession, **fields: Any) -> str:
    body = {"model": "sdxl-1.0", "prompt": "a fox", "size": "256x256", "steps": 20, **fields}
    return await submit_job(http, body)


async def look(http: aiohttp.ClientSession, job: str) -> dict[str, Any]:
    async with http.get(f"/api/v1/jobs/{job}") as response:
        assert response.status == 200
        return dict(await response.json())


def named(events: list[SseEvent], name: str) -> list[SseEvent]:
    return [event for event in events if event.name == name]


async def test_streams_status_progress_and_previews(one_card: ServiceProcess, caller: str) -> None:
    async with one_card.client(caller) as http:
        with paused_instances(one_card):
            reader = SseReader(http, await submit(http, n=2, steps=100))
            reading = asyncio.create_task(reader.all())
            await wait_until(lambda: bool(reader.events))
        events = await reading
    first, last = events[0], events[-1]
    assert (first.id, first.name, first.retry) == (1, "job", 2000)
    assert (last.id, last.name, last.data["status"]) == (END, "job", "completed")
    assert len(last.data["output"]["images"]) == 2
    assert [event.id for event in events[:-1]] == list(range(1, len(events)))
    assert {event.data["shard"] for event in named(events, "started")} == {0, 1}
    for shard in (0, 1):
        told = [event.data for event in named(events, "progress") if event.data["shard"] == shard]
        fractions = [data["fraction"] for data in told]
        assert fractions == sorted(fractions)
        assert 0.9 <= fractions[-1] <= 1
        assert max(data["value"] for data in told if data["max"] == 100) > 10
        assert len({data["node"] for data in told}) > 1, "nodes without steps are told too"
    preview = named(events, "preview")[-1].data
    with Image.open(io.BytesIO(base64.b64decode(preview["b64"]))) as picture:
        assert Image.MIME[picture.format or ""] == preview["content_type"]


async def test_streams_queue_position_while_waiting(one_card: ServiceProcess, caller: str) -> None:
    async with one_card.client(caller) as http:
        with paused_instances(one_card):
            ahead = [await submit(http, steps=60) for _ in range(4)]
            job = await submit(http)
            shown = await look(http, job)
            reader = SseReader(http, job)
            reading = asyncio.create_task(reader.all())
            await wait_until(lambda: bool(named(reader.events, "queue")))
        events = await reading
        for other in ahead:
            # Its file may still be being stored while the next job runs.
            read = partial(look, http, other)
            done = await poll(read, lambda shown: shown["status"] != "processing")
            assert (done["status"], done["queue"]) == ("completed", None)
    places = [event.data["position"] for event in named(events, "queue")]
    waited = [place for place in places if place is not None]
    # Of five one runs, and one waits on the card.
    assert 3 >= shown["queue"]["position"] >= waited[0] >= 1
    assert waited == sorted(waited, reverse=True)
    assert places.index(None) == len(waited), "once it runs, it waits no more"
    finish = datetime.fromisoformat(named(events, "queue")[0].data["estimatedFinish"])
    assert finish > datetime.fromisoformat(shown["createdAt"]).astimezone(UTC)


async def test_reconnect_continues_event_ids(one_card: ServiceProcess, caller: str) -> None:
    async with one_card.client(caller) as http:
        job = await submit(http, n=4, steps=100)
        reader = SseReader(http, job)
        async with aclosing(reader.read()) as events:
            async for event in events:
                if event.name == "progress" and event.data["value"] >= 3:
                    break
        seen = reader.events[-1]
        again = await reader.all()
    assert again[0].name == "job"
    assert again[0].data["status"] == "processing"
    assert again[0].id == seen.id + 1
    assert [event.id for event in again] == sorted({event.id for event in again})
    told = next(event for event in again if event.name == "progress")
    assert told.data["fraction"] >= seen.data["fraction"], "what was known before is known at once"
    assert told.id < seen.id + 8
    assert (again[-1].id, again[-1].data["status"]) == (END, "completed")


async def test_reconnect_after_the_final_event_gets_204(one_card: ServiceProcess, caller: str) -> None:
    async with one_card.client(caller) as http:
        reader = SseReader(http, await submit(http))
        await reader.all()
        assert reader.last == str(END)
        headers = {"Last-Event-ID": reader.last}
        async with http.get(f"/api/v1/jobs/{reader.job}/events", headers=headers) as response:
            assert (response.status, await response.read()) == (204, b"")
        for odd in ("", "7", "-1", "abc", "9" * 40, "\u0663"):
            reader.last = odd
            told = await reader.all()
            assert [(event.id, event.data["status"]) for event in told] == [(END, "completed")], odd


async def test_all_clients_receive_the_same_events(one_card: ServiceProcess, caller: str) -> None:
    async with one_card.client(caller) as http:
        job = await submit(http)
        told = await asyncio.gather(*(SseReader(http, job).all() for _ in range(3)))
    assert {tuple(event.id for event in events[-1:]) for events in told} == {(END,)}
    assert len({str(events[-1].data["finishedAt"]) for events in told}) == 1


async def test_stream_ends_with_the_cancelled_job(one_card: ServiceProcess, caller: str) -> None:
    async with one_card.client(caller) as http:
        # So long that it has not ended when the request arrives.
        job = await submit(http, steps=100, size="1024x1024", n=4)
        reader = SseReader(http, job)
        async for event in reader.read():
            if event.name == "started":
                async with http.delete(f"/api/v1/jobs/{job}") as response:
                    assert response.status == 200
        assert (reader.events[-1].id, reader.events[-1].data["status"]) == (END, "cancelled")
        assert reader.events[-1].data["costUsd"] == 0


async def test_rejects_jobs_of_other_accounts(one_card: ServiceProcess, caller: str) -> None:
    async with one_card.client(caller) as http:
        job = await submit(http)
    address = f"/api/v1/jobs/{job}/events"
    async with one_card.client(one_card.key()) as stranger, stranger.get(address) as response:
        assert response.status == 404
    async with one_card.client() as nobody, nobody.get(address) as response:
        assert response.status == 401


async def test_filters_jobs_by_status_and_model(one_card: ServiceProcess, caller: str) -> None:
    async with one_card.client(caller) as http:
        kept = await submit(http, model="flux-1-schnell", steps=1)
        await SseReader(http, kept).all()

        async def ids(**query: str) -> list[str]:
            async with http.get("/api/v1/jobs", params=query) as response:
                assert response.status == 200
                return [job["jobId"] for job in (await response.json())["jobs"]]

        assert await ids(model="flux-1-schnell") == [kept]
        assert await ids(model="flux-1-schnell", status="completed") == [kept]
        assert await ids(model="flux-1-schnell", status="failed") == []
        assert await ids(model="no-such-model") == []
        assert kept in await ids(status="completed")
        async with http.get("/api/v1/jobs", params={"status": "done"}) as response:
            assert response.status == 400
