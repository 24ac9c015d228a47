"""Whether a model may be sold, by its licenses and the operator's word."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.catalog import Model
from orchestrator.catalog.publishing.accepted_licenses import AcceptedLicenses
from orchestrator.errors import Forbidden
from orchestrator.own_graphs import OWN_GRAPH_ID

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LicensePolicy:
    """Rejects paid requests for models that may not be sold, if the operator wants that."""

    accepted: AcceptedLicenses
    is_strict: bool
    #: Returns the models that are offered; a caller's own graph is judged by the weight files of these.
    list_models: Callable[[], Iterable[Model]]

    def check(self, model: Model, micros: int, shown_model: str) -> None:
        """Raise Forbidden for a request that would be charged for a model that may not be sold."""
        if not self.is_strict or micros <= 0:
            return
        missing = self._missing_of_graph(model) if model.id == OWN_GRAPH_ID else self._missing(model)
        if missing:
            raise Forbidden(
                f"Model {shown_model} is not for sale here: its license ({', '.join(missing)}) does not allow"
                " that, unless the operator records a license of its owner; choose another model",
                code="license_not_accepted",
                param="model",
            )

    def list_unaccepted(self) -> dict[str, list[str]]:
        """Return the licenses that are not accepted, by the models that may not be sold."""
        found = {model.id: self._missing(model) for model in self.list_models()}
        return {id: missing for id, missing in found.items() if missing}

    def log_unaccepted(self) -> None:
        """Log which models may not be sold, in one line."""
        if not (found := self.list_unaccepted()):
            return
        outcome = "paid requests for them are rejected" if self.is_strict else "they are offered nevertheless"
        log.warning(
            "%d model(s) may not be sold without a license of their owner, and %s: %s;"
            " see `pixelfactory licenses`",
            len(found),
            outcome,
            ", ".join(found),
        )

    def _missing(self, model: Model) -> list[str]:
        return self.accepted.missing(model.manifest)

    def _missing_of_graph(self, graph: Model) -> list[str]:
        """Return the licenses, not accepted, of the weight files that a caller's own graph names."""
        texts = set(_texts(graph.source.template))
        missing = [
            weight.license
            for model in self.list_models()
            for weight in model.manifest.weights
            if weight.file in texts and weight.license in self._missing(model)
        ]
        return list(dict.fromkeys(missing))


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts within a graph."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
