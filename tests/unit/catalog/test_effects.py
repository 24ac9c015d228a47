"""Which parameters change the result of a request, found by comparing rendered graphs."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalog import Model
from orchestrator.catalog.checks.effects import (
    GUIDANCE_PARAMETERS,
    describe_ineffective,
    find_used_inputs,
    used_inputs_of_request,
)
from orchestrator.catalog.checks.model_checks import ineffective_parameters, validate_model
from tests.support.drafts import CATALOG, FACTS, node, parse, saving

MODELS = list(CATALOG)
AVOIDING = [model for model in MODELS if "negative_prompt" in model.parameters]
SAMPLING = [model for model in AVOIDING if not model.id.startswith("test-")]


def warnings_of(model: Model, **request: Any) -> tuple[str, ...]:
    return describe_ineffective(model, model.example_params(**request), request)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_every_parameter_changes_the_result_for_some_value(model: Model) -> None:
    assert ineffective_parameters(model) == []


@pytest.mark.parametrize("model", AVOIDING, ids=lambda model: model.id)
def test_a_negative_prompt_changes_the_result_or_gives_a_warning(model: Model) -> None:
    plain, avoiding = (
        used_inputs_of_request(model, model.example_params(negative_prompt=text)) for text in ("", "blur")
    )
    assert (plain == avoiding) == bool(warnings_of(model, negative_prompt="blur"))


@pytest.mark.parametrize("model", SAMPLING, ids=lambda model: model.id)
def test_guidance_above_one_gives_every_negative_prompt_an_effect(model: Model) -> None:
    scale = next(name for name in GUIDANCE_PARAMETERS if name in model.parameters)
    assert warnings_of(model, negative_prompt="blur", **{scale: 3.0}) == ()
    (warning,) = warnings_of(model, negative_prompt="blur", **{scale: 1.0})
    assert "`negative_prompt` has no effect" in warning
    assert f"send a `{scale}` above 1" in warning


def test_schnell_ignores_a_negative_prompt_at_its_default_guidance() -> None:
    schnell = CATALOG["flux-schnell"]
    assert warnings_of(schnell, negative_prompt="blur") == (
        "`negative_prompt` has no effect: the guidance of flux-1-schnell is at 1; send a `cfg_scale` above 1",
    )
    assert warnings_of(schnell, negative_prompt=" ") == ()


def test_says_which_guidance_a_model_uses_instead_of_a_lower_one() -> None:
    assert warnings_of(CATALOG["sdxl"], cfg_scale=0.5) == (
        "`cfg_scale` of 0.5 has the effect of 1, the least that sdxl-1.0 can use",
    )
    assert warnings_of(CATALOG["flux-1-dev"], cfg_scale=0.5) == ()  # an input of the network


@pytest.mark.parametrize("id", ["ltx2.3-t2v", "ltx2.3-i2v"])
def test_distilled_models_have_no_negative_prompt(id: str) -> None:
    assert "negative_prompt" not in CATALOG[id].parameters


def test_follows_conditioning_through_nodes_that_pass_two_of_them() -> None:
    graph = {
        "good": node("CLIPTextEncode", text="a"),
        "bad": node("CLIPTextEncode", text="b"),
        "pair": node("LTXVConditioning", positive=["good", 0], negative=["bad", 0], frame_rate=24.0),
        "guider": node("CFGGuider", positive=["pair", 0], negative=["pair", 1], cfg=1.0),
        "save": node("SaveImage", images=["guider", 0]),
    }
    assert "bad" not in find_used_inputs(graph, ["save"])
    assert "good" in find_used_inputs(graph, ["save"])
    patched = graph | {"patch": node("NAGuidance")}
    assert "bad" in find_used_inputs(patched, ["save"])
    graph["guider"]["inputs"]["cfg"] = 2.0
    assert "bad" in find_used_inputs(graph, ["save"])


def test_reports_a_parameter_that_no_node_uses() -> None:
    model = parse(parameters={"steps": {"type": "integer", "default": 4, "minimum": 1, "maximum": 9}})
    (problem,) = validate_model(model, FACTS)
    assert (problem.code, problem.is_warning) == ("parameter_without_effect", True)
    assert "`steps`" in str(problem)


def test_reports_a_parameter_that_only_an_unused_node_has() -> None:
    unused = node("EmptyImage", width="{{ width }}", height=64, batch_size=1, color=0)
    size = {"type": "integer", "default": 64, "minimum": 16, "maximum": 512}
    model = parse(saving(unused=unused), parameters={"width": size})
    assert ineffective_parameters(model) == ["width"]


def test_lists_no_parameter_that_is_described_as_not_used() -> None:
    model = parse(parameters={"style": {"type": "string", "description": "Not used."}})
    assert ineffective_parameters(model) == []
