"""`pixelfactory api`: accept and answer requests; a scheduler runs the jobs."""

from __future__ import annotations

import asyncio

from orchestrator.app.roles import require_shared_state, run_api
from orchestrator.cli.service_access.serving import (
    HostOption,
    PortOption,
    SettingsSource,
    prepare_process,
    serve,
    stop_on_signals,
)
from orchestrator.cli.terminal.console import ConfigOption, DataDirOption, read_settings
from orchestrator.settings import Settings


def api(
    host: HostOption = None,
    port: PortOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Accept and answer requests of an installation on several machines; any number may run.

    The state is in PostgreSQL and S3, and `pixelfactory scheduler` runs the jobs. The data directory holds
    the secrets only, which are the same for all processes: admin-token, session-secret and database-key,
    or the settings of those names.
    """
    source = SettingsSource(config, lambda: read_settings(data_dir, config, host=host, port=port))
    settings = source.read()
    require_shared_state(settings, "api")
    prepare_process(settings, "api")
    asyncio.run(run(settings, source))


async def run(settings: Settings, source: SettingsSource) -> None:
    """Run the process until SIGTERM or SIGINT."""
    await serve(settings, run_api(settings), stop_on_signals(), source)
