"""`pixelfactory scheduler`: run the jobs that API processes accept, or stand by to do so."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import suppress
from typing import Annotated

import typer

from orchestrator.app.build import SchedulerRole, build_fleet, run_service
from orchestrator.app.parts import load_offer
from orchestrator.app.resources import Term, require_postgres_driver
from orchestrator.app.roles import require_shared_state
from orchestrator.app.shared_models import fetch_published_models
from orchestrator.app.standby import StandbyGround
from orchestrator.cli.service_access.serving import (
    HostOption,
    InstancesOption,
    PortOption,
    RayOption,
    SimulateOption,
    end_at_once,
    prepare_process,
    serve,
    stop_on_signals,
)
from orchestrator.cli.terminal.console import ConfigOption, DataDirOption, read_settings
from orchestrator.errors import ServiceUnavailable
from orchestrator.files.data_directory import locked_data_directory
from orchestrator.settings import Settings, SettingsError
from orchestrator.web.standby import standby_site

log = logging.getLogger(__name__)


def scheduler(
    host: HostOption = None,
    port: PortOption = None,
    data_dir: DataDirOption = None,
    simulate: SimulateOption = None,
    instances: InstancesOption = None,
    ray: RayOption = None,
    send_webhooks: Annotated[
        bool, typer.Option("--webhooks/--no-webhooks", help="Deliver webhooks too.")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Run the jobs that API processes accept. One scheduler leads; the others stand by and succeed it.

    The state is in PostgreSQL and S3. A new leader continues running prompts of instances that outlive the
    old one: adopted ones, and those of a Ray cluster. Standbys answer GET /readyz with 200 too.
    """
    settings = read_settings(
        data_dir, config, host=host, port=port, simulate=simulate, instances=instances, ray_address=ray
    )
    require_shared_state(settings, "scheduler")
    own_url = find_own_url(settings)
    # A standby that could not lead would be of no use: what is wrong with the settings is found before.
    with suppress(ServiceUnavailable):
        fetch_published_models(settings)
    build_fleet(settings, load_offer(settings).live_catalog)
    prepare_process(settings, "scheduler")
    with locked_data_directory(settings.data_dir):
        asyncio.run(run(settings, own_url, SchedulerRole(sends_webhooks=send_webhooks)))


def find_own_url(settings: Settings) -> str:
    """Return the address at which API processes reach this process. Raises SettingsError."""
    if settings.scheduler_url is not None:
        return settings.scheduler_url.rstrip("/")
    if settings.port == 0:
        raise SettingsError("`pixelfactory scheduler` needs a fixed port: set PIXELFACTORY_PORT")
    host = socket.getfqdn() if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


async def run(settings: Settings, own_url: str, role: SchedulerRole) -> None:
    """Stand by, then lead, until SIGTERM or SIGINT."""
    require_postgres_driver()
    from orchestrator.store.postgres.leadership import Candidate, kept, wait_to_lead

    assert settings.postgres_url is not None
    stopping = threading.Event()
    stop = stop_on_signals(stopping.set)
    candidate = Candidate(settings.postgres_url, own_url)
    standby = StandbyGround(settings)
    try:
        async with standby_site(settings.host, settings.port):
            log.info("standing by")
            leads = await asyncio.to_thread(wait_to_lead, candidate, stopping)
        if not leads or candidate.term is None:
            candidate.release()
            return
        log.info("leading, for the term %d", candidate.term)
        with kept(candidate, end_at_once):
            term, ground = Term(candidate.term, end_at_once), await standby.take()
            await serve(settings, run_service(settings, term, role, ground), stop)
    finally:
        await standby.close()
