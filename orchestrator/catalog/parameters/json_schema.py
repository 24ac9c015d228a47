"""JSON Schema of a model's parameters, for documentation, forms and generated clients."""

from __future__ import annotations

from typing import Any

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.values import Parameter


def build_request_schema(model: Model) -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a request's parameters; other keys are ignored."""
    properties = {name: _parameter_schema(spec) for name, spec in model.parameters.items()}
    if model.max_n > 1:
        properties["n"] = {
            "type": "integer",
            "minimum": 1,
            "maximum": model.max_n,
            "default": 1,
            "description": "Number of results.",
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": model.name,
        "description": model.description,
        "type": "object",
        "properties": properties,
        "required": [name for name, spec in model.parameters.items() if spec.required],
    }


def _parameter_schema(spec: Parameter) -> dict[str, Any]:
    schema = spec.to_json_schema()
    if spec.description:
        schema["description"] = spec.description
    if not spec.required and spec.default is not None:
        schema["default"] = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    return schema
