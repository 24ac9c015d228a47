"""Wire what authors need to publish models."""

from __future__ import annotations

from functools import partial

from comfy_instances.protocol.node_facts import (
    RECORDED_VERSION,
    load_core_node_facts,
    load_pack_node_facts,
)
from orchestrator.app.operator_secrets import OperatorSecrets
from orchestrator.app.pack_choice import load_installed_nodes
from orchestrator.app.resources import utc_now
from orchestrator.app.shared_models import open_publisher
from orchestrator.billing.price_files import check_model_priced, load_tariffs
from orchestrator.catalog import Model
from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.model_publishing import ModelPublishing
from orchestrator.service import GenerationService
from orchestrator.settings import Settings
from orchestrator.web.admin.model_publishing import ModelPublishingRoutes
from orchestrator.web.admin.trial_runs import TrialRuns
from orchestrator.web.jobs.schemas import JobResponseBuilder


def build_publishing_routes(
    settings: Settings,
    service: GenerationService,
    secrets: OperatorSecrets,
    responses: JobResponseBuilder,
) -> ModelPublishingRoutes:
    """Return the routes by which authors publish models."""
    publisher = open_publisher(settings)
    publishing = ModelPublishing(
        live_catalog=service.live_catalog,
        publisher=publisher,
        check_price=partial(_check_price, settings),
        load_facts=_load_facts,
        comfyui_version=RECORDED_VERSION,
        clock=service.clock,
        load_installed=partial(load_installed_nodes, settings.comfyui_dir),
    )
    trial_runs = TrialRuns(
        service=service,
        keys=service.store,
        accounts=service.accounts,
        models=service.live_catalog,
        publisher=publisher,
        responses=responses,
    )
    return ModelPublishingRoutes(
        publishing, trial_runs, service.request_preparer.get_price_book, secrets.admin_token
    )


def _check_price(settings: Settings, model: Model) -> None:
    check_model_priced(model, load_tariffs(settings), utc_now().date())


def _load_facts() -> NodeFacts:
    """Return the facts of the pinned ComfyUI's nodes and of the supported node packs."""
    return {**load_pack_node_facts(), **load_core_node_facts()}
