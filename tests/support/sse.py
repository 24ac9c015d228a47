"""A reader of server-sent events that believes in the specification and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass(frozen=True)
class SseEvent:
    """One event, with the fields that it came with."""

    id: int
    name: str
    data: Any
    retry: int | None = None


@dataclass
class SseReader:
    """Reads a job's events; `last` is what an EventSource would come back with."""

    http: aiohttp.ClientSession
    job: str
    last: str | None = None
    events: list[SseEvent] = field(default_factory=list)

    async def read(self) -> AsyncGenerator[SseEvent, None]:
        """The events of one connection."""
        headers = {"Last-Event-ID": self.last} if self.last is not None else {}
        async with self.http.get(f"/api/v1/jobs/{self.job}/events", headers=headers) as response:
            assert response.status == 200
            assert response.content_type == "text/event-stream"
            fields: dict[str, str] = {}
            async for raw in _lines(response):
                if raw:
                    name, _, value = raw.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif "event" in fields:
                    yield self._taken(fields)
                    fields = {}

    async def all(self) -> list[SseEvent]:
        return [event async for event in self.read()]

    def _taken(self, fields: dict[str, str]) -> SseEvent:
        self.last = fields["id"]
        retry = int(fields["retry"]) if "retry" in fields else None
        event = SseEvent(int(fields["id"]), fields["event"], json.loads(fields["data"]), retry)
        self.events.append(event)
        return event


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[str, None]:
    """Lines of any length: previews are long."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()
