"""Runs one instance on a node: the local fleet's supervision, behind a proxy that checks a token.

An agent serves two kinds of requests at one address, both with its token: those for ComfyUI, which it passes
on, and its own below `/pixelfactory-agent/`.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from comfy_instances.fleet.local import COMFYUI_RESTART_POLICY, SIMULATOR_RESTART_POLICY, LocalFleet
from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from comfy_instances.fleet.ray.orphans import kill_orphans
from comfy_instances.fleet.ray.proxy import PromptWatch, ReverseProxy, require_token
from comfy_instances.fleet.ray.values import (
    FAILURE_PATH,
    FILES_PATH,
    LOG_PATH,
    RESTART_PATH,
    STATUS_PATH,
    WEIGHTS_PATH,
    AgentOptions,
    AgentReport,
    AgentStatus,
    code_version,
    new_token,
)
from comfy_instances.hardware.gpus import Gpu, GpuStats, discover_gpus, read_gpu_stats
from comfy_instances.hardware.profiles import load_gpu_profiles
from comfy_instances.process.installation import find_installation
from comfy_instances.process.installed_packs import load_all_packs
from comfy_instances.process.launch import LaunchSpec, comfyui_launch_specs, simulator_launch_specs
from comfy_instances.process.restart_policy import RestartPolicy
from comfy_instances.protocol.server_log import LogSpan
from comfy_instances.session.session import FileRef
from comfy_instances.tasks import loop_time, spawn

log = logging.getLogger(__name__)
#: Lines of the log that one request returns, at most.
MAX_LOG_LINES = 500
#: Between two tries to pull weights, in seconds.
PULL_RETRY_SECONDS = 15.0
GPU_STATS_MAX_AGE_SECONDS = 1.0

#: Brings weight files into a directory of models: `await pull(models_dir, files, on_file)`. The files are
#: those that the service sent; `on_file(path, size)` is called for each one that is complete. Raises what
#: prevents it.
PullWeights = Callable[[Path, Sequence[Mapping[str, Any]], Callable[[str, int], None]], Awaitable[None]]


class AgentError(Exception):
    """An agent cannot run its instance; the text says what to do on the node."""


class AgentFleet(LocalFleet):
    """A local fleet of one, whose prompts come through the proxy and not from its own session."""

    def __init__(self, launch_spec: LaunchSpec, policy: RestartPolicy, watch: PromptWatch) -> None:
        super().__init__([launch_spec], policy=policy)
        self._watch = watch

    def runs_foreign_prompt(self, instance_id: str) -> bool:
        running = self._watch.is_running
        self._watch.reset()
        return running


class Agent:
    """One agent. `run` is its life."""

    def __init__(
        self, options: AgentOptions, *, address: str, node_id: str = "", visible_gpus: str | None = None
    ) -> None:
        """`address` is that of the node; `visible_gpus` limits its GPUs as CUDA_VISIBLE_DEVICES does."""
        self._options = options
        self._address = address
        self._node_id = node_id
        self._visible_gpus = visible_gpus
        self._incarnation = uuid.uuid4().hex
        #: Set once the agent listens.
        self.listens = asyncio.Event()
        self._token = new_token()
        self._port = 0
        self._watch = PromptWatch()
        self._fleet: AgentFleet | None = None
        self._pci_id: str | None = None
        self._gpu: tuple[float, GpuStats | None] = (float("-inf"), None)
        self._problem: str | None = "starting"
        #: When what the problem prevents is tried again.
        self._retry_at: datetime | None = None
        self._weights: dict[str, int] = {}
        self._wanted: Sequence[Mapping[str, Any]] | None = None if options.needs_weights else ()
        self._wanted_changed = asyncio.Event()
        self._weights_ready = asyncio.Event()
        self._pulling: set[asyncio.Task[None]] = set()

    @property
    def report(self) -> AgentReport:
        """Where the agent is; without an address until it listens."""
        return AgentReport(
            name=self._options.name,
            incarnation=self._incarnation,
            url=f"http://{self._address}:{self._port}" if self._port else "",
            token=self._token,
            node_id=self._node_id,
            created_by=self._options.created_by,
            code_version=code_version(),
        )

    async def run(self) -> None:
        """Serve and supervise until cancelled. Raises OSError if the address cannot be used."""
        async with AsyncExitStack() as stack:
            runner = web.AppRunner(self._build_app(), access_log=None, handler_cancellation=True)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, self._address, 0)
            await site.start()
            self._port = int(runner.addresses[0][1])
            self.listens.set()
            await self._supervise(stack)
            await asyncio.Event().wait()

    async def _supervise(self, stack: AsyncExitStack) -> None:
        directory = Path(self._options.base_dir) / self._options.namespace / self._options.name
        await asyncio.to_thread(kill_orphans, directory.resolve())
        while self._fleet is None:
            try:
                spec, policy = await asyncio.to_thread(self._build_launch_spec, directory)
                puller = _import_puller(self._options.weight_puller) if self._options.needs_weights else None
            except (AgentError, OSError) as error:
                # The node may be repaired while the agent waits.
                await self._wait_to_retry(str(error))
                continue
            self._problem = None
            self._fleet = AgentFleet(spec, policy, self._watch)
        if puller is not None:
            spawn(self._keep_weights(puller), "weights", self._options.name, group=self._pulling)
            await self._weights_ready.wait()
        stack.push_async_callback(self._fleet.stop)
        await self._fleet.start()

    def _build_launch_spec(self, directory: Path) -> tuple[LaunchSpec, RestartPolicy]:
        """Return how to launch the instance on this node. Raises AgentError, OSError."""
        options, models = self._options, Path(self._options.models_dir)
        if options.simulate:
            [spec] = simulator_launch_specs(
                1,
                directory=directory.parent,
                time_scale=options.time_scale,
                vram_gb=96,
                models_dir=models if options.models_dir else None,
            )
            named = replace(spec, id=options.name, directory=directory.resolve())
            return named, SIMULATOR_RESTART_POLICY
        installation = find_installation(Path(options.comfyui_dir))
        if installation is None:
            raise AgentError(
                f"ComfyUI is not installed in {options.comfyui_dir} on node {self._address}:"
                " run `pixelfactory comfyui install` there, or set PIXELFACTORY_COMFYUI_DIR to its directory"
            )
        gpus: list[Gpu] = discover_gpus(cuda_visible_devices=self._visible_gpus)
        self._pci_id = gpus[0].pci_id if gpus else None
        models.mkdir(parents=True, exist_ok=True)
        [spec] = comfyui_launch_specs(
            installation,
            directory=directory.parent,
            models_dir=models,
            gpus=gpus[:1] or [None],
            profiles=load_gpu_profiles(),
            # The agent does not know the models; the operator installs on a node what it is to load.
            choose_packs=load_all_packs,
        )
        policy = replace(COMFYUI_RESTART_POLICY, startup_seconds=options.startup_seconds)
        return replace(spec, id=options.name, directory=directory.resolve()), policy

    async def _keep_weights(self, pull: PullWeights) -> None:
        """Pull the required weights each time that they change; the instance waits for the first pull."""
        while True:
            await self._wanted_changed.wait()
            self._wanted_changed.clear()
            wanted = self._wanted or ()
            try:
                await pull(Path(self._options.models_dir), wanted, self._weights.__setitem__)
            except Exception as error:
                # A full disk, a hub that is unavailable: tried again, and the instance keeps what it has.
                log.warning("weights are incomplete: %s", error)
                await self._wait_to_retry(f"weights are incomplete: {error}")
                self._wanted_changed.set()
                continue
            self._problem = None
            self._weights_ready.set()

    async def _wait_to_retry(self, problem: str) -> None:
        self._problem = problem
        self._retry_at = datetime.now(UTC) + timedelta(seconds=PULL_RETRY_SECONDS)
        await asyncio.sleep(PULL_RETRY_SECONDS)
        self._retry_at = None

    def _build_app(self) -> web.Application:
        proxy = ReverseProxy(self._instance_url, self._watch)
        # The proxy reads no body into memory; the agent's own requests are short.
        app = web.Application(middlewares=[require_token(self._token)])
        app.on_startup.append(proxy.open)
        app.on_cleanup.append(proxy.close)
        app.router.add_get(STATUS_PATH, self._get_status)
        app.router.add_post(RESTART_PATH, self._restart)
        app.router.add_post(FAILURE_PATH, self._record_failure)
        app.router.add_get(LOG_PATH, self._get_log)
        app.router.add_post(FILES_PATH, self._delete_files)
        app.router.add_post(WEIGHTS_PATH, self._set_weights)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        return app

    @property
    def _info(self) -> InstanceInfo | None:
        return self._fleet.instances()[0] if self._fleet is not None else None

    def _instance_url(self) -> str | None:
        info = self._info
        return info.url if info is not None and info.started_at is not None else None

    async def status(self) -> AgentStatus:
        """Return what is known about the instance."""
        info, gpu = self._info, await self._read_gpu()
        waiting = self._options.needs_weights and not self._weights_ready.is_set()
        if info is None or waiting:
            detail = self._problem or ("waits for weights" if waiting else "starting")
            return AgentStatus(
                incarnation=self._incarnation,
                state=InstanceState.STARTING if self._problem in (None, "starting") else InstanceState.DOWN,
                detail=detail,
                code_version=code_version(),
                gpu=gpu,
                profile=None if info is None else info.profile,
                weights=self._weights,
                wants_weights=self._wanted is None,
                retry_at=self._retry_at,
            )
        return AgentStatus(
            incarnation=self._incarnation,
            state=info.state,
            detail=info.detail or self._problem,
            code_version=code_version(),
            simulated=info.simulated,
            device=info.device,
            version=info.version,
            vram_total=info.vram_total,
            vram_free=info.vram_free,
            restarts=info.restarts,
            failures=info.failures,
            supervision_errors=info.supervision_errors,
            started_at=info.started_at,
            memory=info.memory,
            profile=info.profile,
            gpu=gpu,
            weights=self._weights,
            wants_weights=self._wanted is None,
            retry_at=info.retry_at,
        )

    async def _read_gpu(self) -> GpuStats | None:
        if self._pci_id is not None and loop_time() - self._gpu[0] >= GPU_STATS_MAX_AGE_SECONDS:
            self._gpu = (loop_time(), await asyncio.to_thread(read_gpu_stats, self._pci_id))
        return self._gpu[1]

    async def _get_status(self, request: web.Request) -> web.Response:
        return web.json_response((await self.status()).to_json())

    async def _restart(self, request: web.Request) -> web.Response:
        if self._fleet is not None:
            await self._fleet.restart(self._options.name)
        return web.json_response({})

    async def _record_failure(self, request: web.Request) -> web.Response:
        if self._fleet is not None:
            self._fleet.record_failure(self._options.name)
        return web.json_response({})

    async def _get_log(self, request: web.Request) -> web.Response:
        text = request.query.get("lines", "")
        lines = min(int(text), MAX_LOG_LINES) if text.isdecimal() and len(text) < 6 else MAX_LOG_LINES
        period = _parse_period(request)
        tail = [] if self._fleet is None else await self._fleet.log_tail(self._options.name, lines, period)
        return web.json_response({"lines": tail})

    async def _delete_files(self, request: web.Request) -> web.Response:
        rows = await request.json()
        files = [FileRef(str(row["filename"]), str(row["subfolder"]), str(row["type"])) for row in rows]
        if self._fleet is not None:
            await self._fleet.delete_files(self._options.name, files)
        return web.json_response({})

    async def _set_weights(self, request: web.Request) -> web.Response:
        """Take the list of weight files that the node should have."""
        self._wanted = list(await request.json())
        self._wanted_changed.set()
        return web.json_response({})


def _parse_period(request: web.Request) -> LogSpan | None:
    """Return the part of the log that a request asks for; None for its end."""
    try:
        since, until = (datetime.fromisoformat(request.query[name]) for name in ("since", "until"))
    except (KeyError, ValueError):
        return None
    return (since, until) if since.tzinfo and until.tzinfo else None


def _import_puller(path: str) -> PullWeights:
    """Return the function that `module:function` names. Raises AgentError."""
    module, _, name = path.partition(":")
    try:
        function: PullWeights = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise AgentError(f"this node has no {path}: install the service's version of pixelfactory") from error
    return function
