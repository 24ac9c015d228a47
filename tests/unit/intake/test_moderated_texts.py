"""Moderation checks what a result may show: prompts and captions, not the words that it must avoid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import TextParameter
from orchestrator.intake.moderated_texts import moderated_texts
from tests.support.shipped import SHIPPED_CATALOG as CATALOG

NEGATIVE_MODELS = [model for model in CATALOG if "negative_prompt" in model.parameters]


def imported(negative_name: str, cfg: str) -> Model:
    """Return a model as an author may write one: another name, and the guidance as it is given."""
    manifest = f"""
id = "drawn"
name = "Drawn"
kind = "image"
owner = "someone"
architecture = "sdxl"
description = "Drawn by hand."
license = "MIT"
created = 2026-01-01
max_resolution = "1024x1024"
price_class = "sdxl-1.0"
[parameters.prompt]
type = "string"
[parameters.{negative_name}]
type = "string"
[parameters.guidance]
type = "number"
default = 7.0
minimum = 0.0
maximum = 30.0
[[outputs]]
node = "save"
media = "image"
[requires]
comfyui = "0.3.64"
[resources]
vram_bytes = 1
load_seconds = 1.0
step_seconds = 1.0
fixed_seconds = 1.0
"""
    graph = {
        "sampler": {
            "class_type": "KSampler",
            "inputs": {"text": "{{ prompt }}", "avoid": f"{{{{ {negative_name} }}}}", "cfg": cfg},
        },
        "save": {"class_type": "SaveImage", "inputs": {"images": ["sampler", 0]}},
    }
    return Model.parse(manifest, json.dumps(graph), Path("drawn"))


def checked(model: Model, **given: Any) -> dict[str, str]:
    return moderated_texts(model, model.example_params(**given), {})


@pytest.mark.parametrize("model", NEGATIVE_MODELS, ids=lambda model: model.id)
@pytest.mark.parametrize("scale", [None, 0.0, 0.5, 1.0, 3.5])
def test_leaves_negative_prompts_of_shipped_models_alone(model: Model, scale: float | None) -> None:
    given = {} if scale is None or "cfg_scale" not in model.parameters else {"cfg_scale": scale}
    texts = checked(model, prompt="a fox", negative_prompt="words to avoid", **given)
    assert texts["prompt"] == "a fox"
    assert "negative_prompt" not in texts


@pytest.mark.parametrize("model", list(CATALOG), ids=lambda model: model.id)
def test_checks_every_other_text_and_the_captions(model: Model) -> None:
    params = model.example_params()
    names = {name for name, spec in model.parameters.items() if isinstance(spec, TextParameter)}
    written = {name: f"text of {name}" for name in names}
    texts = moderated_texts(model, {**params, **written}, {"dataset": "a caption"})
    assert texts == {name: text for name, text in written.items() if name != "negative_prompt"} | {
        "dataset": "a caption"
    }


@pytest.mark.parametrize(
    "name", ["negative_prompt", "negative", "neg_prompt", "negative_prompt_2", "text_negative"]
)
def test_knows_negative_prompts_by_their_names(name: str) -> None:
    model = imported(name, "{{ guidance }}")
    assert checked(model, prompt="a fox", **{name: "words to avoid"}) == {"prompt": "a fox"}


@pytest.mark.parametrize("name", ["negation", "prompt_2", "style", "negatives_of_film"])
def test_checks_texts_with_similar_names(name: str) -> None:
    model = imported(name, "{{ guidance }}")
    assert checked(model, prompt="a fox", **{name: "a text"}) == {"prompt": "a fox", name: "a text"}


@pytest.mark.parametrize(("guidance", "is_checked"), [(0.0, True), (0.99, True), (1.0, False), (7.0, False)])
def test_checks_a_negative_prompt_that_the_result_shows(guidance: float, is_checked: bool) -> None:
    """With a guidance of 0 a sampler draws the negative prompt and nothing else."""
    model = imported("negative_prompt", "{{ guidance }}")
    texts = checked(model, prompt="a fox", negative_prompt="a text", guidance=guidance)
    assert ("negative_prompt" in texts) == is_checked
    raised = imported("negative_prompt", "{{ [guidance, 1.0] | max }}")
    assert "negative_prompt" not in checked(
        raised, prompt="a fox", negative_prompt="a text", guidance=guidance
    )


@pytest.mark.parametrize(
    ("text", "is_checked"),
    [
        ("(word:-1.2)", True),
        ("word (other: -.5)", True),
        ("(word:1.2)", False),
        ("ratio 3:2 - blurred", False),
    ],
)
def test_checks_a_negative_prompt_with_a_weight_below_zero(text: str, is_checked: bool) -> None:
    texts = checked(CATALOG["sdxl-1.0"], prompt="a fox", negative_prompt=text)
    assert ("negative_prompt" in texts) == is_checked
