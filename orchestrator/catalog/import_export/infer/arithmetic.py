"""Evaluate formulas of ComfyUI's math node."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

Numeric = int | float | bool

_MAX_FORMULA_LENGTH = 1000
#: Limits on exponents and results, far beyond any size or length.
_MAX_EXPONENT = 64
_MAX_MAGNITUDE = 1e18

_OPERATORS: Mapping[type[ast.AST], Callable[..., Numeric]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: Mapping[str, Callable[..., Numeric]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "sqrt": math.sqrt,
    "ceil": math.ceil,
    "floor": math.floor,
    "int": int,
    "float": float,
}


def evaluate_formula(formula: str, variables: Mapping[str, Numeric]) -> Numeric:
    """Return the value of a formula. Raises ValueError if it is invalid or exceeds the limits."""
    if len(formula) > _MAX_FORMULA_LENGTH:
        raise ValueError("the formula is too long")
    try:
        return _check_magnitude(_evaluate_node(ast.parse(formula.strip(), mode="eval").body, variables))
    except (SyntaxError, ArithmeticError, TypeError, LookupError, RecursionError, MemoryError) as error:
        raise ValueError(f"{formula[:100]!r}: {error}") from error


def _evaluate_node(node: ast.AST, variables: Mapping[str, Numeric]) -> Numeric:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return _check_magnitude(value)
        case ast.Name(id=name):
            return variables[name]
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_evaluate_node(left, variables), _evaluate_node(right, variables))
        case ast.BinOp(left=left, op=sign, right=right):
            return _check_magnitude(
                _OPERATORS[type(sign)](_evaluate_node(left, variables), _evaluate_node(right, variables))
            )
        case ast.UnaryOp(op=sign, operand=operand):
            return _OPERATORS[type(sign)](_evaluate_node(operand, variables))
        case ast.Compare(left=left, ops=[sign], comparators=[right]):
            return _OPERATORS[type(sign)](_evaluate_node(left, variables), _evaluate_node(right, variables))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _evaluate_node(body if _evaluate_node(test, variables) else other, variables)
        case ast.Call(func=ast.Name(id="pow"), args=[base, exponent], keywords=[]):
            return _power(_evaluate_node(base, variables), _evaluate_node(exponent, variables))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _check_magnitude(
                _FUNCTIONS[name](*[_evaluate_node(argument, variables) for argument in arguments])
            )
    raise ValueError(f"{type(node).__name__} is not supported")


def _power(base: Numeric, exponent: Numeric) -> Numeric:
    if abs(exponent) > _MAX_EXPONENT:
        raise ValueError(f"exponents must be at most {_MAX_EXPONENT}")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("root of a negative number")
    return _check_magnitude(result)


def _check_magnitude(value: Numeric) -> Numeric:
    if not abs(value) <= _MAX_MAGNITUDE:
        raise ValueError("the number is too large")
    return value
