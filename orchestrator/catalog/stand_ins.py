"""Stand-ins: catalog models that serve requests for the names of proprietary models.

    "flux-pro" = { model = "flux-1-dev", enabled = true }
    "gpt-image-1" = { generate = "qwen-image", edit = "qwen-image-edit", enabled = true }
    "sora-2" = { video = "ltx2.3-t2v", size = "720x1280", seconds = 4, enabled = true }

Rows are disabled by default: the operator decides whether such requests get another model.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.catalog.errors import CatalogError, first_validation_error
from orchestrator.catalog.library import Catalog
from orchestrator.catalog.parameters.size_text import parse_size
from orchestrator.catalog.parameters.values import IntegerParameter
from orchestrator.catalog.tasks import TaskModels


class StandIn(TaskModels):
    """A row of the table."""

    enabled: bool = False


_TABLE_ADAPTER = TypeAdapter(dict[str, StandIn])


def load_stand_ins(file: Path, catalog: Catalog) -> dict[str, TaskModels]:
    """Return the ids of catalog models by the names that they stand in for, of all enabled rows.

    Raises CatalogError if the file is invalid, or an enabled row names an unknown model, has a size or a
    length that its models do not make, or is for the name of a catalog model.
    """
    rows = {name: row for name, row in _read_table(file).items() if row.enabled}
    own = {name for model in catalog for name in (model.id, *model.aliases)}
    for name, row in rows.items():
        if name in own:
            raise CatalogError("the catalog has a model of this name; remove the row", file=file, where=name)
        for model in row.names():
            if model not in own:
                raise CatalogError(f"the catalog has no model {model!r}", file=file, where=name)
        _check_default_size(row, catalog, file, name)
        _check_default_length(row, catalog, file, name)
    return {
        name: row.with_names({model: catalog[model].id for model in row.names()})
        for name, row in rows.items()
    }


def _check_default_size(row: StandIn, catalog: Catalog, file: Path, name: str) -> None:
    """Raise CatalogError if a video model of the row does not make the size of the row."""
    if row.size is None:
        return
    videos = (model for id in row.names() if (model := catalog[id]).makes_video)
    for model in videos:
        if model.output_sizes is None or not model.output_sizes.allows(parse_size(row.size)):
            raise CatalogError(f"the model {model.id} does not make {row.size}", file=file, where=name)


def _check_default_length(row: StandIn, catalog: Catalog, file: Path, name: str) -> None:
    """Raise CatalogError if a video model of the row does not make the length of the row."""
    if row.seconds is None:
        return
    videos = (model for id in row.names() if (model := catalog[id]).makes_video)
    for model in videos:
        frames, fps = model.parameters.get("num_frames"), model.parameters.get("fps")
        if isinstance(frames, IntegerParameter) and isinstance(fps, IntegerParameter) and fps.default:
            number = row.seconds * fps.default
            if number != int(number) or not frames.allows(int(number)):
                reason = f"the model {model.id} does not make {row.seconds:g} seconds"
                raise CatalogError(reason, file=file, where=name)


def _read_table(file: Path) -> Mapping[str, StandIn]:
    try:
        return _TABLE_ADAPTER.validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise CatalogError(f"cannot be read: {error}", file=file) from error
        raise first_validation_error(error, file) from error
