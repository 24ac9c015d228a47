"""Every model that ships renders right graphs, for its defaults and for any request it accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalog import Model, ModelKind
from orchestrator.catalog.checks.model_checks import EXAMPLE_LORA, validate_model, validate_rendered_graph
from orchestrator.catalog.parameters.values import (
    ImageListParameter,
    ImageParameter,
    IntegerParameter,
    LoraListParameter,
    NumberParameter,
    Parameter,
    SeedParameter,
    TextParameter,
    VideoParameter,
)
from orchestrator.catalog.tasks import Task, find_tasks
from orchestrator.errors import InvalidRequest
from pricing.tariff import Tariff
from tests.support.drafts import CATALOG, FACTS, node, parse, saving, unhurried
from tests.support.repeats import tries

MODELS = list(CATALOG)
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)


def values(spec: Parameter) -> st.SearchStrategy[Any]:
    match spec:
        case IntegerParameter():
            return st.integers(spec.minimum, spec.maximum).map(lambda value: value - value % spec.step)
        case NumberParameter():
            return st.floats(spec.minimum, spec.maximum)
        case TextParameter():
            return st.sampled_from(spec.choices) if spec.choices else st.text(min_size=1, max_size=40)
        case ImageParameter():
            return st.just("example.png")
        case VideoParameter():
            return st.just("example.mp4")
        case ImageListParameter():
            return st.lists(st.just("example.png"), min_size=1, max_size=spec.max_items)
        case LoraListParameter():
            return st.lists(st.just({"name": EXAMPLE_LORA}), max_size=spec.max_items)
        case SeedParameter():
            return st.integers(0, spec.max)
        case _:
            return st.booleans()


def requests(model: Model) -> st.SearchStrategy[dict[str, Any]]:
    optional = {name: values(spec) for name, spec in model.parameters.items()}
    return st.fixed_dictionaries({}, optional=optional)


@every_model
def test_a_model_passes_its_checks(model: Model) -> None:
    assert validate_model(model, FACTS) == []


@pytest.mark.exhaustive
@every_model
@settings(unhurried, max_examples=tries(15))
@given(data=st.data())
def test_whatever_is_accepted_renders_to_a_right_graph(model: Model, data: st.DataObject) -> None:
    request = data.draw(requests(model))
    try:
        model.example_params(**request)
    except InvalidRequest:
        return
    assert validate_rendered_graph(model, request, FACTS) == []


@every_model
def test_every_output_has_a_prefix_of_its_own(model: Model) -> None:
    graph = model.render_graph(model.example_params(), filename_prefix="job-1/attempt-1")
    for output in model.outputs:
        inputs = graph[output.node]["inputs"]
        assert inputs.get("filename_prefix", inputs.get("prefix")) == "job-1/attempt-1"


@every_model
def test_the_seed_reaches_the_graph(model: Model) -> None:
    if "seed" in model.parameters:
        one, two = (
            model.render_graph(model.example_params(seed=seed), filename_prefix="p") for seed in (1, 2)
        )
        assert one != two


@every_model
def test_refuses_seeds_whose_last_one_is_above_the_largest(model: Model) -> None:
    spec = model.parameters.get("seed")
    if not isinstance(spec, SeedParameter):
        return
    assert model.example_params(seed=spec.max)["seed"] == spec.max
    assert validate_rendered_graph(model, {"seed": spec.max}, FACTS) == []
    if model.max_n == 1:
        return
    assert model.example_params(seed=spec.max - 1, n=2)["n"] == 2
    with pytest.raises(InvalidRequest) as refused:
        model.example_params(seed=spec.max, n=2)
    assert refused.value.param == "seed"
    message = refused.value.message
    assert all(str(number) in message for number in (spec.max, spec.max - 1, "`n` 2")), message


@every_model
def test_a_request_for_the_defaults_is_valid_json_schema_wise(model: Model) -> None:
    assert model.validate_params(model.example_params()) == model.example_params()


def test_reports_an_invalid_template() -> None:
    picture = node("EmptyImage", width="{{ 640 // seed }}", height=8, batch_size=1, color=0)
    with pytest.raises(Exception, match="zero"):
        parse(saving(picture=picture))
    hidden = node(
        "EmptyImage", width="{{ 640 // (seed - 18446744073709551615) }}", height=8, batch_size=1, color=0
    )
    problems = validate_model(parse(saving(picture=hidden)), FACTS)
    errors = {problem.code for problem in problems if not problem.is_warning}
    assert errors == {"template_error", "value_smaller_than_min"}


def test_an_output_must_save_something() -> None:
    model = parse(outputs=[{"node": "picture", "media": "image"}])
    errors = [problem.code for problem in validate_model(model, FACTS) if not problem.is_warning]
    assert errors == ["output_missing"]
    guarded = saving()
    guarded["save"]["_meta"] = {"when": "{{ seed == 0 }}"}
    assert "output_missing" in [problem.code for problem in validate_model(parse(guarded), FACTS)]


# The Pixel Factory document: model, default steps, largest resolution.
DOCUMENTED = {
    "flux-1-schnell": (4, "2048x2048"),
    "flux-1-dev": (20, "2048x2048"),
    "flux-2-dev": (30, "2048x2048"),
    "sdxl-1.0": (30, "2048x2048"),
    "4x-ultrasharp": (1, "8192x8192"),
    "wan2.1-t2v-fast": (20, "832x480"),
    "wan2.1-t2v-pro": (30, "832x480"),
    "wan2.2-t2v-14b": (30, "1280x720"),
    "ltx2-t2v": (30, "1280x720"),
    "cogvideox-1.5-5b": (50, "1360x768"),
    "hunyuan-video-720p": (30, "1280x720"),
    "wan2.1-i2v-480p": (20, "832x480"),
    "wan2.1-i2v-720p": (20, "1280x720"),
    "wan2.2-i2v-14b": (20, "1280x720"),
}


@pytest.mark.parametrize(("id", "expected"), DOCUMENTED.items())
def test_documented_models_have_the_documents_defaults(id: str, expected: tuple[int, str]) -> None:
    model = CATALOG[id]
    assert (model.default_steps, model.manifest.max_resolution) == expected
    assert model.price_class == id
    if model.makes_video:
        assert (model.parameters["num_frames"].default, model.parameters["fps"].default) == (81, 16)
    elif model.kind is ModelKind.IMAGE:
        assert (model.parameters["width"].default, model.parameters["height"].default) == (1024, 1024)
    if model.kind is ModelKind.I2V or model.kind is ModelKind.UPSCALE:
        assert model.parameters["image"].required


@pytest.mark.parametrize(
    ("alias", "id"),
    [
        ("sdxl", "sdxl-1.0"),
        ("flux-schnell", "flux-1-schnell"),
        ("cogvideo-2b", "cogvideox-2b"),
        ("upscale-4x", "4x-ultrasharp"),
        ("flux-dev", "flux-1-dev"),
        ("flux-krea-dev", "flux-1-krea-dev"),
        ("flux-fill-dev", "flux-1-fill-dev"),
        ("flux-edit", "flux-1-kontext-dev"),
        ("flux-kontext-restore-image", "flux-1-kontext-restore"),
        ("image-to-image-flux", "flux-1-dev-image-to-image"),
        ("redux-flux", "flux-1-redux-dev"),
        ("outpaint", "flux-1-outpaint"),
        ("flux-2-klein-4b", "flux-2-klein-4b"),
        ("flux-2-klein-9b", "flux-2-klein-9b"),
        ("qwen-image-edit", "qwen-image-edit"),
        ("z-image-turbo", "z-image-turbo"),
        ("wan-image", "wan2.2-image"),
        ("hunyuan-3d", "hunyuan-3d"),
        ("ernie", "ernie-image"),
        ("ltx-2-fast-t2v", "ltx2.3-t2v"),
        ("ltx-2-fast-i2v", "ltx2.3-i2v"),
        ("ltx-2-pro-t2v", "ltx2.3-pro-t2v"),
        ("ltx-2-pro-i2v", "ltx2.3-pro-i2v"),
        ("ltx-2-pro-extend", "ltx2.3-extend"),
        ("wan-2.2-animate", "wan2.2-animate"),
        ("wan-2.2-replace", "wan2.2-replace"),
        ("wan-video-character-swap", "wan2.2-replace"),
        ("hidream-edit", "hidream-o1"),
        ("change-camera-angle", "qwen-image-edit-2511-angles"),
        ("image-relighting", "qwen-image-edit-2511"),
        ("image-editor", "flux-1-kontext-dev"),
        ("consistent-characters", "flux-1-kontext-dev"),
        ("creative-upscale", "creative-upscale"),
        ("flux", "flux-1-dev"),
        ("ponyxl-ponyrealism-v23", "ponyxl-ponyrealism-v23"),
        ("ponyxl-tponynai3-v7", "ponyxl-tponynai3-v7"),
        ("ponyxl-waianinsfwponyxl-v140", "ponyxl-waianinsfwponyxl-v140"),
    ],
)
def test_the_other_documents_ids_are_known(alias: str, id: str) -> None:
    assert CATALOG[alias].id == id


@pytest.mark.parametrize(
    ("name", "task", "id"),
    [
        ("flux", Task.GENERATE, "flux-1-dev"),
        ("flux", Task.EDIT, "flux-1-kontext-dev"),
        ("flux", Task.MASK, "flux-1-fill-dev"),
        ("flux", Task.VARIATION, "flux-1-redux-dev"),
        *(
            (f"wan-2.2-{name}", task, f"wan2.2-{kind}-14b")
            for name in ("standard", "extended", "plus")
            for task, kind in ((Task.VIDEO, "t2v"), (Task.IMAGE_VIDEO, "i2v"))
        ),
    ],
)
def test_names_with_a_model_per_task(name: str, task: Task, id: str) -> None:
    assert CATALOG.resolve(name, task).id == id


@pytest.mark.parametrize("name", ["wan-2.2-standard", "wan-2.2-extended", "wan-2.2-plus"])
def test_a_start_image_chooses_the_model_for_images(name: str) -> None:
    for images, has_prompt, id in ((0, True, "wan2.2-t2v-14b"), (1, True, "wan2.2-i2v-14b")):
        tasks = find_tasks(image_count=images, has_prompt=has_prompt)
        assert CATALOG.resolve(name, *tasks).id == id


def test_aliases_by_task_name_models_of_the_catalog() -> None:
    rows = [row for model in MODELS for row in model.manifest.alias_tasks.values()]
    assert rows
    assert all(name in CATALOG for row in rows for name in row.names())


@every_model
def test_every_choice_is_explained(model: Model) -> None:
    assert model.source.manifest.startswith("# ")
    assert all(spec.description for spec in model.parameters.values())


@every_model
def test_every_file_can_be_had(model: Model) -> None:
    for weight in model.manifest.weights:
        # Checkpoints of the community that are behind an account: an operator puts them there.
        source = weight.source.url if weight.source else ""
        assert weight.url or source or model.id.startswith("ponyxl-"), weight.path
        # Of some published NVFP4 files no listing states the size: the first download shows it.
        assert weight.bytes or (weight.dtype == "nvfp4" and not weight.sha256), weight.path
        assert weight.license, weight.path


@every_model
def test_every_model_has_a_price(model: Model) -> None:
    assert model.price_class in Tariff.load()


def test_a_model_on_disk_is_data_only() -> None:
    folders = {Path(model_file).parent for model_file in Path(__file__).parents[3].glob("workflows/*/*")}
    for folder in folders:
        assert {file.name for file in folder.iterdir()} <= {"model.toml", "graph.json", "nodes.json"}
