"""`pixelfactory up`: run the whole service in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.app.build import run_service
from orchestrator.app.resources import Term, require_postgres_driver
from orchestrator.cli.service_access.serving import (
    HostOption,
    InstancesOption,
    PortOption,
    RayOption,
    SettingsSource,
    SimulateOption,
    end_at_once,
    prepare_process,
    serve,
    stop_on_signals,
)
from orchestrator.cli.terminal.console import ConfigOption, DataDirOption, read_settings
from orchestrator.files.data_directory import locked_data_directory, locked_database
from orchestrator.settings import Settings


def up(
    host: HostOption = None,
    port: PortOption = None,
    data_dir: DataDirOption = None,
    simulate: SimulateOption = None,
    instances: InstancesOption = None,
    ray: RayOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the whole service: orchestrator, instances and, unless one is configured, an S3 server.

    The service is ready when GET /readyz returns 200. On SIGTERM it finishes running work and exits with 0;
    SIGHUP reads settings of the log, models, plans and word lists again.
    """
    source = SettingsSource(
        config,
        lambda: read_settings(
            data_dir, config, host=host, port=port, simulate=simulate, instances=instances, ray_address=ray
        ),
    )
    settings = source.read()
    prepare_process(settings, "up")
    with locked_data_directory(settings.data_dir), locked_store(settings) as term:
        asyncio.run(run(settings, term, source))


async def run(settings: Settings, term: Term | None, source: SettingsSource) -> None:
    """Run the service until SIGTERM or SIGINT; `term` is that of the leader on PostgreSQL."""
    await serve(settings, run_service(settings, term), stop_on_signals(), source)


@contextmanager
def locked_store(settings: Settings) -> Iterator[Term | None]:
    """Hold the lock of the database that the settings name; yield the term of the leader on PostgreSQL.

    Raises DataDirectoryInUse, ServiceUnavailable, SettingsError, OSError.
    """
    if (url := settings.postgres_url) is None:
        with locked_database(settings.database_path):
            yield None
        return
    require_postgres_driver()
    from orchestrator.store.postgres.leadership import leading_alone

    with leading_alone(url, on_lost=end_at_once) as number:
        yield Term(number, end_at_once)
