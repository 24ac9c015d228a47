"""The operator's table of stand-ins: which of our models answers to the name of one that can not be had.

    "flux-pro" = { model = "flux-1-dev", enabled = true }

Rows are off unless they say otherwise: whoever asks for a proprietary model gets another one only where the
operator wants that.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.catalog.errors import CatalogError
from orchestrator.catalog.library import Catalog
from orchestrator.catalog.parameters.values import StrictModel


class StandIn(StrictModel):
    """A row of the table."""

    #: Id or alias of one of our models.
    model: str
    enabled: bool = False


_TABLE_ADAPTER = TypeAdapter(dict[str, StandIn])


def load_stand_ins(file: Path, catalog: Catalog) -> dict[str, str]:
    """Ids of our models by the names that they stand in for, of all rows that are on.

    Raises CatalogError for a file that can not be read, a row for a model that there is not, and one for a
    name that is a model's own.
    """
    rows = {name: row.model for name, row in _read_table(file).items() if row.enabled}
    own = {name for model in catalog for name in (model.id, *model.aliases)}
    for name, model in rows.items():
        if name in own:
            raise CatalogError("is a model of ours already", file=file, where=name)
        if model not in own:
            raise CatalogError(f"there is no model {model!r}", file=file, where=name)
    return {name: catalog[model].id for name, model in rows.items()}


def _read_table(file: Path) -> Mapping[str, StandIn]:
    try:
        return _TABLE_ADAPTER.validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise CatalogError(f"can not be read: {error}", file=file) from error
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CatalogError(first["msg"], file=file, where=where) from error
