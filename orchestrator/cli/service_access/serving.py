"""Runs a process of the service until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import web

from comfy_instances.tasks import spawn
from orchestrator.app.build import RunningService
from orchestrator.app.reloading import SettingsReloader
from orchestrator.app.trace_export import start_tracing
from orchestrator.cli.service_access.listeners import open_listeners, url_of
from orchestrator.cli.terminal.numbers import integer_between
from orchestrator.cli.terminal.process_signals import reload_on_hangup, stop_on_signals
from orchestrator.files.running_services import announce_service
from orchestrator.logs import configure_logging, hide_secret
from orchestrator.setting_errors import find_misspelt_variables
from orchestrator.settings import Settings
from orchestrator.web.app import SERVER_METRICS
from orchestrator.web.server import BoundedAppRunner, ServerLimits, raise_descriptor_limit
from orchestrator.web.starting import starting_site

__all__ = ["SettingsSource", "end_at_once", "prepare_process", "serve", "stop_on_signals"]

log = logging.getLogger(__name__)

HostOption = Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")]
PortOption = Annotated[
    int | None, typer.Option(parser=integer_between(0, 65535), help="Port to listen on [default: 8080].")
]
SimulateOption = Annotated[
    int | None,
    typer.Option(parser=integer_between(1), help="Run N simulated instances instead of real ones."),
]
InstancesOption = Annotated[
    str | None, typer.Option(help="Comma-separated URLs of running ComfyUI servers to use.")
]
RayOption = Annotated[str | None, typer.Option(help="Address of a Ray cluster whose GPUs run the instances.")]
#: Exit status of a process that another one has succeeded; its supervisor starts it again.
NOT_LEADER_EXIT_CODE = 75
#: Time for open connections to close once all work is done.
SHUTDOWN_TIMEOUT_SECONDS = 5.0
#: Longest time for which a thread that computes keeps the event loop waiting. Python's default of 5 ms would
#: be paid several times per request while a large body is parsed.
THREAD_SWITCH_SECONDS = 0.0001


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Where the settings of a service come from."""

    #: The file of `--config`.
    config: Path | None
    #: Reads all of them again. Raises SettingsError.
    read: Callable[[], Settings]


def prepare_process(settings: Settings, role: str) -> None:
    """Set up the log, the traces and the limits of this process. Raises SettingsError."""
    for secret in settings.secret_values:
        hide_secret(secret)
    configure_logging(settings.log_level, settings.log_format)
    for message in find_misspelt_variables(tuple(Settings.model_fields)):
        log.warning("%s", message)
    start_tracing(role)
    raise_descriptor_limit(settings.max_open_files)
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    # What the service and its instances create is for this user only.
    os.umask(0o077)


def end_at_once() -> None:
    """End this process, because another one runs the jobs now: what it would still write is refused."""
    log.error("this process ends, because another scheduler leads")
    logging.shutdown()
    os._exit(NOT_LEADER_EXIT_CODE)


async def serve(
    settings: Settings,
    running: AbstractAsyncContextManager[RunningService],
    stop: asyncio.Event,
    source: SettingsSource | None = None,
) -> None:
    """Answer requests of a service until `stop` is set. Probes are answered before it has started.

    `source` reads the settings again for SIGHUP. Raises CliError, before the start, if the port is taken.
    """
    config = source.config if source is not None else None
    async with AsyncExitStack() as stack:
        with open_listeners(settings.host, settings.port) as listeners:
            stack.enter_context(announce_service(url_of(listeners[0]), settings.data_dir, config))
            service = await _start_and_listen(settings, running, stop, listeners, stack)
        if service is None:
            log.info("stopped before the service was ready")
            return
        if source is not None:
            _reload_on_hangup(SettingsReloader(settings, source.read), service, stop)
        await stop.wait()
        seconds = service.drain_seconds
        log.info("stopping: waiting up to %g s for running work; a second Ctrl-C stops at once", seconds)
        await service.drain()
    log.info("stopped")


async def _start_and_listen(
    settings: Settings,
    running: AbstractAsyncContextManager[RunningService],
    stop: asyncio.Event,
    listeners: Sequence[socket.socket],
    stack: AsyncExitStack,
) -> RunningService | None:
    """Answer probes while a service starts, then serve it until `stack` ends; None if `stop` is set."""
    async with starting_site(listeners, settings.s3_endpoint):
        service = await _start(running, stop, stack)
        _exempt_from_collection()
        runner = None if service is None else await _listen(settings, service, listeners, stack)
    for host, port, *_ in runner.addresses if runner is not None else ():
        log.info("listening on http://%s:%d", host, port)
    return service


def _exempt_from_collection() -> None:
    """Have the garbage collector ignore what exists now: modules and models.

    Most of it stays. Visiting half a million objects keeps all requests waiting for a quarter of a second.
    """
    gc.collect()
    gc.freeze()


async def _start(
    running: AbstractAsyncContextManager[RunningService], stop: asyncio.Event, stack: AsyncExitStack
) -> RunningService | None:
    """Start a service, which `stack` stops; None if `stop` is set meanwhile."""
    starting = asyncio.current_task()
    assert starting is not None

    async def cancel_start() -> None:
        await stop.wait()
        starting.cancel()

    watch = spawn(cancel_start(), "signals at the start")
    try:
        return await stack.enter_async_context(running)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        starting.uncancel()
        return None
    finally:
        watch.cancel()


async def _listen(
    settings: Settings, service: RunningService, listeners: Sequence[socket.socket], stack: AsyncExitStack
) -> BoundedAppRunner:
    """Serve the application on the sockets until `stack` ends."""
    # A disconnecting client cancels its handler, which cancels the job.
    runner = BoundedAppRunner(
        service.app,
        server_limits(settings),
        service.app[SERVER_METRICS],
        behind_proxy=settings.trusted_proxies > 0,
        shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    for listener in listeners:
        await web.SockSite(runner, listener.dup()).start()
    return runner


def _reload_on_hangup(reloader: SettingsReloader, service: RunningService, stop: asyncio.Event) -> None:
    def reload() -> None:
        spawn(reloader.reload(service), "reload of settings")

    reload_on_hangup(reload, stop)


def server_limits(settings: Settings) -> ServerLimits:
    """Return the limits of the HTTP server."""
    return ServerLimits(
        max_connections=settings.max_connections,
        max_connections_per_address=settings.max_connections_per_address,
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        body_bytes_per_second=settings.body_bytes_per_second,
        keepalive_seconds=settings.keepalive_seconds,
        write_seconds=settings.write_seconds,
    )
