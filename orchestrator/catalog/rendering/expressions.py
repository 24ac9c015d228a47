"""Compile and evaluate the Jinja expressions in the strings of a graph, in a sandbox.

A string that is exactly one expression (`"{{ steps }}"`) becomes the value of the expression with its type:
an integer stays an integer, and a prompt stays unchanged, because the value is never rendered to text and
parsed again. (Jinja's native environment does parse: it turns the prompt `[1]` into a list.) Any other
string with expressions (`"video/{{ seed }}"`) becomes text.

Only operators, tests and a few filters are allowed. Compilation rejects statements (`{% ... %}`), calls,
globals and unknown names. Evaluation rejects Python attributes (Jinja's sandbox) and arithmetic that would
exhaust the memory (`_SandboxedEnvironment`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import lru_cache
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
    """An expression cannot be compiled or evaluated. The message says why."""


# fmt: off
ALLOWED_FILTERS = (
    "abs", "default", "first", "float", "int", "join", "last", "length", "lower", "max", "min", "replace",
    "round", "string", "sum", "trim", "upper",
)
# fmt: on
_MAX_EXPONENT = 64


class _SandboxedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, restricted to pure expressions of bounded size."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True)
        self.globals.clear()
        self.filters = {name: self.filters[name] for name in ALLOWED_FILTERS}

    def call_binop(self, context: RuntimeContext, operator: str, left: Any, right: Any) -> Any:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise SecurityError(f"{operator} is only allowed between numbers")
        if operator == "**" and abs(right) > _MAX_EXPONENT:
            raise SecurityError(f"exponents must be at most {_MAX_EXPONENT}")
        return super().call_binop(context, operator, left, right)


_ENVIRONMENT = _SandboxedEnvironment()


def is_template(text: str) -> bool:
    """Return whether a string contains Jinja syntax."""
    return "{" in text and any(mark in text for mark in ("{{", "{%", "{#"))


def compile_template(text: str, names: Set[str]) -> CompiledExpression:
    """Return a function from context to value. Raises ExpressionError; so does the function."""
    evaluate, needed = _compile_cached(text)
    if unknown := needed - names:
        raise ExpressionError(
            f"unknown name {', '.join(sorted(unknown))}; known are {', '.join(sorted(names))}"
        )
    return evaluate


def expression_names(text: str) -> frozenset[str]:
    """Return the variables that the expressions of a string use. Raises ExpressionError."""
    return _compile_cached(text)[1]


@lru_cache(maxsize=8192)
def _compile_cached(text: str) -> tuple[CompiledExpression, frozenset[str]]:
    """Return the function for a string, and the names it uses.

    Cached, as graphs share many strings; the cache is bounded, as authors send others in each graph.
    """
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
            raise ExpressionError(f"the value of {text!r} cannot be represented in JSON")
        return value

    return evaluate, needed


def replace_name(text: str, name: str, replacement: str) -> str:
    """Return a string with another expression in place of a variable in its expressions.

    Texts, attributes and the string outside of expressions stay. Raises ExpressionError.
    """
    try:
        tokens = list(_ENVIRONMENT.lex(text))
    except TemplateError as error:
        raise ExpressionError(str(error)) from error
    parts: list[str] = []
    before = ""
    for _, kind, value in tokens:
        is_variable = kind == "name" and value == name and before != "."
        parts.append(replacement if is_variable else value)
        before = before if kind == "whitespace" else value
    return "".join(parts)


def compile_expression(text: str, names: Set[str]) -> CompiledExpression:
    """Like `compile_template`, for a string that must be one expression (`_meta.when` and `_meta.each`)."""
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
    """Return the texts and expressions of a template in order."""
    parts: list[nodes.Expr] = []
    for statement in tree.body:
        if not isinstance(statement, nodes.Output):
            raise ExpressionError("only expressions are allowed, no statements")
        parts.extend(statement.nodes)
    return parts


def _compile_parts(parts: list[nodes.Expr], tree: nodes.Template) -> CompiledExpression:
    if len(parts) == 1 and not isinstance(parts[0], nodes.TemplateData):
        # Like Environment.compile_expression, but from the parsed tree instead of the source text.
        assignment = nodes.Assign(nodes.Name("result", "store"), parts[0], lineno=1)
        template = _ENVIRONMENT.from_string(nodes.Template([assignment], lineno=1))
        expression = TemplateExpression(template, undefined_to_none=False)
        if isinstance(parts[0], nodes.Name):
            name = parts[0].name
            # Most expressions are a name, and Jinja takes 20 microseconds to look one up.
            return lambda context: context[name] if name in context else expression(context)
        return lambda context: expression(context)
    return _ENVIRONMENT.from_string(tree).render
