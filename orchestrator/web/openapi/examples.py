"""Generate example request and response bodies from JSON Schemas, so that no operation lacks one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonSchema = Mapping[str, Any]

#: Values of fields that have no example of their own in the schema.
EXAMPLES_BY_FIELD: Mapping[str, Any] = {
    "id": "job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31",
    "image": "https://example.com/input.png",
    "images": ["https://example.com/input.png"],
    "model": "flux-1-schnell",
    "n": 1,
    "prompt": "A lighthouse at dawn, oil painting",
    "size": "1024x1024",
    "url": "https://example.com/webhook",
}
#: Optional fields that a request example shows all the same.
SHOWN_OPTIONAL_FIELDS = frozenset({"model", "prompt"})
EXAMPLES_BY_FORMAT: Mapping[str, Any] = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00+00:00",
    "uri": "https://example.com/webhook",
    "uuid": "3f2a9c0d-5b7e-4f1a-8c6d-2e9b0a4f7c31",
}
EXAMPLES_BY_TYPE: Mapping[str, Any] = {
    "boolean": True,
    "integer": 1,
    "null": None,
    "number": 0.5,
    "string": "text",
}
#: Nesting below which examples are cut off; only recursive schemas are that deep.
MAX_DEPTH = 8


class ExampleGenerator:
    """Generates examples for schemas that refer to a set of definitions."""

    def __init__(self, definitions: Mapping[str, JsonSchema]) -> None:
        """`definitions` are the schemas under `#/components/schemas/`."""
        self._definitions = definitions

    def request_example(self, schema: JsonSchema) -> Any:
        """Return a small request body: required fields, and those with an example of their own."""
        return self._build(schema, "", required_only=True)

    def response_example(self, schema: JsonSchema) -> Any:
        """Return a complete response body."""
        return self._build(schema, "", required_only=False)

    def _build(self, schema: JsonSchema, name: str, *, required_only: bool, depth: int = 0) -> Any:
        schema = self._resolve(schema)
        found = _explicit_example(schema)
        if found is not None:
            return found[0]
        variants = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
        variants = [variant for variant in variants if variant.get("type") != "null"]
        if name in EXAMPLES_BY_FIELD and _accepts(schema, variants, EXAMPLES_BY_FIELD[name]):
            return EXAMPLES_BY_FIELD[name]
        if variants:
            return self._build(variants[0], name, required_only=required_only, depth=depth)
        if depth < MAX_DEPTH and "properties" in schema:
            return self._build_object(schema, required_only=required_only, depth=depth)
        if schema.get("type") == "array":
            items = schema.get("items", {})
            item = self._build(items, name, required_only=required_only, depth=depth + 1)
            return [] if item is None else [item] * max(1, schema.get("minItems", 1))
        return _scalar_example(schema)

    def _build_object(self, schema: JsonSchema, *, required_only: bool, depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            name: self._build(field, name, required_only=required_only, depth=depth + 1)
            for name, field in schema["properties"].items()
            if not required_only
            or name in required
            or name in SHOWN_OPTIONAL_FIELDS
            or "examples" in self._resolve(field)
        }

    def _resolve(self, schema: JsonSchema) -> JsonSchema:
        """Follow a `$ref`; keywords next to it, such as `examples`, take precedence."""
        if "$ref" not in schema:
            return schema
        target = self._definitions[schema["$ref"].rpartition("/")[2]]
        return self._resolve({**target, **{key: value for key, value in schema.items() if key != "$ref"}})


def _explicit_example(schema: JsonSchema) -> tuple[Any] | None:
    """Return the example that the schema itself states, in a tuple because it may be None."""
    if schema.get("examples"):
        return (schema["examples"][0],)
    if "const" in schema:
        return (schema["const"],)
    if schema.get("default") is not None:
        return (schema["default"],)
    return (schema["enum"][0],) if schema.get("enum") else None


def _accepts(schema: JsonSchema, variants: list[JsonSchema], value: Any) -> bool:
    """Return whether the schema, or one of its variants, has the type of `value`."""
    json_type = {str: "string", int: "integer", list: "array"}[type(value)]
    return any(variant.get("type") == json_type for variant in (schema, *variants))


def _scalar_example(schema: JsonSchema) -> Any:
    if schema.get("format") in EXAMPLES_BY_FORMAT:
        return EXAMPLES_BY_FORMAT[schema["format"]]
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind in ("integer", "number"):
        return schema.get("minimum", EXAMPLES_BY_TYPE[kind])
    return EXAMPLES_BY_TYPE.get(kind, {})
