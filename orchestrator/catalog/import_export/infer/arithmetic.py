"""The formulas of ComfyUI's math node, worked out for constants."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

Number = int | float | bool

_MAX_CHARACTERS = 1000
#: Exponents and results beyond these are nobody's size or length.
_MAX_EXPONENT = 64
_MAX_RESULT = 1e18

_OPERATORS: Mapping[type[ast.AST], Callable[..., Number]] = {
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
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
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


def evaluate(formula: str, names: Mapping[str, Number]) -> Number:
    """The value of a formula. Raises ValueError for what is none, or too much."""
    if len(formula) > _MAX_CHARACTERS:
        raise ValueError("the formula is too long")
    try:
        return _bounded(_value(ast.parse(formula.strip(), mode="eval").body, names))
    except (SyntaxError, ArithmeticError, TypeError, LookupError, RecursionError, MemoryError) as error:
        raise ValueError(f"{formula[:100]!r}: {error}") from error


def _value(node: ast.AST, names: Mapping[str, Number]) -> Number:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return _bounded(value)
        case ast.Name(id=name):
            return names[name]
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, names), _value(right, names))
        case ast.BinOp(left=left, op=sign, right=right):
            return _bounded(_OPERATORS[type(sign)](_value(left, names), _value(right, names)))
        case ast.UnaryOp(op=sign, operand=operand):
            return _OPERATORS[type(sign)](_value(operand, names))
        case ast.Compare(left=left, ops=[sign], comparators=[right]):
            return _OPERATORS[type(sign)](_value(left, names), _value(right, names))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, names) else other, names)
        case ast.Call(func=ast.Name(id="pow"), args=[base, exponent], keywords=[]):
            return _power(_value(base, names), _value(exponent, names))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _bounded(_FUNCTIONS[name](*[_value(argument, names) for argument in arguments]))
    raise ValueError(f"{type(node).__name__} is not understood")


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > _MAX_EXPONENT:
        raise ValueError(f"no exponents above {_MAX_EXPONENT}")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("the root of a negative number")
    return _bounded(result)


def _bounded(value: Number) -> Number:
    if not abs(value) <= _MAX_RESULT:
        raise ValueError("the number is too large")
    return value
