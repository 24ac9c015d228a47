"""Wires what operators see and do: the fleet, the queue, jobs, the health of models, and the log of"
" changes."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from orchestrator.app.graph_routes import RouteGroup
from orchestrator.billing.price_files import load_costs
from orchestrator.execution.dispatcher import Dispatcher
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.job_repeats import repeat_job
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.web.admin.account_names import AccountNames
from orchestrator.web.admin.fleet import FleetAdminRoutes
from orchestrator.web.admin.instances import InstanceAdminRoutes
from orchestrator.web.admin.jobs import JobAdminRoutes
from orchestrator.web.admin.model_health import ModelHealthRoutes
from orchestrator.web.admin.queue import QueueAdminRoutes
from orchestrator.web.admin.warming import Warmer
from orchestrator.web.metrics import Metrics


class RunningParts(Protocol):
    """The parts of a process that runs the jobs."""

    @property
    def dispatcher(self) -> Dispatcher: ...

    @property
    def warmer(self) -> Warmer: ...

    @property
    def capabilities(self) -> CapabilityCache: ...


def build_operations_routes(
    service: GenerationService, execution: RunningParts, metrics: Metrics, token: str
) -> tuple[RouteGroup, ...]:
    """Return the routes that only the process which runs the jobs can answer."""
    dispatcher, names = execution.dispatcher, AccountNames(service.store)
    fleet, scheduler = dispatcher.fleet, dispatcher.scheduler
    latest_events = service.events.latest_events
    return (
        InstanceAdminRoutes(fleet, latest_events, metrics.instance_rows, service.clock, token),
        FleetAdminRoutes(
            fleet=fleet,
            scheduler=scheduler,
            instance_rows=metrics.instance_rows,
            history=metrics.history,
            latest_events=latest_events,
            names=names,
            clock=service.clock,
            token=token,
        ),
        QueueAdminRoutes(scheduler, names, token),
        ModelHealthRoutes(
            live_catalog=service.live_catalog,
            scheduler=scheduler,
            capabilities=execution.capabilities,
            fleet=fleet,
            store=service.store,
            model_of_job=service.get_model,
            token=token,
        ),
    )


def build_job_routes(settings: Settings, service: GenerationService, token: str) -> JobAdminRoutes:
    """Return the routes of jobs, failures and the log of changes, which any process answers."""
    return JobAdminRoutes(
        store=service.store,
        actions=service,
        repeat=partial(repeat_job, service),
        names=AccountNames(service.store),
        costs=load_costs(settings),
        token=token,
    )
