"""Nodes for text, numbers, conditions and choices."""

from __future__ import annotations

import ast
import json
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from comfy_instances.simulator.nodes.call import NodeContext, NodeFunction, NodeResult
from comfy_instances.simulator.nodes.values import fingerprint

_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.USub: operator.neg, ast.UAdd: operator.pos,
    ast.Not: operator.not_, ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
    ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min, "max": max, "round": round, "abs": abs, "int": int, "float": float, "floor": math.floor,
    "ceil": math.ceil, "sqrt": math.sqrt, "log": math.log, "sin": math.sin, "cos": math.cos,
}  # fmt: skip


def evaluate_expression(expression: str, values: dict[str, Any]) -> float:
    """Evaluate an arithmetic expression over named values. Raises ValueError for any other expression."""

    def walk(node: ast.AST) -> Any:
        match node:
            case ast.Expression(body=body):
                return walk(body)
            case ast.Constant(value=int() | float() as value):
                return value
            case ast.Name(id=name) if name in values:
                return values[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](walk(left), walk(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](walk(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](walk(left), walk(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return walk(body) if walk(test) else walk(orelse)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*map(walk, args))
        raise ValueError(f"can not evaluate {expression!r}")

    return float(walk(ast.parse(expression.strip(), mode="eval")))


def math_expression(expression: str, values: dict[str, Any]) -> tuple[float, int, bool]:
    result = evaluate_expression(expression, values)
    return result, int(result), bool(result)


def concatenate_strings(string_a: str, string_b: str, delimiter: str = "") -> tuple[str]:
    return (delimiter.join((string_a, string_b)),)


def replace_in_string(string: str, find: str, replace: str) -> tuple[str]:
    return (string.replace(find, replace),)


def slice_string(string: str, start: int, end: int) -> tuple[str]:
    return (string[start:end],)


def string_length(string: str) -> tuple[int]:
    return (len(string),)


def trim_string(string: str, mode: str) -> tuple[str]:
    return ({"Left": string.lstrip, "Right": string.rstrip}.get(mode, string.strip)(),)


def convert_case(string: str, mode: str) -> tuple[str]:
    cases = {"UPPERCASE": string.upper, "lowercase": string.lower, "Capitalize": string.capitalize}
    return (cases.get(mode, string.title)(),)


def string_contains(string: str, substring: str, case_sensitive: bool = True) -> tuple[bool]:
    if not case_sensitive:
        string, substring = string.lower(), substring.lower()
    return (substring in string,)


def format_string(f_string: str, values: dict[str, Any]) -> tuple[str]:
    return (f_string.format(**values),)


def pass_value(value: Any) -> tuple[Any]:
    return (value,)


def convert_number(value: Any) -> tuple[float, int]:
    return float(value), int(float(value))


def logical_not(value: Any) -> tuple[bool]:
    return (not value,)


def logical_and(values: dict[str, Any]) -> tuple[bool]:
    return (all(values.values()),)


def logical_or(values: dict[str, Any]) -> tuple[bool]:
    return (any(values.values()),)


def switch_value(switch: bool, on_false: Any = None, on_true: Any = None) -> tuple[Any]:
    return (on_true if switch else on_false,)


def select_switch_input(inputs: dict[str, Any]) -> str:
    """Return the name of the only input of a switch that must be computed."""
    return "on_true" if inputs.get("switch") else "on_false"


def select_resolution(aspect_ratio: str, megapixels: float, multiple: int = 8) -> tuple[int, int]:
    across, down = (int(part) for part in aspect_ratio.split(" ")[0].split(":"))
    height = math.sqrt(megapixels * 1024 * 1024 * down / across)
    sides = (height * across / down, height)
    columns, rows = (max(multiple, round(side / multiple) * multiple) for side in sides)
    return columns, rows


def preview_any(context: NodeContext, source: Any) -> NodeResult:
    """Show a value as text: literals and structures by value, everything else by identity."""
    if isinstance(source, str):
        text = source
    elif isinstance(source, bool | int | float):
        text = str(source)
    elif isinstance(source, dict | list | tuple | None):
        text = json.dumps(source, indent=4, default=str)
    else:
        text = f"<{type(source).__name__} {fingerprint(source)}>"
    return NodeResult({"text": [text]}, (text,))


NODES: Mapping[str, NodeFunction] = {
    "ComfyMathExpression": math_expression,
    "StringConcatenate": concatenate_strings,
    "StringReplace": replace_in_string,
    "StringSubstring": slice_string,
    "StringLength": string_length,
    "StringTrim": trim_string,
    "CaseConverter": convert_case,
    "StringContains": string_contains,
    "StringFormat": format_string,
    "PrimitiveInt": pass_value,
    "PrimitiveFloat": pass_value,
    "PrimitiveString": pass_value,
    "PrimitiveStringMultiline": pass_value,
    "PrimitiveBoolean": pass_value,
    "ComfyNumberConvert": convert_number,
    "ComfyNotNode": logical_not,
    "ComfyAndNode": logical_and,
    "ComfyOrNode": logical_or,
    "ComfySwitchNode": switch_value,
    "ResolutionSelector": select_resolution,
    "PreviewAny": preview_any,
}
