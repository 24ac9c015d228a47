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


class AnyFile:
    """A simulator takes any name for a weight file."""

    def __contains__(self, name: object) -> bool:
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Kit:
    """What an instance has to run models with."""

    #: Its `/object_info`; None where it was never asked.
    facts: NodeFacts | None
    #: Variants of weights that its GPU prefers, best first; empty where that is not known.
    dtypes: Sequence[str] = ()
    #: Names of the files that it has; None where that is not known.
    files: Container[str] | None = None
    simulated: bool = False
    #: Name of its GPU profile, by which manifests estimate times; None where that is not known.
    profile: str | None = None
    #: What every picture must pass before it is saved; None: nothing.
    check: OutputCheck | None = None

    def graph(self, model: Model, params: Mapping[str, Any], filename_prefix: str) -> Graph:
        """What the instance is to run. Raises as `Model.render` does."""
        graph = model.render_graph(
            params, filename_prefix=filename_prefix, preferred_dtypes=self.dtypes, available_files=self.files
        )
        if self.check is None:
            return graph
        outputs = [output.node for output in model.outputs if output.node in graph]
        return self.check.insert_checks(graph, outputs, self.facts or load_core_node_facts())

    def lacks(self, model: Model) -> list[str]:
        """What keeps the instance from running the model's default graph, one line each; nothing where it
        was never asked. About half a millisecond."""
        if self.facts is None:
            return []
        graph = self.graph(model, model.example_params(), "check")
        given: Container[str] = AnyFile() if self.simulated else {EXAMPLE_IMAGE, EXAMPLE_DATASET_FOLDER}
        return [
            str(problem) for problem in validate_graph(graph, self.facts, given) if not problem.is_warning
        ]


class Kits:
    """The kit of each instance, made anew whenever the instance was asked what it has."""

    def __init__(
        self, fleet: Fleet, dtypes: Mapping[str, Sequence[str]], check: OutputCheck | None = None
    ) -> None:
        """`dtypes` are the variants that each GPU profile prefers, by its name."""
        self._fleet = fleet
        self._check = check
        self._dtypes = dtypes
        self._known: dict[str, Kit] = {}

    def of(self, instance_id: str) -> Kit:
        """The same object for as long as nothing has changed."""
        info = next((one for one in self._fleet.instances() if one.id == instance_id), None)
        known = self._known.get(instance_id)
        facts = self._fleet.node_facts(instance_id) if info else None
        if known is None or known.facts is not facts:
            known = self._known[instance_id] = self._made(info, facts)
        return known

    def _made(self, info: InstanceInfo | None, facts: NodeFacts | None) -> Kit:
        if info is None or facts is None:
            return Kit(None, check=self._check)
        files: Container[str] = AnyFile() if info.simulated else frozenset(_offered(facts))
        dtypes = self._dtypes.get(info.profile or "", ())
        return Kit(facts, dtypes, files, info.simulated, info.profile, self._check)


class Offers:
    """The models that each instance can serve; each pair is looked at once, until one of them changes."""

    def __init__(self, kits: Kits, live: LiveCatalog) -> None:
        self._kits = kits
        self._live = live
        self._known: dict[str, tuple[Kit, dict[Model, bool]]] = {}

    def of(self, instance_id: str, in_use: Iterable[Model]) -> frozenset[str] | None:
        """Ids of models, and digests of their versions; None for all, where nothing is known of the instance.

        Versions that were changed or withdrawn are served to those who asked before: they are `in_use`.
        """
        kit, catalog = self._kits.of(instance_id), self._live.catalog
        if kit.facts is None:
            return None
        current = {model.digest: model for model in catalog}
        versions = {model.digest: model for model in in_use} | current
        known, verdicts = self._known.get(instance_id, (kit, {}))
        before = verdicts if known is kit else {}
        after = {
            model: before[model] if model in before else not kit.lacks(model) for model in versions.values()
        }
        self._known[instance_id] = (kit, after)
        served = {digest for digest, model in versions.items() if after[model]}
        ids = {model.id for digest, model in current.items() if digest in served}
        if after.keys() != before.keys():
            log.info("%s can serve %d of %d model(s)", instance_id, len(ids), len(catalog))
        return frozenset(ids | served)


def _offered(facts: NodeFacts) -> Iterator[str]:
    """Every name that a node of the instance offers: among them are the files that it has."""
    for entry in facts.values():
        # Somebody's node pack may describe itself in a way of its own; then it offers nothing to us.
        with suppress(LookupError, TypeError, AttributeError):
            for item in declared_inputs(entry):
                yield from (choice for choice in item.choices or () if isinstance(choice, str))
