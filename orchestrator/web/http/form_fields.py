"""The fields of a multipart form as JSON would write them: `image[]` and `images[0]` are items of a list.

SDKs, browsers and n8n write lists and objects in these ways: `image[]=...` twice, `image[0]=...`,
`image[url]=...`, `images[0][image_url]=...`. A text field without a value counts as not given, unless
that means something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from orchestrator.web.http.multipart import FormField

#: Most brackets after a name, and most items that indices may write.
MAX_DEPTH, MAX_ITEMS = 4, 100
#: Fields that an empty text gives a value: models that use no prompt still require one.
MEANINGFUL_EMPTY_FIELDS = frozenset({"prompt"})
_NAME = re.compile(r"(?P<whole>[^\[\]]+)(?P<parts>(?:\[\w*\])*)", re.ASCII)
_PART = re.compile(r"\[(\w*)\]", re.ASCII)

#: A tree of values by part of the name; values of the same name are collected in a list.
_Tree = dict[str, Any]


def collect_form_fields(form: Iterable[FormField]) -> dict[str, Any]:
    """Return the fields by name; a name that is given several times is a list. Raises ValueError."""
    tree: _Tree = {}
    for field in form:
        if field.value != "" or field.name in MEANINGFUL_EMPTY_FIELDS:
            _add(tree, _split_name(field.name), field.value)
    return {name: _to_json(node) for name, node in tree.items()}


def _split_name(name: str) -> list[str]:
    """Return the parts of a name: `images[0][image_url]` has three. Other names have one."""
    found = _NAME.fullmatch(name)
    parts = _PART.findall(found["parts"]) if found else []
    if found is None or len(parts) > MAX_DEPTH:
        return [name]
    return [found["whole"], *parts]


def _add(tree: _Tree, parts: list[str], value: str | bytes) -> None:
    node: Any = tree
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if isinstance(child, list):  # `image=...`, then `image[]=...`
            child = node[part] = {"": child}
        node = child
    last = node.setdefault(parts[-1], [])
    values = last if isinstance(last, list) else last.setdefault("", [])
    if not isinstance(values, list):
        raise ValueError(f"the field {parts[0]!r} is both a list and a value")
    values.append(value)


def _to_json(node: list[str | bytes] | _Tree) -> Any:
    """Return a value, a list or an object. Raises ValueError for a name that is written as both."""
    if isinstance(node, list):
        return node if len(node) > 1 else node[0]
    indices = [part for part in node if part == "" or _is_index(part)]
    if not indices:
        return {part: _to_json(child) for part, child in node.items()}
    if len(indices) < len(node):
        raise ValueError(f"a field is both a list and an object with {next(iter(node.keys() - indices))!r}")
    items: list[Any] = []
    # Items without an index come first, in the order of the form.
    for part in sorted(node, key=lambda part: int(part or "-1")):
        child = node[part]
        items += child if isinstance(child, list) else [_to_json(child)]
    return items


def _is_index(part: str) -> bool:
    if not part.isdecimal():
        return False
    if int(part) >= MAX_ITEMS:
        raise ValueError(f"the index {part[:20]} is too large; at most {MAX_ITEMS - 1}")
    return True
