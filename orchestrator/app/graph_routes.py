"""Wire callers' own graphs: policy, files and the routes of Comfy's clients."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from aiohttp import web

from comfy_instances.protocol.node_facts import RECORDED_VERSION, load_core_node_facts, load_pack_node_facts
from orchestrator.fair_slots import FairSlots
from orchestrator.intake.graph_files import GraphFiles
from orchestrator.intake.graph_results import GraphResults
from orchestrator.intake.own_graphs import InstanceGraphs, OwnGraphPreparer
from orchestrator.own_graphs.limits import GraphLimits
from orchestrator.own_graphs.policy import GraphPolicy
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.web.dialects.comfy.graph_jobs import GraphJobs
from orchestrator.web.dialects.comfy.native_facts import NativeFactRoutes, NodeFactSource
from orchestrator.web.dialects.comfy.native_files import NativeFileRoutes
from orchestrator.web.dialects.comfy.native_routes import NativeJobRoutes
from orchestrator.web.dialects.comfy.native_websocket import ClientWebSockets
from orchestrator.web.dialects.comfy.router_routes import RouterRoutes
from orchestrator.web.dialects.comfy.v2_assets import V2AssetRoutes
from orchestrator.web.dialects.comfy.v2_routes import V2JobRoutes
from orchestrator.web.dialects.comfy.v2_views import V2Views
from orchestrator.web.instance_status import FleetInstances
from orchestrator.web.jobs.job_updates import JobUpdates
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.jobs.result_sender import ResultSender

#: Classes whose files the check of outputs cannot look at.
UNCHECKED_OUTPUTS = {"SaveLatent": "this service checks all pictures, and cannot look at latents"}


class InstanceFacts(InstanceGraphs, NodeFactSource, Protocol):
    """What instances say of callers' graphs."""


class RouteGroup(Protocol):
    """A part of the API."""

    def routes(self) -> list[web.RouteDef]: ...


class ResultDelivery(Protocol):
    """How results reach callers."""

    @property
    def sender(self) -> ResultSender: ...

    @property
    def jobs(self) -> OutputDelivery: ...


def build_policy(settings: Settings) -> GraphPolicy:
    """Return which graphs of callers the service runs."""
    allowed = frozenset(settings.graph_allowed_classes)
    packs = {name: entry for name, entry in load_pack_node_facts().items() if name in allowed}
    return GraphPolicy(
        facts={**load_core_node_facts(), **packs},
        allowed=allowed,
        also_denied={} if settings.output_check is None else UNCHECKED_OUTPUTS,
        limits=GraphLimits(
            max_nodes=settings.graph_max_nodes,
            max_side=settings.graph_max_side,
            max_steps=settings.graph_max_steps,
            max_batch=settings.graph_max_batch,
            max_frames=settings.graph_max_frames,
            max_megapixels=settings.graph_max_megapixels,
        ),
    )


def build_graph_files(settings: Settings, service: GenerationService) -> GraphFiles:
    """Return the files that callers upload for their graphs."""
    return GraphFiles(
        objects=service.object_store,
        clock=service.clock,
        lifetime=timedelta(days=settings.output_lifetime_days),
        max_bytes=settings.graph_file_bytes,
        max_count=settings.graph_file_count,
        slots=service.upload_slots,
    )


def build_graph_jobs(settings: Settings, service: GenerationService, instances: InstanceFacts) -> GraphJobs:
    """Return what submits and finds jobs of callers' graphs."""
    return GraphJobs(
        service=service,
        preparer=OwnGraphPreparer(
            policy=build_policy(settings),
            files=build_graph_files(settings, service),
            results=GraphResults(service.store, service.expiry),
            objects=service.object_store,
            instances=instances,
            get_price_book=lambda: service.price_book,
            max_seconds=settings.graph_max_seconds,
            max_pixels=settings.max_image_pixels,
            slots=FairSlots("graphs", 8, per_account=2, max_waiting=64),
        ),
        store=service.store,
        expiry=service.expiry,
    )


def build_graph_routes(
    settings: Settings,
    service: GenerationService,
    updates: JobUpdates,
    delivery: ResultDelivery,
    *,
    instances: InstanceFacts,
    fleet: FleetInstances,
) -> tuple[RouteGroup, ...]:
    """Return the routes of Comfy's clients."""
    jobs = build_graph_jobs(settings, service, instances)
    views = V2Views(
        jobs=jobs,
        updates=updates,
        events=service.events,
        delivery=delivery.jobs,
        public_url=settings.public_url,
    )
    sockets = ClientWebSockets(jobs, updates)
    return (
        V2JobRoutes(views),
        V2AssetRoutes(views, jobs.preparer.files, delivery.sender),
        NativeJobRoutes(jobs, sockets),
        sockets,
        NativeFileRoutes(
            jobs,
            delivery.sender,
            fleet,
            marker=delivery.jobs.marker,
            version=RECORDED_VERSION,
        ),
        NativeFactRoutes(jobs.preparer.policy, instances),
        RouterRoutes(service, updates, delivery.jobs),
    )
