"""JSON Schema of a model's parameters, for documentation, forms and generated clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.catalog.model import Model
from orchestrator.catalog.parameters.values import Parameter


def build_request_schema(model: Model, setters: Mapping[str, Sequence[str]] | None = None) -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a request's parameters. It allows no other keys.

    `setters` are the fields that can set a parameter, by parameter; without an entry it is the field of its
    name.
    """
    fields_of = setters or {}
    properties = {name: _parameter_schema(spec) for name, spec in model.parameters.items()}
    properties["n"] = {
        "type": "integer",
        "minimum": 1,
        "maximum": model.max_n,
        "default": 1,
        "description": "Number of results.",
    }
    required: list[str] = []
    rules: list[dict[str, Any]] = []
    for name, spec in model.parameters.items():
        if spec.required:
            alternatives = [name, spec.replaced_by] if spec.replaced_by else [name]
            fields = [field for each in alternatives for field in fields_of.get(each, (each,))]
            if len(fields) == 1:
                required.append(name)
            else:
                rules.append(require_any(fields))
        if spec.needs:
            rules.append(
                {
                    "if": {"required": [name], "properties": {name: {"not": {"const": spec.default}}}},
                    "then": require_any(fields_of.get(spec.needs, (spec.needs,))),
                }
            )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": model.name,
        "description": model.description,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    } | ({"allOf": rules} if rules else {})


def require_any(fields: Sequence[str]) -> dict[str, Any]:
    """Return the schema of an object with at least one of the fields, which is no empty list."""
    return {
        "anyOf": [
            {"required": [field], "properties": {field: {"minItems": 1}}} for field in dict.fromkeys(fields)
        ]
    }


def _parameter_schema(spec: Parameter) -> dict[str, Any]:
    schema = spec.to_json_schema()
    if spec.description:
        schema["description"] = spec.description
    if not spec.required and spec.default is not None:
        schema["default"] = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    return schema
