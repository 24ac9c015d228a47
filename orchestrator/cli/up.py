"""`pixelfactory up`: run the whole service in one process."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Annotated

import typer
from aiohttp import web

from orchestrator.app.build import run_service
from orchestrator.cli.console import ConfigOption, DataDirOption, read_settings
from orchestrator.cli.numbers import integer_between
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

#: Time for open connections to close once all work is done.
SHUTDOWN_TIMEOUT_SECONDS = 5.0


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
    config: ConfigOption = None,
) -> None:
    """Run the whole service: orchestrator, instances and, unless one is configured, an S3 server.

    The service is ready when GET /readyz returns 200. On SIGTERM it finishes running work and exits with 0.
    """
    settings = read_settings(data_dir, config, host=host, port=port, simulate=simulate, instances=instances)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # The service logs each request itself; these libraries would log every message in addition.
    for noisy in ("aiohttp.access", "urllib3", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    asyncio.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with run_service(settings) as service:
        # A disconnecting client cancels its handler, which cancels the job.
        runner = web.AppRunner(
            service.app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS
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
