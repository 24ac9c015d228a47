"""Reads the inputs of node classes from the source of a pack, without running it.

Only what is written out counts: names and order of the inputs, and whether an input has a widget. Choices
that are computed are open. A class whose inputs cannot be read so is None.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Sections of the inputs that a node has in a graph.
SECTIONS = ("required", "optional")
#: Texts in classes of packs that stand for any type.
ANY_TYPE = "*"
#: Names of ComfyUI's own table of types in the source of packs.
_TYPE_TABLES = ("IO", "IOType")
_TABLE_METHODS = ("update", "setdefault", "pop", "popitem", "clear")
#: Where a statement may begin, and beginnings that continue the one before.
_STATEMENT_START = re.compile(r"^(?=[A-Za-z_@])", re.MULTILINE)
_LONG_QUOTES = ('"""', "'''")
_CLASS_METHODS = ("INPUT_TYPES", "define_schema")
_FIRST_INDENT = re.compile(r"^class [^\n]*\n(?:[ \t]*\n)*([ \t]+)")
_CONTINUATIONS = ("else", "elif", "except", "finally")
_MISSING = object()
_MAX_DEPTH = 20


@dataclass(slots=True)
class SourceClasses:
    """What the source of one file says."""

    #: Python class -> its inputs as in `/object_info`, once for each class of this name; None where they are
    #: not written out.
    inputs: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)
    #: Name of a node class -> Python classes.
    names: dict[str, set[str]] = field(default_factory=dict)


class SourceReader:
    """Reads Python files. Their statements are parsed once: versions of a file share most of them."""

    def __init__(self) -> None:
        self._statements: dict[str, _Statement | None] = {}

    def read(self, text: str) -> SourceClasses:
        """Return the classes of a file; none if it is not valid."""
        parts = [part for part in _split_statements(text) if not _says_nothing(part)]
        statements = [self._parse(_shorten_class(part)) or self._parse(part) for part in parts]
        if None in statements:
            statements = [self._parse(text)]
        known = [each for each in statements if each is not None]
        assigned: dict[str, ast.expr | None] = {}
        for each in known:
            # A name with several values says nothing.
            assigned |= {name: None if name in assigned else value for name, value in each.assigned.items()}
        found = SourceClasses()
        for each in known:
            for name, entries in each.read_classes(assigned).items():
                found.inputs.setdefault(name, []).extend(entries)
            for name, class_name in each.names:
                found.names.setdefault(name, set()).add(class_name)
        return found

    def _parse(self, text: str) -> _Statement | None:
        if text not in self._statements:
            try:
                self._statements[text] = _Statement(ast.parse(text))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                self._statements[text] = None
        return self._statements[text]


def _split_statements(text: str, start: re.Pattern[str] = _STATEMENT_START) -> Iterator[str]:
    """Yield statements of a file, or of a class; a part of one is not valid."""
    part, is_open = "", True
    for piece in start.split(text):
        if not is_open and not piece.startswith(_CONTINUATIONS):
            yield part
            part = ""
        part += piece
        is_decorator = piece.lstrip().startswith("@")
        is_open = is_decorator or any(part.count(quotes) % 2 for quotes in _LONG_QUOTES)
    yield part


def _shorten_class(text: str) -> str:
    """Return a class without the methods that do not declare inputs: these change most."""
    if not text.startswith("class ") or (indent := _FIRST_INDENT.search(text)) is None:
        return text
    start = re.compile(rf"^(?={indent[1]}[A-Za-z_@])", re.MULTILINE)
    head, *rest = _split_statements(text, start)
    kept = [part for part in rest if any(f"def {name}" in part for name in _CLASS_METHODS)]
    return head + "".join(kept)


def _says_nothing(text: str) -> bool:
    """Return whether a statement names and declares no classes, and no values that these use."""
    return text.startswith(("def ", "async def ", "import ", "from ")) or (
        text.startswith("class ") and not any(name in text for name in _CLASS_METHODS)
    )


class _Statement:
    """A statement of a file, or a whole file."""

    def __init__(self, tree: ast.Module) -> None:
        self.assigned = _assignments(tree.body)
        tables = [each for each in tree.body if not isinstance(each, ast.ClassDef | ast.FunctionDef)]
        nodes = (node for table in tables for node in ast.walk(table))
        self.names = [row for node in nodes if isinstance(node, ast.Dict) for row in _read_names(node)]
        self._classes: list[tuple[str, ast.FunctionDef | None]] = []
        self._used: set[str] = set()
        self._read: dict[tuple[Any, ...], dict[str, list[dict[str, Any] | None]]] = {}
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
            if (method := methods.get("INPUT_TYPES")) is not None:
                self._classes.append((node.name, method))
                self._used |= {each.id for each in ast.walk(method) if isinstance(each, ast.Name)}
            elif "define_schema" in methods:
                self._classes.append((node.name, None))

    def read_classes(self, assigned: Mapping[str, ast.expr | None]) -> dict[str, list[dict[str, Any] | None]]:
        """Return the inputs of its classes, in a file with these names."""
        if not self._classes:
            return {}
        scope = _Scope({name: value for name, value in assigned.items() if value is not None})
        # Expressions are the same objects as long as their statements have the same text.
        key = tuple(id(each) for name in sorted(self._used) for each in scope.follow(name))
        if key not in self._read:
            found: dict[str, list[dict[str, Any] | None]] = {}
            for name, method in self._classes:
                found.setdefault(name, []).append(None if method is None else _read_inputs(method, scope))
            self._read[key] = found
        return self._read[key]


def _read_names(node: ast.Dict) -> Iterator[tuple[str, str]]:
    """Yield the entries of a table of node classes: `"Name": Class` or `"Name": {"class": Class}`."""
    for key, value in zip(node.keys, node.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            continue
        if isinstance(value, ast.Dict):
            rows = zip(value.keys, value.values, strict=True)
            value = next(
                (each for k, each in rows if isinstance(k, ast.Constant) and k.value == "class"), value
            )
        if isinstance(value, ast.Name):
            yield key.value, value.id
        elif isinstance(value, ast.Attribute):
            yield key.value, value.attr


class _Unreadable(Exception):
    """The value of an expression is not written out."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """Names with the expressions that are assigned to them once."""

    assigned: Mapping[str, ast.expr]

    def follow(self, name: str) -> Iterator[ast.expr]:
        """Yield the expression of a name, and those of the names in it."""
        waiting, seen = [name], {name}
        while waiting:
            value = self.assigned.get(waiting.pop())
            if value is not None:
                yield value
                names = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)} - seen
                seen |= names
                waiting += sorted(names)

    def resolve(self, node: ast.expr, depth: int = 0) -> ast.expr:
        """Return the expression that a name stands for; the name itself if that is not known."""
        if isinstance(node, ast.Name) and node.id in self.assigned and depth < _MAX_DEPTH:
            return self.resolve(self.assigned[node.id], depth + 1)
        return node


def _assignments(body: list[ast.stmt]) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    twice = set()
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Name):
                twice |= {target.id} & found.keys()
                found[target.id] = statement.value  # type: ignore[attr-defined]
    return {name: value for name, value in found.items() if name not in twice}


def _read_inputs(method: ast.FunctionDef, module: _Scope) -> dict[str, Any] | None:
    returned = [node for node in ast.walk(method) if isinstance(node, ast.Return)]
    if len(returned) != 1 or returned[0] is not method.body[-1] or returned[0].value is None:
        return None
    if any(_changes_a_table(node) for node in ast.walk(method)):
        return None
    scope = _Scope({**module.assigned, **_assignments(method.body)})
    try:
        sections = dict(_items(returned[0].value, scope))
        inputs = {name: _read_section(sections[name], scope) for name in SECTIONS if name in sections}
    except _Unreadable:
        return None
    return {"input": inputs, "output": []}


def _changes_a_table(node: ast.AST) -> bool:
    """Return whether a statement may add inputs to a table, or take some out."""
    targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else []
    if any(isinstance(target, ast.Subscript) for target in targets):
        return True
    function = node.func if isinstance(node, ast.Call) else None
    return isinstance(function, ast.Attribute) and function.attr in _TABLE_METHODS


def _items(node: ast.expr, scope: _Scope) -> Iterator[tuple[str, ast.expr]]:
    node = scope.resolve(node)
    if not isinstance(node, ast.Dict):
        raise _Unreadable
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            yield from _items(value, scope)
            continue
        name = _literal(key, scope)
        if not isinstance(name, str):
            raise _Unreadable
        yield name, value


def _read_section(node: ast.expr, scope: _Scope) -> dict[str, Any]:
    return {name: _read_spec(value, scope) for name, value in _items(node, scope)}


def _read_spec(node: ast.expr, scope: _Scope) -> list[Any]:
    node = scope.resolve(node)
    if not isinstance(node, ast.Tuple | ast.List) or not node.elts:
        raise _Unreadable
    kind = _read_type(node.elts[0], scope)
    options = _read_options(node.elts[1], scope) if len(node.elts) > 1 else {}
    return [kind, options] if options else [kind]


def _read_type(node: ast.expr, scope: _Scope) -> Any:
    """Return the type of an input, or its choices; an empty text for choices that are computed."""
    node = scope.resolve(node)
    value = _literal(node, scope)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return value
    if isinstance(node, ast.Call):
        named = node.func.id if isinstance(node.func, ast.Name) else ""
        first = _literal(node.args[0], scope) if node.args else None
        if first == ANY_TYPE or "any" in named.lower():
            return ANY_TYPE
        return "COMBO"
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _TYPE_TABLES:
        return ANY_TYPE if node.attr == "ANY" else node.attr
    if isinstance(
        node, ast.List | ast.ListComp | ast.BinOp | ast.Attribute | ast.Subscript | ast.Tuple | ast.IfExp
    ):
        return "COMBO"
    raise _Unreadable


def _read_options(node: ast.expr, scope: _Scope) -> dict[str, Any]:
    """Return the options that are written out."""
    options: dict[str, Any] = {}
    for name, value in _items(node, scope):
        read = _literal(value, scope)
        if read is not _MISSING:
            options[name] = read
        elif name in ("forceInput", "control_after_generate"):
            raise _Unreadable
    return options


def _literal(node: ast.expr, scope: _Scope) -> Any:
    """Return the value of a literal; _MISSING for any other expression."""
    node = scope.resolve(node)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _MISSING
    return list(value) if isinstance(value, tuple) else value
