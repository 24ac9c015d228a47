"""Which models an instance can serve, and with which files: its nodes and weights must cover the graph."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from comfy_instances.fleet.protocol import Fleet, InstanceInfo
from comfy_instances.protocol.node_facts import load_core_node_facts
from orchestrator.catalog import Model
from orchestrator.catalog.checks.graph_checks import validate_graph
from orchestrator.catalog.checks.node_facts import NodeFacts, declared_inputs
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.parameters.example_values import EXAMPLE_DATASET_FOLDER, EXAMPLE_IMAGE
from orchestrator.catalog.rendering.output_check import OutputCheck
from orchestrator.catalog.rendering.render import Graph

log = logging.getLogger(__name__)


class AnyFileName:
    """A simulator takes any name for a weight file."""

    def __contains__(self, name: object) -> bool:
        return True


@dataclass(frozen=True, slots=True, eq=False)
class InstanceCapabilities:
    """What an instance has to run models with."""

    #: Its `/object_info`; None where it was never asked.
    node_facts: NodeFacts | None
    #: Variants of weights that its GPU prefers, best first; empty where that is not known.
    preferred_dtypes: Sequence[str] = ()
    #: Names of the files that it has; None where that is not known.
    files: Container[str] | None = None
    simulated: bool = False
    #: Name of its GPU profile, by which manifests estimate times; None where that is not known.
    profile: str | None = None
    #: What every picture must pass before it is saved; None: nothing.
    output_check: OutputCheck | None = None

    def render_graph(self, model: Model, params: Mapping[str, Any], filename_prefix: str) -> Graph:
        """What the instance is to run. Raises as `Model.render_graph` does."""
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
        """What keeps the instance from running the model's default graph, one line each; nothing where it
        was never asked. About half a millisecond."""
        if self.node_facts is None:
            return []
        graph = self.render_graph(model, model.example_params(), "check")
        given: Container[str] = AnyFileName() if self.simulated else {EXAMPLE_IMAGE, EXAMPLE_DATASET_FOLDER}
        return [
            str(problem)
            for problem in validate_graph(graph, self.node_facts, given)
            if not problem.is_warning
        ]


class CapabilityCache:
    """The kit of each instance, made anew whenever the instance was asked what it has."""

    def __init__(
        self,
        fleet: Fleet,
        preferred_dtypes: Mapping[str, Sequence[str]],
        output_check: OutputCheck | None = None,
    ) -> None:
        """`preferred_dtypes` are the variants that each GPU profile prefers, by its name."""
        self._fleet = fleet
        self._output_check = output_check
        self._preferred_dtypes = preferred_dtypes
        self._cache: dict[str, InstanceCapabilities] = {}

    def get(self, instance_id: str) -> InstanceCapabilities:
        """The same object for as long as nothing has changed."""
        info = next((one for one in self._fleet.instances() if one.id == instance_id), None)
        known = self._cache.get(instance_id)
        facts = self._fleet.node_facts(instance_id) if info else None
        if known is None or known.node_facts is not facts:
            known = self._cache[instance_id] = self._build(info, facts)
        return known

    def _build(self, info: InstanceInfo | None, facts: NodeFacts | None) -> InstanceCapabilities:
        if info is None or facts is None:
            return InstanceCapabilities(None, output_check=self._output_check)
        files: Container[str] = AnyFileName() if info.simulated else frozenset(_input_choices(facts))
        dtypes = self._preferred_dtypes.get(info.profile or "", ())
        return InstanceCapabilities(facts, dtypes, files, info.simulated, info.profile, self._output_check)


class ServableModels:
    """The models that each instance can serve; each pair is looked at once, until one of them changes."""

    def __init__(self, capabilities: CapabilityCache, live_catalog: LiveCatalog) -> None:
        self._capabilities = capabilities
        self._live_catalog = live_catalog
        self._checked: dict[str, tuple[InstanceCapabilities, dict[Model, bool]]] = {}

    def find_servable(self, instance_id: str, in_use: Iterable[Model]) -> frozenset[str] | None:
        """Ids of models, and digests of their versions; None for all, where nothing is known of the instance.

        Versions that were changed or withdrawn are served to those who asked before: they are `in_use`.
        """
        kit, catalog = self._capabilities.get(instance_id), self._live_catalog.catalog
        if kit.node_facts is None:
            return None
        current = {model.digest: model for model in catalog}
        versions = {model.digest: model for model in in_use} | current
        known, verdicts = self._checked.get(instance_id, (kit, {}))
        before = verdicts if known is kit else {}
        after = {
            model: before[model] if model in before else not kit.missing_requirements(model)
            for model in versions.values()
        }
        self._checked[instance_id] = (kit, after)
        served = {digest for digest, model in versions.items() if after[model]}
        ids = {model.id for digest, model in current.items() if digest in served}
        if after.keys() != before.keys():
            log.info("%s can serve %d of %d model(s)", instance_id, len(ids), len(catalog))
        return frozenset(ids | served)


def _input_choices(facts: NodeFacts) -> Iterator[str]:
    """Every name that a node of the instance offers: among them are the files that it has."""
    for entry in facts.values():
        # Somebody's node pack may describe itself in a way of its own; then it offers nothing to us.
        with suppress(LookupError, TypeError, AttributeError):
            for item in declared_inputs(entry):
                yield from (choice for choice in item.choices or () if isinstance(choice, str))
