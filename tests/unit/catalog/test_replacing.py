"""A new version of a model keeps what its author decided about the one before."""

from __future__ import annotations

import copy
import json
from datetime import date
from typing import Any

import pytest

from orchestrator.catalog.publishing.submission import Knowledge, Submission, SubmittedModel, build_model
from orchestrator.errors import InvalidRequest
from tests.support.canvas import drawn
from tests.support.drafts import FACTS
from tests.support.shipped import SHIPPED_CATALOG

KNOWLEDGE = Knowledge(
    facts=FACTS, comfyui_version="0.33.0", offered=list(SHIPPED_CATALOG), today=date(2026, 7, 1)
)
DECIDED = {
    "name": "Hares",
    "description": "Draws hares.",
    "license": "apache-2.0",
    "owner": "Studio",
    "price_class": "flux-1-schnell",
    "estimates": {"vram_bytes": 8_000_000_000, "step_seconds": 0.2},
    "parameters": {
        "steps": {"maximum": 40},
        "prompt": {"name": "caption"},
        "cfg_scale": None,
    },
}


def submit(prompt: Any = None, manifest: Any = None, earlier: SubmittedModel | None = None) -> SubmittedModel:
    submission = Submission(
        id="hare",
        prompt=drawn() if prompt is None else prompt,
        manifest=manifest or {},
        default_owner="studio-key",
        earlier=earlier.files if earlier else {},
    )
    return build_model(submission, KNOWLEDGE)


def with_input(node: str, **inputs: Any) -> dict[str, Any]:
    graph = copy.deepcopy(drawn())
    graph[node]["inputs"] |= inputs
    return graph


def test_keeps_texts_price_estimates_names_and_ranges() -> None:
    first = submit(manifest=DECIDED)
    second = submit(with_input("sampler", steps=12), earlier=first)
    old, new = first.model.manifest, second.model.manifest
    for field in ("name", "description", "license", "owner", "price_class", "kind", "resources"):
        assert getattr(new, field) == getattr(old, field), field
    assert second.taken_from == ""
    assert list(second.model.parameters) == list(first.model.parameters)
    steps = json.loads(second.model.parameters["steps"].model_dump_json())
    assert (steps["default"], steps["maximum"]) == (12, 40)
    assert "cfg_scale" not in second.model.parameters
    said = "; ".join(second.kept)
    for words in ("price_class", "license", "named caption", "cfg_scale stays fixed"):
        assert words in said
    assert second.missing == {}
    assert second.model.example_params()["caption"] == first.model.example_params()["caption"]


def test_the_request_changes_what_is_kept() -> None:
    first = submit(manifest=DECIDED)
    changes = {
        "price_class": "flux-2-dev",
        "owner": "Others",
        "parameters": {"steps": {"maximum": 60}, "cfg_scale": {"maximum": 9}, "caption": {"name": "prompt"}},
    }
    second = submit(manifest=changes, earlier=first)
    assert (second.model.price_class, second.model.manifest.owner) == ("flux-2-dev", "Others")
    parameters = second.model.parameters
    assert {"steps", "cfg_scale", "prompt"} <= parameters.keys()
    assert json.loads(parameters["steps"].model_dump_json())["maximum"] == 60
    assert second.model.manifest.license == "apache-2.0"


def test_the_changes_of_the_first_request_may_be_sent_again() -> None:
    first = submit(manifest=DECIDED)
    second = submit(manifest=DECIDED, earlier=first)
    assert second.model.parameters == first.model.parameters
    assert second.model.manifest == first.model.manifest


def test_a_default_outside_of_the_former_range_is_told() -> None:
    first = submit(manifest=DECIDED)
    second = submit(with_input("sampler", steps=50), earlier=first)
    steps = json.loads(second.model.parameters["steps"].model_dump_json())
    assert steps["default"] == 50
    assert steps["maximum"] >= 50
    assert any("steps: its default 50 is outside" in note for note in second.kept)


def test_what_is_new_in_the_graph_becomes_a_parameter() -> None:
    first = submit(manifest=DECIDED)
    graph = with_input("sampler", positive=["more", 0])
    graph["more"] = copy.deepcopy(graph["text"])
    del graph["text"]
    second = submit(graph, earlier=first)
    assert "prompt" in second.model.parameters


def test_a_version_that_cannot_be_read_has_nothing_to_keep() -> None:
    first = submit(manifest=DECIDED)
    broken = Submission(id="hare", prompt=drawn(), earlier={**first.files, "model.toml": "= nonsense"})
    assert build_model(broken, KNOWLEDGE).model.name == "Hare"


@pytest.mark.parametrize("text", ["a hare", "a {{ hare }} {% x"])
def test_a_fixed_prompt_is_the_text_of_the_graph(text: str) -> None:
    built = submit(with_input("text", text=text), {"parameters": {"prompt": None}})
    assert "prompt" not in built.model.parameters
    rendered = built.model.render_graph(built.model.example_params(), filename_prefix="x")
    assert rendered["text"]["inputs"]["text"] == text


def test_a_renamed_prompt_keeps_its_example() -> None:
    built = submit(with_input("text", text="a hare"), {"parameters": {"prompt": {"name": "caption"}}})
    assert built.model.manifest.example["caption"] == "a hare"
    rendered = built.model.render_graph(built.model.example_params(caption="a fox"), filename_prefix="x")
    assert rendered["text"]["inputs"]["text"] == "a fox"


def test_a_renamed_image_and_the_price_stay() -> None:
    graph = with_input("sampler", latent_image=["encode", 0])
    graph["load"] = {"class_type": "LoadImage", "inputs": {"image": "hare.png"}}
    graph["encode"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["load", 0], "vae": ["model", 2]}}
    assert "image" in submit(graph).model.parameters
    renamed = submit(graph, {"parameters": {"image": {"name": "picture"}}})
    assert renamed.model.manifest.example["picture"] == "hare.png"
    again = submit(graph, {"price_class": "flux-1-schnell"}, renamed)
    assert "picture" in again.model.parameters
    assert submit(graph, earlier=again).model.price_class == "flux-1-schnell"


def test_results_of_a_batch_are_those_of_the_graph_unless_the_author_says_otherwise() -> None:
    first = submit(with_input("latent", batch_size=4))
    assert first.model.manifest.batch == 4
    corrected = submit(with_input("latent", batch_size=4), {"batch": 1}, first)
    assert corrected.model.manifest.batch == 1
    again = submit(with_input("latent", batch_size=4), earlier=corrected)
    assert again.model.manifest.batch == 1
    more = submit(with_input("latent", batch_size=6), earlier=corrected)
    assert more.model.manifest.batch == 6
    assert any("6, which callers pay for" in note for note in more.kept)
    one = submit(earlier=more)
    assert one.model.manifest.batch == 1
    with pytest.raises(InvalidRequest, match="batch"):
        submit(manifest={"batch": 0})
