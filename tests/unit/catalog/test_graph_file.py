"""graph.json: what is refused, and how the place is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import CatalogError
from orchestrator.catalog.rendering.graph import MAX_GRAPH_BYTES, Link, parse_graph, parse_link
from tests.support.drafts import node, parse, saving


def read(text: str) -> Any:
    return parse_graph(text, Path("graph.json"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a valid JSON graph"),
        ("{", "not a valid JSON graph"),
        ("[" * 100_000, "not a valid JSON graph"),
        ('{"a": ' * 150 + "1" + "}" * 150, "nested"),
        ('{"a": NaN}', "NaN is not valid JSON"),
        ("[]", "valid dictionary"),
        ('{"a": 1}', "node a"),
        ('{"a": {"inputs": {}}}', "node a, class_type: Field required"),
        ('{"a": {"class_type": "X"}}', "node a, inputs: Field required"),
        ('{"a": {"class_type": "X", "inputs": []}}', "node a, inputs"),
        ('{"a": {"class_type": "X", "inputs": {}, "extra": 1}}', "node a, extra: Extra inputs"),
        ('{"a": {"class_type": "X", "inputs": {}, "_meta": {"wen": "x"}}}', "node a, _meta, wen"),
        ('{"a": {"class_type": "X", "inputs": {}}, "a": {}}', "duplicate key 'a'"),
        ('{"a": {"class_type": "X", "inputs": {"x": ["b", 0]}}}', "node a, input x: links to ['b', 0]"),
        ('{"a": {"class_type": "X", "inputs": {"x": ["a", -1]}}}', "node a, input x"),
    ],
)
def test_a_graph_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(CatalogError, match=r"^graph\.json: ") as caught:
        read(text)
    assert said in str(caught.value)


def test_rejects_a_huge_file_before_parsing() -> None:
    with pytest.raises(CatalogError, match="larger than"):
        read("[" * (MAX_GRAPH_BYTES + 1))


def test_comfyuis_own_notes_are_taken() -> None:
    meta = {"title": "Sampler", "cnr_id": "comfy-core", "ver": "0.33.0"}
    assert read(json.dumps({"1": node("X", meta)}))["1"].meta.title == "Sampler"


@pytest.mark.parametrize(
    "meta",
    [
        {"bypass": {"0": "model"}},
        {"when": "{{ seed }}", "bypass": {"0": "nowhere"}},
        {"when": "{{ seed }}", "bypass": {"0": ["nowhere", 0]}},
        {"when": "{{ seed }}", "bypass": {"first": "model"}},
        {"when": "{{ seed }}", "bypass": {"0": "literal"}},
        {"when": "seed"},
        {"when": "{{ seed }}{{ seed }}"},
        {"each": "{{ nobody }}"},
        {"each": "{{ seed }}"},
    ],
)
def test_rejects_an_impossible_condition(meta: dict[str, Any]) -> None:
    guarded = node("Guarded", meta, model=["picture", 0], literal=3)
    with pytest.raises(CatalogError, match="node guarded"):
        parse(saving(guarded=guarded))


def test_no_node_is_called_like_a_copy_of_another() -> None:
    each = node("Each", {"each": "{{ loras }}"})
    with pytest.raises(CatalogError, match="node ink: no other node may be named"):
        parse(saving(ink=each, **{"ink.0": node("Other")}), parameters={"loras": {"type": "loras"}})


@pytest.mark.parametrize(
    ("value", "link"),
    [
        (["a", 0], Link("a", 0)),
        (["a", 0, 1], None),
        (["a", "0"], None),
        (["a", True], None),
        ([0, 0], None),
        ("a", None),
    ],
)
def test_only_a_node_and_a_slot_are_a_link(value: Any, link: Link | None) -> None:
    assert parse_link(value) == link
