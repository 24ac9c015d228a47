"""`pixelfactory up`: run the whole service in one process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import AbstractContextManager
from typing import Annotated

import typer
from aiohttp import web

from orchestrator.app.build import run_service
from orchestrator.app.resources import require_postgres_driver
from orchestrator.cli.console import ConfigOption, DataDirOption, read_settings
from orchestrator.cli.numbers import integer_between
from orchestrator.data_directory import locked_data_directory, locked_database
from orchestrator.logs import configure_logging, hide_secret
from orchestrator.settings import Settings
from orchestrator.web.app import SERVER_METRICS
from orchestrator.web.server import BoundedAppRunner, ServerLimits, raise_descriptor_limit

log = logging.getLogger(__name__)

#: Time for open connections to close once all work is done.
SHUTDOWN_TIMEOUT_SECONDS = 5.0
#: Longest time for which a thread that computes keeps the event loop waiting. Python's default of 5 ms would
#: be paid several times per request while a large body is parsed.
THREAD_SWITCH_SECONDS = 0.0001


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[
        int | None,
        typer.Option(parser=integer_between(0, 65535), help="Port to listen on [default: 8080]."),
    ] = None,
    data_dir: DataDirOption = None,
    simulate: Annotated[
        int | None,
        typer.Option(parser=integer_between(1), help="Run N simulated instances instead of real ones."),
    ] = None,
    instances: Annotated[
        str | None, typer.Option(help="Comma-separated URLs of running ComfyUI servers to use.")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster whose GPUs run the instances.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run the whole service: orchestrator, instances and, unless one is configured, an S3 server.

    The service is ready when GET /readyz returns 200. On SIGTERM it finishes running work and exits with 0.
    """
    settings = read_settings(
        data_dir, config, host=host, port=port, simulate=simulate, instances=instances, ray_address=ray
    )
    for secret in settings.secret_values:
        hide_secret(secret)
    configure_logging(settings.log_level, settings.log_format)
    raise_descriptor_limit(settings.max_open_files)
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    # What the service and its instances create is for this user only.
    os.umask(0o077)
    with locked_data_directory(settings.data_dir), locked_store(settings):
        asyncio.run(serve(settings))


def locked_store(settings: Settings) -> AbstractContextManager[None]:
    """Hold the lock of the database that the settings name.

    Raises DataDirectoryInUse, ServiceUnavailable, SettingsError, OSError.
    """
    if (url := settings.postgres_url) is None:
        return locked_database(settings.database_path)
    require_postgres_driver()
    from orchestrator.store.postgres.locks import service_lock

    # Another service runs the jobs now: this one finishes what it can and ends.
    return service_lock(url, on_lost=lambda: os.kill(os.getpid(), signal.SIGTERM))


async def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with run_service(settings) as service:
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
