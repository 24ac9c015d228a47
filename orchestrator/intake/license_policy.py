"""Whether a model may be sold, by its licenses and the operator's word."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.catalog import Model
from orchestrator.catalog.publishing.accepted_licenses import AcceptedLicenses
from orchestrator.errors import Forbidden

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LicensePolicy:
    """Rejects paid requests for models that may not be sold, if the operator wants that."""

    accepted: AcceptedLicenses
    is_strict: bool

    def check(self, model: Model, micros: int, shown_model: str) -> None:
        """Raise Forbidden for a request that would be charged for a model that may not be sold."""
        if not self.is_strict or micros <= 0:
            return
        if missing := self.accepted.missing(model.manifest):
            raise Forbidden(
                f"Model {shown_model} is not for sale here: its license ({', '.join(missing)}) does not allow"
                " that, unless the operator records a license of its owner; choose another model",
                code="license_not_accepted",
                param="model",
            )

    def list_unaccepted(self, models: Iterable[Model]) -> dict[str, list[str]]:
        """Return the licenses that are not accepted, by the models that may not be sold."""
        found = {model.id: self.accepted.missing(model.manifest) for model in models}
        return {id: missing for id, missing in found.items() if missing}

    def log_unaccepted(self, models: Iterable[Model]) -> None:
        """Log which models may not be sold, in one line."""
        if not (found := self.list_unaccepted(models)):
            return
        outcome = "paid requests for them are rejected" if self.is_strict else "they are offered nevertheless"
        log.warning(
            "%d model(s) may not be sold without a license of their owner, and %s: %s;"
            " see `pixelfactory licenses`",
            len(found),
            outcome,
            ", ".join(found),
        )
