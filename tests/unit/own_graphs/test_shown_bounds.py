"""The facts of node classes that callers see have the bounds of the policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from comfy_instances.protocol.node_facts import load_core_node_facts
from orchestrator.own_graphs.limits import GraphLimits
from orchestrator.own_graphs.policy import GraphPolicy
from orchestrator.own_graphs.shown_bounds import is_number, with_bounds
from orchestrator.web.dialects.comfy.native_facts import ClassFacts

LIMITS = GraphLimits(max_side=1024, max_steps=50, max_batch=2)


@cache
def shown() -> dict[str, Any]:
    facts = load_core_node_facts()
    return ClassFacts(GraphPolicy(facts=facts, limits=LIMITS), None).describe_all()


def numbers(spec: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Options of a number, and of those within options and groups, by their names."""
    if isinstance(spec, list | tuple) and spec and is_number(spec[0]):
        yield name, spec[1] if len(spec) > 1 else {}
    if isinstance(spec, Mapping):
        for key, value in spec.items():
            yield from numbers(value, key)
    elif isinstance(spec, list | tuple):
        for value in spec:
            yield from numbers(value, name)


@pytest.mark.parametrize(
    ("class_type", "name", "most"),
    [("EmptyImage", "width", 1024), ("EmptyImage", "batch_size", 2), ("KSampler", "steps", 50),
     ("EmptyLatentImage", "height", 1024), ("RepeatLatentBatch", "amount", 2),
     ("EmptyImage", "color", 0xFFFFFF)],
)  # fmt: skip
def test_widgets_allow_what_the_policy_allows(class_type: str, name: str, most: int) -> None:
    options = shown()[class_type]["input"]["required"][name][1]
    assert options["max"] == most
    assert options["default"] <= most


def test_no_number_of_any_class_exceeds_the_policy() -> None:
    bounded = 0
    for class_type, entry in shown().items():
        for name, options in numbers(entry["input"], ""):
            bound = LIMITS.find_bound(name)
            if bound is None or class_type in ("ImageFromBatch", "LatentFromBatch", "LatentCut"):
                continue
            bounded += 1
            if class_type not in ("LatentCutToBatch", "ImageCompare"):
                assert options["max"] <= bound.most, (class_type, name)
                assert options.get("default", 0) <= options["max"], (class_type, name)
                assert options.get("min", 0) <= options["max"], (class_type, name)
    assert bounded > 300


def test_bounds_inputs_of_options_and_of_groups() -> None:
    number = ["INT", {"default": 8192, "max": 16384}]
    option = {"key": "scale", "inputs": {"required": {"width": number}}}
    sections = {
        "required": {
            "mode": ["COMFY_DYNAMICCOMBO_V3", {"options": [option]}],
            "parts": ["COMFY_AUTOGROW_V3", {"template": {"input": {"optional": {"steps": ["INT"]}}}}],
            "names": [["a", "b"]],
        },
        "hidden": {"prompt": "PROMPT"},
    }
    found = with_bounds("Any", sections, LIMITS)
    assert dict(numbers(found, "")) == {"width": {"default": 1024, "max": 1024}, "steps": {"max": 50}}
    assert (found["required"]["names"], found["hidden"]) == ([["a", "b"]], {"prompt": "PROMPT"})
