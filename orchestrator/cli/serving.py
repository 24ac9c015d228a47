"""Runs a process of the service until a signal stops it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import typer
from aiohttp import web

from orchestrator.app.build import RunningService
from orchestrator.cli.numbers import integer_between
from orchestrator.logs import configure_logging, hide_secret
from orchestrator.settings import Settings
from orchestrator.web.app import SERVER_METRICS
from orchestrator.web.server import BoundedAppRunner, ServerLimits, raise_descriptor_limit

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


def prepare_process(settings: Settings) -> None:
    """Set up the log and the limits of this process."""
    for secret in settings.secret_values:
        hide_secret(secret)
    configure_logging(settings.log_level, settings.log_format)
    raise_descriptor_limit(settings.max_open_files)
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    # What the service and its instances create is for this user only.
    os.umask(0o077)


def stop_on_signals(then: Callable[[], None] = lambda: None) -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; they call `then` too."""
    stop = asyncio.Event()

    def handle_signal() -> None:
        stop.set()
        then()

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, handle_signal)
    return stop


def end_at_once() -> None:
    """End this process, because another one runs the jobs now: what it would still write is refused."""
    log.error("this process ends, because another scheduler leads")
    logging.shutdown()
    os._exit(NOT_LEADER_EXIT_CODE)


async def serve(
    settings: Settings, running: AbstractAsyncContextManager[RunningService], stop: asyncio.Event
) -> None:
    """Answer requests of a service until `stop` is set."""
    async with running as service:
        # A disconnecting client cancels its handler, which cancels the job.
        runner = BoundedAppRunner(
            service.app,
            server_limits(settings),
            service.app[SERVER_METRICS],
            behind_proxy=settings.trusted_proxies > 0,
            shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
            for host, port, *_ in runner.addresses:
                log.info("listening on http://%s:%d", host, port)
            await stop.wait()
            log.info("stopping: waiting for running work")
            await service.drain()
        finally:
            await runner.cleanup()
    log.info("stopped")


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
