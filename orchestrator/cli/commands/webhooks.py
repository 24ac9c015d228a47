"""`pixelfactory webhooks`: deliver webhooks beside the scheduler."""

from __future__ import annotations

import asyncio
import logging

from orchestrator.app.roles import require_shared_state, run_webhooks
from orchestrator.cli.service_access.serving import prepare_process, stop_on_signals
from orchestrator.cli.terminal.console import ConfigOption, DataDirOption, read_settings
from orchestrator.settings import Settings

log = logging.getLogger(__name__)


def webhooks(data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Deliver webhooks of an installation on several machines; any number may run.

    A scheduler delivers them too, unless it was started with --no-webhooks.
    """
    settings = read_settings(data_dir, config)
    require_shared_state(settings, "webhooks")
    prepare_process(settings, "webhooks")
    asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """Run the process until SIGTERM or SIGINT."""
    stop = stop_on_signals()
    async with run_webhooks(settings):
        log.info("delivering webhooks")
        await stop.wait()
    log.info("stopped")
