"""Expressions in the string leaves of a graph, in a sandbox, giving native values.

A leaf that is exactly one expression (`"{{ steps }}"`) becomes the value of that expression, with its
type: an integer stays an integer, and a prompt arrives as exactly its text, because the value is never
written into a text that somebody parses again. (Jinja's own native environment does parse: it turns the
prompt `[1]` into a list.) Any other leaf with expressions in it (`"video/{{ seed }}"`) becomes text.

Operators, tests and a few filters are all there is: statements (`{% ... %}`), calls, globals and unknown
names are refused when a leaf is compiled; attributes that lead into Python are refused by Jinja's sandbox,
and arithmetic that would fill the memory by the guards below, when it is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, Undefined, meta, nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context as RuntimeContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

RenderContext = Mapping[str, Any]
CompiledExpression = Callable[[RenderContext], Any]

_JSON_TYPES = (str, int, float, bool, type(None), list, dict)


class ExpressionError(Exception):
    """A leaf can not be compiled or evaluated. The message says why."""


# fmt: off
ALLOWED_FILTERS = (
    "abs", "default", "first", "float", "int", "join", "last", "length", "lower", "max", "min", "replace",
    "round", "string", "sum", "trim", "upper",
)
# fmt: on
_MAX_EXPONENT = 64


class _SandboxedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, narrowed to pure expressions of bounded size."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True)
        self.globals.clear()
        self.filters = {name: self.filters[name] for name in ALLOWED_FILTERS}

    def call_binop(self, context: RuntimeContext, operator: str, left: Any, right: Any) -> Any:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise SecurityError(f"{operator} is for numbers")
        if operator == "**" and abs(right) > _MAX_EXPONENT:
            raise SecurityError(f"no exponents above {_MAX_EXPONENT}")
        return super().call_binop(context, operator, left, right)


_ENVIRONMENT = _SandboxedEnvironment()


def is_template(text: str) -> bool:
    return any(mark in text for mark in ("{{", "{%", "{#"))


def compile_template(text: str, names: Set[str]) -> CompiledExpression:
    """A function from context to value. Raises ExpressionError; so does the function."""
    evaluate, needed = _compile_cached(text)
    if unknown := needed - names:
        raise ExpressionError(f"unknown name {', '.join(sorted(unknown))}")
    return evaluate


@cache
def _compile_cached(text: str) -> tuple[CompiledExpression, frozenset[str]]:
    """The function for a leaf, and the names it uses; one text stands in many graphs."""
    try:
        tree = _ENVIRONMENT.parse(text)
        if tree.find(nodes.Call):
            raise ExpressionError("calls are not allowed")
        needed = frozenset(meta.find_undeclared_variables(tree))
        compiled = _compile_parts(_template_parts(tree), tree)
    except TemplateError as error:
        raise ExpressionError(str(error)) from error

    def evaluate(context: RenderContext) -> Any:
        try:
            value = compiled(context)
            if isinstance(value, Undefined):
                str(value)  # raises the error that says what is undefined
        except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
            raise ExpressionError(f"{text!r}: {error}") from error
        if not isinstance(value, _JSON_TYPES):
            raise ExpressionError(f"{text!r} gives no value that JSON can hold")
        return value

    return evaluate, needed


def compile_expression(text: str, names: Set[str]) -> CompiledExpression:
    """Like compile_leaf, for a text that must be one expression (`_meta.when` and `_meta.each`)."""
    if not _is_single_expression(text):
        raise ExpressionError(f"{text!r} must be one expression in double braces")
    return compile_template(text, names)


def _is_single_expression(text: str) -> bool:
    try:
        parts = _template_parts(_ENVIRONMENT.parse(text))
    except TemplateError as error:
        raise ExpressionError(str(error)) from error
    return len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData)


def _template_parts(tree: nodes.Template) -> list[nodes.Expr]:
    """Texts and expressions, in order."""
    parts: list[nodes.Expr] = []
    for statement in tree.body:
        if not isinstance(statement, nodes.Output):
            raise ExpressionError("only expressions are allowed, no statements")
        parts.extend(statement.nodes)
    return parts


def _compile_parts(parts: list[nodes.Expr], tree: nodes.Template) -> CompiledExpression:
    if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData):
        # As Environment.compile_expression does, but from the tree, so that no text is cut by hand.
        assignment = nodes.Assign(nodes.Name("result", "store"), parts[0], lineno=1)
        template = _ENVIRONMENT.from_string(nodes.Template([assignment], lineno=1))
        expression = TemplateExpression(template, undefined_to_none=False)
        return lambda context: expression(context)
    return _ENVIRONMENT.from_string(tree).render
