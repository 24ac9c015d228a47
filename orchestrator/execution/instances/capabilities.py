"""Determines which models an instance can serve, from its node classes and model files."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from comfy_instances.fleet.protocol import Fleet, InstanceInfo, InstanceState
from comfy_instances.protocol.lora_files import is_uploaded_lora
from comfy_instances.protocol.node_facts import load_core_node_facts
from orchestrator.catalog import Model
from orchestrator.catalog.checks.graph_checks import GraphProblem, validate_graph
from orchestrator.catalog.checks.link_types import add_link_types
from orchestrator.catalog.checks.node_facts import NodeFacts, declared_inputs
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.parameters.example_values import EXAMPLE_DATASET_FOLDER, EXAMPLE_IMAGE
from orchestrator.catalog.parameters.loras import LORA_SUFFIX, is_lora_name
from orchestrator.catalog.rendering.graph import ApiGraph
from orchestrator.catalog.rendering.output_check import OutputCheck
from orchestrator.execution.scheduler import InstanceDown, InstanceUp

log = logging.getLogger(__name__)


class AnyFileName:
    """Contains every file name; simulators accept any name of a weight file."""

    def __contains__(self, name: object) -> bool:
        return True


@dataclass(frozen=True, slots=True, eq=False)
class InstanceCapabilities:
    """Node classes, files and preferences of an instance."""

    #: Its `/object_info`; None if it was not read yet.
    node_facts: NodeFacts | None
    #: Weight variants that its GPU prefers, best first; empty if unknown.
    preferred_dtypes: Sequence[str] = ()
    #: Names of its files; None if unknown.
    files: Container[str] | None = None
    simulated: bool = False
    #: Name of its GPU profile, for the time estimates of manifests; None if unknown.
    profile: str | None = None
    #: Check of every image before it is saved; None for no check.
    output_check: OutputCheck | None = None
    #: Names of the LoRAs that its operator has put there; None if unknown.
    loras: frozenset[str] | None = None

    def render_graph(self, model: Model, params: Mapping[str, Any], filename_prefix: str) -> ApiGraph:
        """Return the graph for this instance. Raises what `Model.render_graph` raises."""
        graph = model.render_graph(
            params,
            filename_prefix=filename_prefix,
            preferred_dtypes=self.preferred_dtypes,
            available_files=self.files,
        )
        if self.output_check is None:
            return graph
        outputs = [output.node for output in model.outputs if output.node in graph]
        return self.output_check.insert_checks(graph, outputs, self.node_facts or load_core_node_facts())

    def missing_requirements(self, model: Model) -> list[str]:
        """Return what the instance lacks to run the model's default graph, one line each.

        The result is empty while the node facts are unknown. Takes about half a millisecond.
        """
        return [str(problem) for problem in self.find_problems(model)]

    def find_problems(self, model: Model) -> list[GraphProblem]:
        """Return the same as problems of nodes."""
        if self.node_facts is None:
            return []
        graph = self.render_graph(model, model.example_params(), "check")
        facts = add_link_types(self.node_facts, model.source.node_facts)
        extra_files: Container[str] = (
            AnyFileName() if self.simulated else {EXAMPLE_IMAGE, EXAMPLE_DATASET_FOLDER}
        )
        return [problem for problem in validate_graph(graph, facts, extra_files) if not problem.is_warning]

    def serves_same_models(self, other: InstanceCapabilities) -> bool:
        """Return whether both serve the same models: they know the same nodes and files."""
        return (
            self.simulated == other.simulated
            and self.preferred_dtypes == other.preferred_dtypes
            and self.output_check is other.output_check
            and self.node_facts == other.node_facts
        )


class CapabilityCache:
    """Caches the capabilities of each instance until its node facts are read again."""

    def __init__(
        self,
        fleet: Fleet,
        preferred_dtypes: Mapping[str, Sequence[str]],
        output_check: OutputCheck | None = None,
    ) -> None:
        """`preferred_dtypes` holds the preferred weight variants by name of the GPU profile."""
        self._fleet = fleet
        self._output_check = output_check
        self._preferred_dtypes = preferred_dtypes
        self._cache: dict[str, InstanceCapabilities] = {}

    def get(self, instance_id: str) -> InstanceCapabilities:
        """Return the capabilities of an instance; the same object until they change."""
        info = next((one for one in self._fleet.instances() if one.id == instance_id), None)
        cached = self._cache.get(instance_id)
        facts = self._fleet.node_facts(instance_id) if info else None
        if cached is None or cached.node_facts is not facts:
            cached = self._cache[instance_id] = self._build(info, facts)
        return cached

    def _build(self, info: InstanceInfo | None, facts: NodeFacts | None) -> InstanceCapabilities:
        if info is None or facts is None:
            return InstanceCapabilities(None, output_check=self._output_check)
        files: Container[str] = AnyFileName() if info.simulated else frozenset(_input_choices(facts))
        dtypes = self._preferred_dtypes.get(info.profile or "", ())
        return InstanceCapabilities(
            node_facts=facts,
            preferred_dtypes=dtypes,
            files=files,
            simulated=info.simulated,
            profile=info.profile,
            output_check=self._output_check,
            loras=frozenset(_lora_names(facts)),
        )


class ServableModels:
    """Determines which models each instance can serve; caches the result per instance and model.

    Instances with equal capabilities, such as those of equal GPUs of one machine, share their results.
    """

    def __init__(self, capabilities: CapabilityCache, live_catalog: LiveCatalog) -> None:
        self._capabilities = capabilities
        self._live_catalog = live_catalog
        self._checked: dict[str, tuple[InstanceCapabilities, dict[Model, bool]]] = {}

    def find_servable(self, instance_id: str, in_use: Iterable[Model]) -> frozenset[str] | None:
        """Return the ids of servable models and the digests of servable versions.

        Returns None, for all models, while the capabilities of the instance are unknown. `in_use` holds the
        models of unfinished jobs, which include versions that were changed or withdrawn since.
        """
        capabilities, catalog = self._capabilities.get(instance_id), self._live_catalog.catalog
        if capabilities.node_facts is None:
            return None
        current = {model.digest: model for model in catalog}
        drafts = {draft.model.digest: draft.model for draft in self._live_catalog.drafts}
        versions = {model.digest: model for model in in_use} | drafts | current
        checked, results = self._checked.get(instance_id, (capabilities, {}))
        before = results if checked is capabilities else {}
        known = before or self._find_results(capabilities)
        after = {
            model: known[model] if model in known else not capabilities.missing_requirements(model)
            for model in versions.values()
        }
        self._checked[instance_id] = (capabilities, after)
        servable = {digest for digest, model in versions.items() if after[model]}
        ids = {model.id for digest, model in current.items() if digest in servable}
        if _catalog_models(after) != _catalog_models(before):
            log.info("%s can serve %d of %d model(s)", instance_id, len(ids), len(catalog))
        return frozenset(ids | servable)

    def to_event(self, info: InstanceInfo, in_use: Iterable[Model]) -> InstanceUp | InstanceDown:
        """Return what the scheduler has to know of a changed instance; `in_use` as in `find_servable`."""
        match info.state:
            case InstanceState.READY:
                models, loras = self.find_servable(info.id, in_use), self._capabilities.get(info.id).loras
                return InstanceUp(instance_id=info.id, vram=info.vram_total, models=models, loras=loras)
            case InstanceState.DRAINING:
                return InstanceDown(instance_id=info.id, memory_lost=False)
            case InstanceState.FAILED:
                return InstanceDown(instance_id=info.id)
            case _:
                return InstanceDown(instance_id=info.id, returns=True)

    def _find_results(self, capabilities: InstanceCapabilities) -> dict[Model, bool]:
        """Return the results of an instance that serves the same models; none without such an instance."""
        return next(
            (results for other, results in self._checked.values() if other.serves_same_models(capabilities)),
            {},
        )


def _catalog_models(models: Iterable[Model]) -> set[Model]:
    """Return the models that are not graphs of callers."""
    return {model for model in models if not model.is_own_graph}


def _lora_names(facts: NodeFacts) -> Iterator[str]:
    """Return the LoRAs that requests may name: those without folder that no service has uploaded."""
    with suppress(LookupError, TypeError, AttributeError):
        inputs = {item.name: item for item in declared_inputs(facts["LoraLoader"])}
        files = [str(choice) for choice in inputs["lora_name"].choices or ()]
        names = [file.removesuffix(LORA_SUFFIX) for file in files if file.endswith(LORA_SUFFIX)]
        yield from (name for name in names if is_lora_name(name) and not is_uploaded_lora(name))


def _input_choices(facts: NodeFacts) -> Iterator[str]:
    """Return every option of every node input; the options include the names of all model files."""
    for entry in facts.values():
        # A node pack with an unusual description contributes no names.
        with suppress(LookupError, TypeError, AttributeError):
            for item in declared_inputs(entry):
                yield from (choice for choice in item.choices or () if isinstance(choice, str))
