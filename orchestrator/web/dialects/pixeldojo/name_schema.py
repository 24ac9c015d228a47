"""The JSON Schema of a run under a name, which may stand for another model in each task."""

from __future__ import annotations

from typing import Any

from orchestrator.catalog import Catalog, Model
from orchestrator.catalog.parameters.json_schema import require_any
from orchestrator.catalog.tasks import find_tasks
from orchestrator.errors import InvalidRequest
from orchestrator.intake.name_defaults import default_params
from orchestrator.web.dialects.pixeldojo.run_schema import IMAGE_FIELDS, Schema, run_schema
from orchestrator.web.dialects.pixeldojo.translation import has_raw_mode
from orchestrator.web.dialects.raw_mode import RAW_DESCRIPTION


def schema_of_name(catalog: Catalog, name: str) -> Schema:
    """Return the schema of a run's body under a name. Raises InvalidRequest (`model_not_found`).

    If several models serve the name, the input images and the mask of a body decide whose schema applies.
    """
    return _with_name_defaults(_schema_of_tasks(catalog, name), catalog, name)


def _with_name_defaults(schema: Schema, catalog: Catalog, name: str) -> Schema:
    """Return the schema with the size and length that a video of this name has by default."""
    row, properties = catalog.defaults_of(name), dict(schema["properties"])
    for model in catalog.models_of(name):
        for parameter, value in default_params(row, model).items():
            properties[parameter] = properties[parameter] | {"default": value}
    return schema | {"properties": properties}


def _schema_of_tasks(catalog: Catalog, name: str) -> Schema:
    models = catalog.models_of(name)
    if len(models) == 1:
        return _schema_of_model(name, models[0])
    plain, edit = _find_model(catalog, name, 0), _find_model(catalog, name, 1)
    masked = _find_model(catalog, name, 1, has_mask=True)
    properties: dict[str, Schema] = {}
    for model in models:
        properties = _schema_of_model(name, model)["properties"] | properties
    return {
        "$schema": run_schema(models[0])["$schema"],
        "title": name,
        "description": "Served by " + ", ".join(model.id for model in models) + ", depending on the images.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "required": [],
        "if": require_any(IMAGE_FIELDS),
        "then": {
            "if": {"required": ["mask"]},
            "then": _part_schema(name, masked),
            "else": _part_schema(name, edit),
        },
        "else": _part_schema(name, plain),
    }


def _find_model(catalog: Catalog, name: str, image_count: int, *, has_mask: bool = False) -> Model | None:
    try:
        return catalog.resolve(name, *find_tasks(image_count=image_count, has_mask=has_mask))
    except InvalidRequest:
        return None


def _schema_of_model(name: str, model: Model) -> Schema:
    """Return the schema of a model, with the raw mode of the name if it has one."""
    schema = run_schema(model)
    if not has_raw_mode(name, model) or "cfg_scale" not in model.parameters:
        return schema
    raw = {"type": "boolean", "default": False, "description": RAW_DESCRIPTION}
    one_guidance = {"not": {"required": ["raw", "cfg_scale"], "properties": {"raw": {"const": True}}}}
    return schema | {
        "properties": schema["properties"] | {"raw": raw},
        "allOf": [*schema.get("allOf", ()), one_guidance],
    }


def _part_schema(name: str, model: Model | None) -> Any:
    """Return the schema of one task; no body fits it if no model serves the task."""
    if model is None:
        return False
    return {key: value for key, value in _schema_of_model(name, model).items() if key != "$schema"}
