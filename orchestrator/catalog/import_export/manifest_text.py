"""Edit the text of a manifest, keeping its comments and formatting."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import tomli_w


def replace_id(text: str, id: str) -> str:
    """Return the manifest with another id, without its aliases."""
    old = re.search(r'^id = "([^"]*)"$', text, re.MULTILINE)
    if old is None or old[1] == id:
        return text
    text = text.replace(old[0], f'id = "{id}"', 1)
    return re.sub(r"^aliases = \[.*?\]\n", "", text, count=1, flags=re.MULTILINE | re.DOTALL)


def replace_default(text: str, name: str, value: Any) -> str:
    """Return the manifest with another default, if the parameter has one."""
    section = rf"(^\[parameters\.{re.escape(name)}\]\n(?:[^\[\n].*\n)*?)default = .*$"
    line = f"default = {_format_value(value)}"
    return re.sub(section, lambda found: found[1] + line, text, count=1, flags=re.MULTILINE)


def replace_example(text: str, name: str, value: Any) -> str:
    """Return the manifest with another example value, if the example has the parameter."""
    section = rf"(^\[example\]\n(?:[^\[\n].*\n)*?){re.escape(name)} = .*$"
    line = f"{name} = {_format_value(value)}"
    return re.sub(section, lambda found: found[1] + line, text, count=1, flags=re.MULTILINE)


def read_default(text: str, name: str) -> Any:
    """Return the default of a parameter; None if it has none or the manifest is invalid."""
    try:
        return tomllib.loads(text)["parameters"][name].get("default")
    except (tomllib.TOMLDecodeError, LookupError, TypeError, AttributeError):
        return None


def format_manifest(manifest: dict[str, Any]) -> str:
    """Return the text of a new manifest."""
    lists = {name: spec["default"] for name, spec in manifest["parameters"].items() if _is_list(spec)}
    # Written as inline tables on one line; tomli_w would write a table for each element.
    plain = {name: manifest["parameters"][name] | {"default": ""} for name in lists}
    data = manifest | {"parameters": manifest["parameters"] | plain}
    text = tomli_w.dumps(data, multiline_strings=False)
    for name, value in lists.items():
        text = replace_default(text, name, value)
    return text


def _is_list(spec: dict[str, Any]) -> bool:
    return isinstance(spec.get("default"), list)


def _format_value(value: Any) -> str:
    if not isinstance(value, list):
        return tomli_w.dumps({"default": value}).rstrip("\n").removeprefix("default = ")
    items = (", ".join(f"{key} = {json.dumps(part)}" for key, part in item.items()) for item in value)
    return "[" + ", ".join(f"{{ {item} }}" for item in items) + "]"
