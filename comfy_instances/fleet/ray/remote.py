"""One instance on a node, as the fleet sees it: where its agent is, and requests to that agent."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from comfy_instances.fleet.ray.values import (
    FAILURE_PATH,
    FILES_PATH,
    LOG_PATH,
    RESTART_PATH,
    STATUS_PATH,
    WEIGHTS_PATH,
    AgentReport,
    AgentStatus,
)
from comfy_instances.log_text import error_text
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.protocol.server_log import LogSpan
from comfy_instances.session.session import FileRef, InstanceSession

log = logging.getLogger(__name__)
#: Timeout of a request to an agent; none of them waits for the instance.
REQUEST_SECONDS = 5.0


class AgentClient:
    """Requests to one agent. All methods raise InstanceGone if it does not answer as agents do."""

    def __init__(self, http: aiohttp.ClientSession, report: AgentReport) -> None:
        self._http = http
        self._report = report

    async def get_status(self) -> AgentStatus:
        """Return what the agent knows. Another agent at the same address counts as gone."""
        body = await self._request("GET", STATUS_PATH)
        try:
            status = AgentStatus.from_json(body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InstanceGone(f"the agent's status cannot be read: {error}") from error
        if status.incarnation != self._report.incarnation:
            raise InstanceGone("another agent answers at this address")
        return status

    async def restart(self) -> None:
        """Request a restart of the instance."""
        await self._request("POST", RESTART_PATH)

    async def record_failure(self) -> None:
        """Count the last end of the instance as its failure."""
        await self._request("POST", FAILURE_PATH)

    async def log_tail(self, lines: int, period: LogSpan | None = None) -> list[str]:
        """Return the last lines of the instance's output, or of those of a period."""
        query: dict[str, object] = {"lines": lines}
        if period is not None:
            query |= {"since": period[0].isoformat(), "until": period[1].isoformat()}
        answer = await self._request("GET", f"{LOG_PATH}?{urlencode(query)}")
        return [str(line) for line in answer["lines"]]

    async def delete_files(self, files: Sequence[FileRef]) -> None:
        """Delete input and output files of the instance."""
        await self._request("POST", FILES_PATH, [asdict(file) for file in files])

    async def set_weights(self, files: Sequence[Mapping[str, Any]]) -> None:
        """Send the list of the weight files that the node should have."""
        await self._request("POST", WEIGHTS_PATH, list(files))

    async def _request(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self._report.token}"}
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        try:
            async with self._http.request(
                method, self._report.url + path, json=body, headers=headers, timeout=timeout
            ) as response:
                if response.status != 200:
                    raise InstanceGone(f"the agent answers with status {response.status}")
                return await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise InstanceGone(f"the agent does not answer: {error_text(error)}") from error


@dataclass(slots=True)
class RemoteInstance:
    """What the fleet knows about one actor. Times are those of the event loop."""

    name: str
    #: Where its agent is; None before it has said so, and after its node was lost.
    report: AgentReport | None = None
    status: AgentStatus | None = None
    agent: AgentClient | None = None
    session: InstanceSession | None = None
    monitor: asyncio.Task[None] | None = None
    #: Since when no prompt runs or waits and no file is transferred; None while one does or that is unknown.
    idle_since: float | None = None
    #: Since when it has no node.
    waiting_since: float | None = None
    #: Drained by the fleet itself, to be ended.
    is_leaving: bool = False
    #: Paths and digests of the weights that the agent was sent.
    sent_weights: frozenset[tuple[str, str]] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether its session has an open websocket."""
        return self.session is not None and self.session.is_connected


def load_reports(file: Path) -> list[AgentReport]:
    """Return the agents that an earlier process of the service used; [] if the file is missing or damaged."""
    try:
        rows = json.loads(file.read_text("utf-8"))
        return [AgentReport.from_json(row) for row in rows]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def save_reports(file: Path, reports: Sequence[AgentReport]) -> None:
    """Write the agents with their tokens to a file that only this user can read. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        json.dump([report.to_json() for report in reports], opened)
    partial.replace(file)


async def ignore_gone(request: Awaitable[None]) -> None:
    """Send an agent what it needs not get."""
    try:
        await request
    except InstanceGone as error:
        log.info("a failure could not be reported to an agent: %s", error)
