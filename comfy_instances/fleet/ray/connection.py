"""The service's connection to Ray, through the bridge process. Reconnects by starting another bridge."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from comfy_instances.fleet.ray.values import AgentOptions, AgentReport, ClusterState, RayNode
from comfy_instances.log_text import error_text
from comfy_instances.process import die_with_parent
from comfy_instances.process.child import child_environment
from comfy_instances.tasks import spawn

log = logging.getLogger(__name__)
#: Time for a bridge to import Ray and to connect, and for one request.
CONNECT_SECONDS, REQUEST_SECONDS = 60.0, 20.0
#: Longest answer; a cluster of 10 000 nodes needs 2 MB.
MAX_ANSWER_BYTES = 64 * 2**20
BRIDGE_MODULE = "comfy_instances.fleet.ray.bridge"


class RayUnavailable(Exception):
    """Ray cannot be reached at present, or refuses a request."""


class Cluster(Protocol):
    """What the fleet needs of Ray. All methods raise RayUnavailable."""

    async def get_state(self, skip: Collection[str]) -> ClusterState:
        """Return the state of the cluster, with the reports of the actors that answer, except `skip`."""

    async def create_actor(self, options: AgentOptions, card: str | None, node_id: str | None) -> None:
        """Create the actor of one GPU of that card, preferably on a node."""

    async def kill_actor(self, name: str) -> None:
        """End an actor for good."""

    async def request_bundles(self, bundles: Sequence[Mapping[str, float]]) -> None:
        """Tell the autoscaler what the cluster should have room for in all."""

    async def close(self) -> None:
        """Disconnect; actors stay."""


def is_ray_installed() -> bool:
    """Whether Ray is installed; it is not imported."""
    return importlib.util.find_spec("ray") is not None


class RayConnection:
    """A `Cluster` behind a bridge process, which is started with the first request and after each failure."""

    def __init__(self, address: str, namespace: str) -> None:
        self._address = address
        self._namespace = namespace
        self._process: asyncio.subprocess.Process | None = None
        self._errors: asyncio.Task[None] | None = None
        self._last_line = ""
        self._lock = asyncio.Lock()

    async def get_state(self, skip: Collection[str]) -> ClusterState:
        answer = await self._request("state", skip=sorted(skip))
        reports = {}
        for name, row in answer["reports"].items():
            with contextlib.suppress(TypeError):  # of a version that says too little
                reports[name] = AgentReport.from_json(row)
        nodes = tuple(RayNode(**row) for row in answer["nodes"])
        return ClusterState(nodes=nodes, actors=tuple(answer["actors"]), reports=reports)

    async def create_actor(self, options: AgentOptions, card: str | None, node_id: str | None) -> None:
        await self._request("create", name=options.name, options=options.to_json(), card=card, node=node_id)

    async def kill_actor(self, name: str) -> None:
        await self._request("kill", name=name)

    async def request_bundles(self, bundles: Sequence[Mapping[str, float]]) -> None:
        await self._request("bundles", bundles=[dict(bundle) for bundle in bundles])

    async def close(self) -> None:
        async with self._lock:
            await self._stop()

    async def _request(self, operation: str, **arguments: Any) -> Any:
        """Send one request and return the answer. Raises RayUnavailable."""
        async with self._lock:
            try:
                async with asyncio.timeout(CONNECT_SECONDS if self._process is None else REQUEST_SECONDS):
                    process = self._process or await self._start()
                    return await self._exchange(process, {"op": operation, **arguments})
            except (TimeoutError, OSError, EOFError, ValueError) as error:
                # Whether the request was carried out is unknown; all of them may be repeated.
                await self._stop()
                reason = self._last_line or error_text(error)
                raise RayUnavailable(f"Ray at {self._address} does not respond: {reason}") from error
            except asyncio.CancelledError:
                await self._stop()  # an answer of this request must not become that of the next one
                raise

    async def _start(self) -> asyncio.subprocess.Process:
        self._last_line = ""
        command = (sys.executable, "-m", BRIDGE_MODULE, self._address, self._namespace)
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=MAX_ANSWER_BYTES,
            env=child_environment(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0"),
        )
        self._errors = spawn(self._read_errors(process), "bridge errors", awaited=True)
        await self._read_answer(process)
        return process

    async def _exchange(self, process: asyncio.subprocess.Process, request: Mapping[str, Any]) -> Any:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        return await self._read_answer(process)

    async def _read_answer(self, process: asyncio.subprocess.Process) -> Any:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise EOFError("the connection ended")
        answer = json.loads(line)
        if "error" in answer:
            raise RayUnavailable(f"Ray at {self._address} refuses a request: {answer['error']}")
        return answer["ok"]

    async def _read_errors(self, process: asyncio.subprocess.Process) -> None:
        """Read what the bridge prints, so that it is never held up; the last line explains its end."""
        assert process.stderr is not None
        while line := await process.stderr.readline():
            text = line.decode("utf-8", "replace").strip()
            if text:
                log.debug("ray: %s", text)
                self._last_line = text[:300]

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        errors, self._errors = self._errors, None
        if errors is not None:
            await asyncio.wait([errors], timeout=1.0)
            errors.cancel()
            await asyncio.gather(errors, return_exceptions=True)
