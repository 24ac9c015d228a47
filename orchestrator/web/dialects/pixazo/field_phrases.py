"""The document's phrases for invalid fields: `seed must be a non-negative integer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe_expected(schema: Mapping[str, Any], problem: str) -> str:
    """Describe the values that a JSON Schema allows: `one of: jpg, png`, `an integer in [0, 2]`.

    `problem` is the type of pydantic's error.
    """
    schema = next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)
    if "enum" in schema or "const" in schema:
        return f"one of: {', '.join(map(_show, schema.get('enum', [schema.get('const')])))}"
    match schema["type"]:
        case "integer" | "number" as kind:
            return _describe_number(schema, kind)
        case "array":
            return f"a non-empty array of {_describe_items(schema['items'])}"
        case "string" if schema.get("format") == "uri":
            return "a string URL" if problem in ("missing", "string_type") else "a valid URL"
        case "string":
            return "a string"
        case kind:
            return f"a {kind}"


def _show(value: object) -> str:
    """Return a value as a request writes it: `false`, but text without quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _describe_items(schema: Mapping[str, Any]) -> str:
    """Describe the items of an array: `URLs`, `completed, failed`."""
    return ", ".join(schema["enum"]) if "enum" in schema else "URLs"


def _describe_number(schema: Mapping[str, Any], kind: str) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    article = f"an {kind}" if kind == "integer" else f"a {kind}"
    if least is not None and most is not None:
        return f"{article} in [{least}, {most}]"
    signs: dict[Any, str] = {0: f"a non-negative {kind}", 1: f"a positive {kind}"}
    return signs.get(least, article)
