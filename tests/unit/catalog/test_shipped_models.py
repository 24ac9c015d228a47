"""Every model that ships renders right graphs, for its defaults and for any request it accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.catalog import Model
from orchestrator.catalog.model_checks import EXAMPLE_LORA, check_model, check_request
from orchestrator.catalog.parameters import MAX_SEED, Image, Images, Integer, Loras, Number, Parameter, Text
from orchestrator.errors import InvalidRequest
from tests.unit.catalog.drafts import CATALOG, FACTS, node, parse, saving

MODELS = list(CATALOG)
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)


def values(spec: Parameter) -> st.SearchStrategy[Any]:
    match spec:
        case Integer():
            return st.integers(spec.minimum, spec.maximum).map(lambda value: value - value % spec.step)
        case Number():
            return st.floats(spec.minimum, spec.maximum)
        case Text():
            return st.sampled_from(spec.choices) if spec.choices else st.text(min_size=1, max_size=40)
        case Image():
            return st.just("example.png")
        case Images():
            return st.lists(st.just("example.png"), min_size=1, max_size=spec.max_items)
        case Loras():
            return st.lists(st.just({"name": EXAMPLE_LORA}), max_size=spec.max_items)
        case _:
            return st.booleans() if spec.type == "boolean" else st.integers(0, MAX_SEED)


def requests(model: Model) -> st.SearchStrategy[dict[str, Any]]:
    optional = {name: values(spec) for name, spec in model.parameters.items()}
    return st.fixed_dictionaries({}, optional=optional)


@every_model
def test_a_model_passes_its_checks(model: Model) -> None:
    assert check_model(model, FACTS) == []


@every_model
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_is_accepted_renders_to_a_right_graph(model: Model, data: st.DataObject) -> None:
    request = data.draw(requests(model))
    try:
        model.example(**request)
    except InvalidRequest:
        return
    assert check_request(model, request, FACTS) == []


@every_model
def test_every_output_has_a_prefix_of_its_own(model: Model) -> None:
    graph = model.render(model.example(), filename_prefix="job-1/attempt-1")
    for output in model.outputs:
        assert graph[output.node]["inputs"]["filename_prefix"] == "job-1/attempt-1"


@every_model
def test_the_seed_reaches_the_graph(model: Model) -> None:
    if "seed" in model.parameters:
        one, two = (model.render(model.example(seed=seed), filename_prefix="p") for seed in (1, 2))
        assert one != two


@every_model
def test_a_request_for_the_defaults_is_valid_json_schema_wise(model: Model) -> None:
    assert model.validate(model.example()) == model.example()


def test_a_bad_template_is_told_as_a_problem() -> None:
    picture = node("EmptyImage", width="{{ 640 // seed }}", height=8, batch_size=1, color=0)
    with pytest.raises(Exception, match="zero"):
        parse(saving(picture=picture))
    hidden = node(
        "EmptyImage", width="{{ 640 // (seed - 18446744073709551615) }}", height=8, batch_size=1, color=0
    )
    problems = check_model(parse(saving(picture=hidden)), FACTS)
    assert {problem.code for problem in problems} == {"template_error", "value_smaller_than_min"}


def test_an_output_must_save_something() -> None:
    model = parse(outputs=[{"node": "picture", "media": "image"}])
    assert [problem.code for problem in check_model(model, FACTS)] == ["output_missing"]
    guarded = saving()
    guarded["save"]["_meta"] = {"when": "{{ seed == 0 }}"}
    assert "output_missing" in [problem.code for problem in check_model(parse(guarded), FACTS)]


def test_the_repository_holds_what_the_document_lists() -> None:
    first = {"flux-1-schnell", "sdxl-1.0", "4x-ultrasharp", "wan2.1-t2v-fast", "wan2.1-i2v-480p"}
    assert first <= {model.id for model in MODELS}


def test_a_model_on_disk_is_data_only() -> None:
    folders = {Path(model_file).parent for model_file in Path(__file__).parents[3].glob("workflows/*/*")}
    for folder in folders:
        assert {file.name for file in folder.iterdir()} <= {"model.toml", "graph.json", "nodes.json"}
