"""Optional and repeated parts of a graph."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalog.checks.model_checks import probe_requests
from orchestrator.catalog.rendering.graph import ApiGraph
from orchestrator.catalog.rendering.render import LastRendered
from tests.support.drafts import PROMPT, SEED, node, parse, saving
from tests.support.shipped import SHIPPED_CATALOG

FLAG = {"type": "boolean"}
LORAS = {"type": "loras"}
IMAGES = {"type": "images"}


def render(graph: dict[str, Any], parameters: dict[str, Any], **params: Any) -> ApiGraph:
    model = parse(graph, parameters={"prompt": PROMPT, "seed": SEED} | parameters)
    return model.render_graph(model.example_params(**params), filename_prefix="p")


def links(graph: ApiGraph, id: str) -> dict[str, Any]:
    return {name: value for name, value in graph[id]["inputs"].items() if isinstance(value, list)}


def test_a_plain_graph_comes_out_as_it_went_in() -> None:
    graph = saving(extra=node("Curve", {"title": "A curve"}, points={"__value__": [[0, 1], [1, 0]]}, on=True))
    rendered = render(graph, {})
    assert rendered["extra"] == graph["extra"]
    assert rendered["save"]["inputs"] == {"images": ["picture", 0], "filename_prefix": "p"}


@pytest.mark.parametrize(("flag", "source"), [(True, ["blur", 0]), (False, ["picture", 0])])
def test_a_node_that_is_not_there_is_bypassed(flag: bool, source: list[Any]) -> None:
    blur = node("Blur", {"when": "{{ flag }}", "bypass": {"0": "image"}}, image=["picture", 0])
    sharpen = node("Sharpen", image=["blur", 0])
    graph = render(saving(blur=blur, sharpen=sharpen), {"flag": FLAG}, flag=flag)
    assert ("blur" in graph) is flag
    assert links(graph, "sharpen") == {"image": source}


def test_a_bypass_may_name_another_output() -> None:
    negative = node("Encode", {"when": "{{ flag }}", "bypass": {"0": ["zeroed", 0]}}, text="{{ prompt }}")
    graph = saving(zeroed=node("Zero"), negative=negative, sampler=node("Sampler", negative=["negative", 0]))
    assert links(render(graph, {"flag": FLAG}), "sampler") == {"negative": ["zeroed", 0]}
    assert links(render(graph, {"flag": FLAG}, flag=True), "sampler") == {"negative": ["negative", 0]}


def test_bypasses_follow_one_another() -> None:
    off = {"when": "{{ flag }}", "bypass": {"0": "image"}}
    first, second = node("A", off, image=["picture", 0]), node("B", off, image=["first", 0])
    graph = render(saving(first=first, second=second, end=node("C", image=["second", 0])), {"flag": FLAG})
    assert links(graph, "end") == {"image": ["picture", 0]}


def test_a_link_to_nothing_disappears_with_its_input() -> None:
    mask = node("Mask", {"when": "{{ flag }}"})
    graph = render(
        saving(mask=mask, user=node("Use", image=["picture", 0], mask=["mask", 0])), {"flag": FLAG}
    )
    assert links(graph, "user") == {"image": ["picture", 0]}


LORA = node(
    "Lora",
    {"each": "{{ loras }}", "bypass": {"0": "model"}},
    model=["picture", 0],
    name="{{ item.name }}.safetensors",
    strength="{{ item.strength }}",
    index="{{ index }}",
)


def test_a_repeated_node_is_chained() -> None:
    loras = [{"name": "ink", "strength": 0.5}, {"name": "oil"}]
    graph = render(saving(lora=LORA, user=node("Use", model=["lora", 0])), {"loras": LORAS}, loras=loras)
    assert graph["lora.0"]["inputs"] == {
        "model": ["picture", 0],
        "name": "ink.safetensors",
        "strength": 0.5,
        "index": 0,
    }
    assert graph["lora.1"]["inputs"] == {
        "model": ["lora.0", 0],
        "name": "oil.safetensors",
        "strength": 1.0,
        "index": 1,
    }
    assert links(graph, "user") == {"model": ["lora.1", 0]}


def test_a_node_repeated_no_times_is_bypassed() -> None:
    graph = render(saving(lora=LORA, user=node("Use", model=["lora", 0])), {"loras": LORAS})
    assert set(graph) == {"picture", "user", "save"}
    assert links(graph, "user") == {"model": ["picture", 0]}


def test_nodes_of_one_list_are_repeated_together() -> None:
    each = {"each": "{{ images }}"}
    load = node("LoadImage", each, image="{{ item }}")
    encode = node("VAEEncode", each, pixels=["load", 0], vae=["picture", 0])
    apply = node(
        "Reference",
        each | {"bypass": {"0": "conditioning"}},
        conditioning=["picture", 0],
        latent=["encode", 0],
    )
    graph = render(
        saving(load=load, encode=encode, apply=apply, user=node("Use", conditioning=["apply", 0])),
        {"images": IMAGES},
        images=["a.png", "b.png"],
    )
    assert [graph[f"load.{i}"]["inputs"]["image"] for i in range(2)] == ["a.png", "b.png"]
    assert links(graph, "encode.1") == {"pixels": ["load.1", 0], "vae": ["picture", 0]}
    assert links(graph, "apply.0") == {"conditioning": ["picture", 0], "latent": ["encode.0", 0]}
    assert links(graph, "apply.1") == {"conditioning": ["apply.0", 0], "latent": ["encode.1", 0]}
    assert links(graph, "user") == {"conditioning": ["apply.1", 0]}


def test_evaluates_conditions_before_repeating() -> None:
    lora = node("Lora", LORA["_meta"] | {"when": "{{ flag }}"}, **LORA["inputs"])
    graph = render(
        saving(lora=lora, user=node("Use", model=["lora", 0])),
        {"loras": LORAS, "flag": FLAG},
        loras=[{"name": "ink"}],
    )
    assert links(graph, "user") == {"model": ["picture", 0]}


@pytest.mark.parametrize("id", ["flux-2-dev", "qwen-image-edit", "wan2.1-t2v-fast"])
def test_a_graph_that_shares_nodes_with_the_one_before_is_the_same(id: str) -> None:
    model, last = SHIPPED_CATALOG[id], LastRendered()
    for request in probe_requests(model):
        params = model.example_params(**request)
        shared = model.render_graph(params, filename_prefix="p", last=last)
        assert shared == model.render_graph(params, filename_prefix="p"), request


def test_only_nodes_whose_values_changed_are_rendered_again() -> None:
    loras = node("Lora", {"each": "{{ loras }}", "bypass": {"0": "model"}}, model=["extra", 0])
    graph = saving(extra=node("Extra"), lora=loras, text=node("Text", text="{{ prompt }}"))
    model = parse(graph, parameters={"prompt": PROMPT, "seed": SEED, "loras": LORAS})
    last = LastRendered()
    first, second = [
        model.render_graph(
            model.example_params(prompt=prompt, loras=[{"name": "a"}]), filename_prefix="p", last=last
        )
        for prompt in ("a hare", "a fox")
    ]
    changed = [id for id in second if second[id] is not first[id]]
    assert changed == ["text"]
    assert second["text"]["inputs"] == {"text": "a fox"}
