"""Wires the fleet of a Ray cluster: its options, the weights of its nodes, and the demand that it follows.

Nothing here imports Ray.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from comfy_instances.fleet.protocol import Fleet
from comfy_instances.fleet.ray.connection import RayConnection, is_ray_installed
from comfy_instances.fleet.ray.demand import CapacityLimits
from comfy_instances.fleet.ray.fleet import RayFleet
from comfy_instances.fleet.ray.options import RayFleetOptions
from comfy_instances.fleet.ray.values import AgentOptions
from comfy_instances.hardware.profiles import load_gpu_profiles
from comfy_instances.protocol.errors import InstanceGone
from comfy_instances.tasks import keep_running, loop_time, spawn
from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import InvalidRequest
from orchestrator.execution.instances.gpu_demand import count_busy_by_card, find_waiting_work
from orchestrator.execution.scheduler import Scheduler
from orchestrator.settings import Settings, SettingsError
from orchestrator.storage.object_store import ObjectStore
from orchestrator.weights.errors import WeightError
from orchestrator.weights.node_weights import list_wanted_weights

log = logging.getLogger(__name__)
#: Between two looks at the demand, in seconds.
DEMAND_SECONDS = 5.0
#: Between two looks at the files that models need, in seconds.
LIST_SECONDS = 30.0
#: Lifetime of the URLs by which nodes pull from the bucket; most of a slow download may come after its start.
MIRROR_URL_SECONDS = 7 * 86400
WEIGHT_PULLER = "orchestrator.weights.node_weights:pull_node_weights"
ALL_MODELS = "*"


class WantedNodeWeights:
    """The weight files that the nodes should have, by GPU profile. `open` says from where."""

    def __init__(self, settings: Settings, live_catalog: LiveCatalog) -> None:
        self._settings = settings
        self._live_catalog = live_catalog
        self._dtypes = {profile.name: profile.weights for profile in load_gpu_profiles()}
        self._object_store: ObjectStore | None = None
        self._opened = asyncio.Event()
        #: By profile: when it was made, and the list.
        self._lists: dict[str | None, tuple[float, Sequence[Mapping[str, Any]]]] = {}

    def open(self, object_store: ObjectStore) -> None:
        """Use a bucket; agents wait for their lists until then."""
        self._object_store = object_store
        self._opened.set()

    async def list_files(self, profile: str | None) -> Sequence[Mapping[str, Any]]:
        """Return the files for a node whose GPU has this profile.

        While there is no new list, as while a model of the setting is broken, that is the last one.
        Raises InstanceGone if there is none.
        """
        await self._opened.wait()
        listed_at, files = self._lists.get(profile, (float("-inf"), None))
        if files is None or loop_time() - listed_at >= LIST_SECONDS:
            try:
                files = await asyncio.to_thread(self._list_files, profile)
            except (WeightError, InvalidRequest, OSError) as error:
                if files is None:
                    raise InstanceGone(f"its list of weights cannot be made: {error}") from error
                log.warning("the list of weights for nodes is not renewed: %s", error)
            self._lists[profile] = (loop_time(), files)
        return files

    def _list_files(self, profile: str | None) -> Sequence[Mapping[str, Any]]:
        return list_wanted_weights(
            select_ray_models(self._settings, self._live_catalog.catalog),
            self._dtypes.get(profile or "", ()),
            self._settings.models_dir,
            self._presign if self._settings.ray_weights_mirror else None,
        )

    def _presign(self, key: str) -> str:
        assert self._object_store is not None
        return self._object_store.presign(key, MIRROR_URL_SECONDS)


def select_ray_models(settings: Settings, catalog: Catalog) -> list[Model]:
    """Return the models of PIXELFACTORY_RAY_MODELS. Raises InvalidRequest for one that does not exist."""
    if ALL_MODELS in settings.ray_models:
        return list(catalog)
    return list(dict.fromkeys(catalog[name] for name in settings.ray_models))


@dataclass(frozen=True, slots=True)
class NewNodes:
    """The nodes that Ray's autoscaler can add: the memory of each card in GB, in order of preference."""

    gigabytes: Mapping[str, float]
    live_catalog: LiveCatalog

    def cards_by_model(self) -> dict[str, str]:
        """Return the first card that each model fits, by its id and by its version; others are left out."""
        found: dict[str, str] = {}
        for model in self.live_catalog.all_versions:
            needed = model.manifest.resources.vram_bytes / 10**9
            card = next((card for card, size in self.gigabytes.items() if needed <= size), None)
            if card is not None:
                found |= {model.id: card, model.digest: card}
        return found


def build_ray_fleet(settings: Settings, live_catalog: LiveCatalog) -> RayFleet:
    """Return the fleet of the configured cluster. Raises SettingsError."""
    if settings.ray_address is None or settings.instances:
        raise SettingsError(
            "PIXELFACTORY_RAY_ADDRESS and PIXELFACTORY_INSTANCES exclude each other; remove one of them"
        )
    if settings.ray_min_instances > settings.ray_max_instances:
        raise SettingsError(
            f"PIXELFACTORY_RAY_MIN_INSTANCES ({settings.ray_min_instances}) must be at most"
            f" PIXELFACTORY_RAY_MAX_INSTANCES ({settings.ray_max_instances})"
        )
    if settings.ray_node_types and not settings.ray_autoscale:
        raise SettingsError(
            "PIXELFACTORY_RAY_NODE_TYPES names nodes that Ray's autoscaler adds, which needs"
            " PIXELFACTORY_RAY_AUTOSCALE=true"
        )
    try:
        select_ray_models(settings, live_catalog.catalog)
    except InvalidRequest as error:
        raise SettingsError(f"PIXELFACTORY_RAY_MODELS: {error.message}") from error
    if not is_ray_installed():
        raise SettingsError("PIXELFACTORY_RAY_ADDRESS needs Ray: pip install 'pixel-factory[ray]'")
    return RayFleet(
        RayConnection(settings.ray_address, settings.ray_namespace),
        build_ray_options(settings),
        WantedNodeWeights(settings, live_catalog) if settings.ray_models else None,
    )


def build_ray_options(settings: Settings) -> RayFleetOptions:
    """Return the options of the fleet and its agents."""
    agent = AgentOptions(
        name="",
        namespace=settings.ray_namespace,
        base_dir=str(settings.ray_node_dir),
        comfyui_dir=str(settings.comfyui_dir),
        models_dir=str(settings.models_dir),
        simulate=settings.simulate > 0,
        time_scale=settings.simulator_time_scale,
        startup_seconds=settings.startup_seconds,
        needs_weights=bool(settings.ray_models),
        weight_puller=WEIGHT_PULLER,
    )
    limits = CapacityLimits(
        min_instances=settings.ray_min_instances,
        max_instances=settings.ray_max_instances,
        target_wait_seconds=settings.ray_target_wait_seconds,
        idle_seconds=settings.ray_idle_seconds,
    )
    return RayFleetOptions(
        agent=agent,
        state_file=settings.data_dir / "ray-agents.json",
        limits=limits,
        autoscale=settings.ray_autoscale,
    )


def serve_ray_fleet(
    fleet: Fleet,
    object_store: ObjectStore,
    scheduler: Scheduler,
    stack: AsyncExitStack,
    new_nodes: NewNodes | None = None,
) -> None:
    """Tell a Ray fleet from where its nodes pull weights, and what work waits, until `stack` ends.

    Models that fit one of the `new_nodes` wait for it. Other fleets are left alone.
    """
    if not isinstance(fleet, RayFleet):
        return
    if isinstance(fleet.wanted_weights, WantedNodeWeights):
        fleet.wanted_weights.open(object_store)
    if not fleet.follows_demand:
        return

    new_cards: dict[str, str] = {}

    def renew_cards() -> None:
        nonlocal new_cards
        new_cards = new_nodes.cards_by_model() if new_nodes else {}
        scheduler.future_models = frozenset(new_cards)

    async def run() -> None:
        while True:
            work = find_waiting_work(scheduler, fleet.card, new_cards)
            fleet.set_demand(work, count_busy_by_card(scheduler, fleet.card))
            await asyncio.sleep(DEMAND_SECONDS)

    renew_cards()
    if new_nodes is not None:
        new_nodes.live_catalog.subscribe(renew_cards)
    task = spawn(keep_running(run, "gpu demand"), "gpu demand")
    stack.callback(task.cancel)
