"""What a submitted graph becomes: a report, an author's changes, and the refusal of hostile graphs."""

from __future__ import annotations

import copy
import json
import tomllib
from datetime import date
from typing import Any

import pytest

from orchestrator.catalog import CatalogError
from orchestrator.catalog.example_files import EXAMPLES_NAME
from orchestrator.catalog.import_export import InvalidWorkflow
from orchestrator.catalog.publishing.manifest_edits import apply_edits
from orchestrator.catalog.publishing.refusals import unusable
from orchestrator.catalog.publishing.submission import (
    WORKFLOW_NAME,
    Knowledge,
    Submission,
    SubmittedModel,
    build_model,
    check_publishable,
)
from orchestrator.catalog.publishing.task_checks import check_task
from orchestrator.catalog.rendering.expressions import compile_template
from orchestrator.errors import InvalidRequest
from orchestrator.web.admin.trial_runs import check_test_params
from tests.support.canvas import drawn, sdxl
from tests.support.drafts import FACTS
from tests.support.shipped import SHIPPED_CATALOG

KNOWLEDGE = Knowledge(
    facts=FACTS, comfyui_version="0.33.0", offered=list(SHIPPED_CATALOG), today=date(2026, 7, 1)
)
COMPLETE = {"license": "mit", "owner": "us", "estimates": {"vram_bytes": 8_000_000_000, "step_seconds": 0.2}}


def submit(prompt: Any = None, **fields: Any) -> SubmittedModel:
    given: dict[str, Any] = {
        "id": "hare",
        "prompt": drawn() if prompt is None else prompt,
        "manifest": COMPLETE,
    }
    return build_model(Submission(**(given | fields)), KNOWLEDGE)


def refusal_of(prompt: Any, **fields: Any) -> str:
    """Why a graph is refused, at once or because no server would run it."""
    try:
        built = submit(prompt, **fields)
    except (InvalidRequest, InvalidWorkflow) as error:
        return str(error)
    return "" if built.usable else str(unusable("hare", built.problems))


def wrong(built: SubmittedModel) -> set[tuple[str, str]]:
    return {(problem.node, problem.code) for problem in built.problems if not problem.is_warning}


def with_input(node: str, **inputs: Any) -> dict[str, Any]:
    graph = copy.deepcopy(drawn())
    graph[node]["inputs"] |= inputs
    return graph


def test_a_plain_graph_is_usable_and_complete() -> None:
    built = submit()
    assert (built.usable, built.missing) == (True, {})
    assert check_publishable(built.files, FACTS).digest == built.model.digest
    assert built.model.manifest.license == "mit"
    assert built.model.manifest.resources.vram_bytes == 8_000_000_000


def test_what_is_unknown_is_missing_and_never_live() -> None:
    built = submit(manifest={})
    assert set(built.missing) == {"license", "owner", "estimates"}
    with pytest.raises(InvalidRequest, match="cannot be live") as error:
        check_publishable(built.files, FACTS)
    assert set(error.value.details["missing"]) == set(built.missing)
    for license in ("unknown", " Unknown ", "imported"):
        assert "license" in submit(manifest=COMPLETE | {"license": license}).missing


def test_license_and_estimates_are_taken_from_a_model_with_the_same_weights() -> None:
    known = SHIPPED_CATALOG["sdxl-1.0"]
    checkpoint = next(row for row in known.manifest.weights if row.folder == "checkpoints")
    built = submit(with_input("model", ckpt_name=checkpoint.file), manifest={"owner": "us"})
    assert built.taken_from
    assert built.missing == {}
    manifest = built.model.manifest
    assert manifest.license == known.manifest.license
    assert manifest.resources.vram_bytes > 0
    assert (manifest.weights[0].url, manifest.weights[0].sha256) == (checkpoint.url, checkpoint.sha256)


def test_an_author_changes_renames_and_fixes_parameters() -> None:
    changes = {"steps": {"maximum": 40, "default": 12, "name": "rounds"}, "cfg_scale": None}
    built = submit(manifest=COMPLETE | {"parameters": changes, "description": "A hare."})
    parameters = built.model.parameters
    assert "steps" not in parameters
    assert "cfg_scale" not in parameters
    rounds = json.loads(parameters["rounds"].model_dump_json())
    assert (rounds["maximum"], rounds["default"]) == (40, 12)
    graph = built.model.render_graph(built.model.example_params(), filename_prefix="x")
    assert (graph["sampler"]["inputs"]["steps"], graph["sampler"]["inputs"]["cfg"]) == (12, 7.0)
    graph = built.model.render_graph(built.model.example_params(rounds=3), filename_prefix="x")
    assert graph["sampler"]["inputs"]["steps"] == 3


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"parameters": {"nope": {}}}, "there is no 'nope'"),
        ({"parameters": {"steps": {"minimum": "x"}}}, "steps"),
        ({"parameters": {"steps": {"name": "cfg_scale"}}}, "taken"),
        ({"parameters": {"steps": {"name": 7}}}, "taken already or no text"),
        ({"parameters": {"steps": {"name": "Bad Name"}}}, "Bad Name"),
        ({"parameters": {"steps": {"surprise": 1}}}, "surprise"),
        ({"parameters": []}, "must be an object"),
        ({"parameters": {"steps": 5}}, "must be an object"),
        ({"weights": []}, "has no field 'weights'"),
        ({"outputs": []}, "has no field 'outputs'"),
        ({"id": "other"}, "has no field 'id'"),
        ({"estimates": {"vram": 1}}, "vram"),
        ({"estimates": {"vram_bytes": -1}}, "vram_bytes"),
        ({"kind": "song"}, "kind"),
        ({"license": ["mit"]}, "license"),
        ({"license": "a\ud800"}, "license: .* half of a character"),
        ({"name": ""}, "name"),
        ({"max_resolution": "big"}, "max_resolution"),
        ({"price_class": "../x"}, "price_class"),
        ({"owner": {"a": {"b": None}}}, "written|owner"),
        ({"license": None}, "license: must not be null"),
        ({"batch": "4"}, "batch"),
    ],
)
def test_rejects_a_change_that_makes_no_model(manifest: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        submit(manifest=COMPLETE | manifest)


def test_a_fixed_value_takes_the_place_of_its_parameter_in_expressions() -> None:
    inputs = {"a": "{{ rounds }}", "b": "{{ rounds + 1 }}", "c": "{{ item.rounds }} 'rounds'"}
    meta = {"when": "{{ rounds > 2 }}", "each": "{{ loras }}"}
    graph = {"1": {"inputs": inputs, "_meta": meta}}
    loras = [{"name": "ink \N{LATIN SMALL LETTER E WITH ACUTE}", "strength": 1.0}]
    parameters = {"rounds": {"type": "integer", "default": 3}, "loras": {"type": "loras", "default": loras}}
    manifest = {"parameters": parameters, "resources": {}}
    changed, fixed = apply_edits(manifest, graph, {"parameters": {"rounds": None, "loras": None}})
    assert changed["parameters"] == {}
    assert fixed["1"]["inputs"] == {"a": 3, "b": "{{ 3 + 1 }}", "c": "{{ item.rounds }} 'rounds'"}
    assert compile_template(fixed["1"]["_meta"]["when"], frozenset())({}) is True
    assert compile_template(fixed["1"]["_meta"]["each"], frozenset())({}) == loras
    _, renamed = apply_edits(manifest, graph, {"parameters": {"rounds": {"name": "n_rounds"}}})
    assert renamed["1"]["inputs"]["b"] == "{{ n_rounds + 1 }}"


@pytest.mark.parametrize(
    "text",
    ["steps of a {{ steps }} hare", "\"steps\" 'steps' {% steps %}", "a\\nb \\ {{ 'steps' }} }}", "{# steps"],
)
def test_texts_that_name_a_parameter_stay_when_it_is_renamed_or_fixed(text: str) -> None:
    graph = with_input("save", filename_prefix=text)
    graph["note"] = {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": text, "clip": ["model", 1]},
        "_meta": {},
    }
    graph["sampler"]["inputs"]["negative"] = ["note", 0]
    for change in ({"name": "rounds"}, None):
        edits = {"parameters": {"steps": change, "negative_prompt": None, "prompt": None}}
        built = submit(graph, manifest=COMPLETE | edits)
        rendered = built.model.render_graph(built.model.example_params(), filename_prefix="x")
        assert rendered["note"]["inputs"]["text"] == text


def test_a_fixed_seed_is_that_of_the_graph() -> None:
    built = submit(with_input("sampler", seed=77), manifest=COMPLETE | {"parameters": {"seed": None}})
    assert "seed" not in built.model.parameters
    assert built.fixed_inputs["sampler.seed"] == 77
    assert "sampler.steps" not in built.fixed_inputs
    graph = built.model.render_graph(built.model.example_params(), filename_prefix="x")
    assert graph["sampler"]["inputs"]["seed"] == 77


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "//etc/passwd",
        "../../outside.safetensors",
        "a/../../outside.safetensors",
        "..\\outside.safetensors",
        "C:\\windows\\x.safetensors",
        "\\\\server\\share\\x.safetensors",
        "~/x.safetensors",
        "file:///etc/passwd",
        "  /etc/passwd",
        "..",
    ],
)
def test_rejects_paths_that_lead_outside(text: str) -> None:
    refused = refusal_of(with_input("model", ckpt_name=text))
    assert "node model" in refused or ".." in refused or "path" in refused
    odd = {"class_type": "Foo", "inputs": {"anything": {"deep": [text]}}, "_meta": {}}
    assert "node odd, input anything" in refusal_of(drawn() | {"odd": odd} | _using("odd"))
    assert "node save, input image" in refusal_of(with_input("save", image=text))


def _using(node: str) -> dict[str, Any]:
    inputs = {"images": [node, 0], "filename_prefix": "y"}
    return {"last": {"class_type": "SaveImage", "inputs": inputs, "_meta": {}}}


def test_prompts_may_look_like_paths() -> None:
    for text in ("/imagine a hare", "wait... what", "and/or .. so", "../ is a path"):
        built = submit(with_input("text", text=text))
        assert wrong(built) == set(), text


HOSTILE = "{{ ''.__class__.__mro__ }}{% for i in range(10**9) %}x{% endfor %}{{ config }}{# x #}"


def test_jinja_in_every_text_stays_text() -> None:
    graph = json.loads(json.dumps(drawn()).replace('"base.safetensors"', json.dumps(HOSTILE)))
    for node in graph.values():
        node["_meta"]["title"] = HOSTILE
    graph["text"]["inputs"]["text"] = HOSTILE
    graph["sampler"]["inputs"]["sampler_name"] = HOSTILE
    graph["save"]["inputs"]["filename_prefix"] = HOSTILE
    built = submit(graph)
    rendered = built.model.render_graph(built.model.example_params(prompt="a hare"), filename_prefix="result")
    assert rendered["model"]["inputs"]["ckpt_name"] == HOSTILE
    assert rendered["sampler"]["inputs"]["sampler_name"] == HOSTILE
    assert rendered["save"]["inputs"]["filename_prefix"] == "result"
    assert not built.usable


def test_jinja_in_changes_stays_text() -> None:
    built = submit(manifest=COMPLETE | {"description": HOSTILE, "name": HOSTILE, "license": HOSTILE})
    assert built.model.description == HOSTILE
    assert tomllib.loads(built.files["model.toml"])["name"] == HOSTILE


def test_names_unknown_classes() -> None:
    graph = drawn() | {"odd": {"class_type": "FooNode", "inputs": {}, "_meta": {}}} | _using("odd")
    built = submit(graph)
    assert ("odd", "missing_node_type") in wrong(built)
    assert "FooNode" in built.imported.unknown_classes
    facts = {
        "FooNode": {
            "input": {"required": {}},
            "output": ["IMAGE"],
            "output_name": ["IMAGE"],
            "output_is_list": [False],
            "output_node": False,
        }
    }
    pack = {"id": "foo", "url": "https://x.test/foo", "commit": "abc"}
    known = submit(graph, object_info=facts, packs=[pack])
    assert wrong(known) == set()
    assert "FooNode" in known.files["nodes.json"]
    assert [(pack.name, pack.url, pack.ref) for pack in known.model.requires.packs] == [
        ("foo", "https://x.test/foo", "abc")
    ]
    assert check_publishable(known.files, FACTS).id == "hare"


def test_facts_of_an_author_do_not_replace_known_ones() -> None:
    lie = copy.deepcopy(FACTS["CheckpointLoaderSimple"])
    lie["input"]["required"]["ckpt_name"] = ["STRING", {"multiline": True}]
    built = submit(with_input("model", ckpt_name="../../x"), object_info={"CheckpointLoaderSimple": lie})
    assert not built.usable


@pytest.mark.parametrize(
    "facts", [{"Foo": None}, {"Foo": {}}, {"Foo": {"input": []}}, {"Foo": {"input": {"required": [1]}}}]
)
def test_rejects_facts_that_are_none(facts: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="object_info"):
        submit(object_info=facts)


def test_names_a_cycle() -> None:
    refused = refusal_of(with_input("model", ckpt_name=["sampler", 0]))
    assert "depend on each other" in refused


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"1": {}},
        {"1": 5},
        {"nodes": []},
        {"1": {"class_type": 5, "inputs": {}}},
        {"nodes": 5, "links": []},
    ],
)
def test_rejects_what_is_no_graph(graph: Any) -> None:
    with pytest.raises((InvalidRequest, InvalidWorkflow)):
        submit(graph)


def test_rejects_a_deep_graph_and_one_of_many_nodes() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    with pytest.raises((InvalidRequest, InvalidWorkflow)):
        submit(with_input("text", text=deep))
    node = {"class_type": "EmptyImage", "inputs": {}, "_meta": {}}
    with pytest.raises(InvalidRequest, match="5001 nodes"):
        submit({str(number): node for number in range(5001)})


def test_rejects_an_id_that_is_none() -> None:
    for id in ("", "A", "../x", ".versions", "x" * 101):
        with pytest.raises((InvalidRequest, InvalidWorkflow)):
            submit(id=id)


def test_keeps_the_canvas_and_digests_of_weights() -> None:
    canvas = sdxl()
    built = build_model(Submission(id="hare", workflow=canvas), KNOWLEDGE)
    assert json.loads(built.files[WORKFLOW_NAME]) == canvas
    path = built.model.manifest.weights[0].path
    digest = {"path": path, "sha256": "a" * 64, "bytes": 17}
    weights: list[dict[str, Any]] = [digest, {"path": "vae/other"}]
    again = build_model(Submission(id="hare", workflow=canvas, weights=weights), KNOWLEDGE)
    assert (again.model.manifest.weights[0].sha256, again.model.manifest.weights[0].bytes) == ("a" * 64, 17)


def test_a_damaged_model_is_not_publishable() -> None:
    files = dict(submit().files)
    with pytest.raises(CatalogError):
        check_publishable(files | {"graph.json": "{"}, FACTS)
    with pytest.raises(CatalogError):
        check_publishable({"model.toml": files["model.toml"]}, FACTS)


@pytest.mark.parametrize("kind", ["video", "text", "audio", "3d", "upscale", "i2v", "trainer"])
def test_rejects_a_kind_that_the_graph_does_not_make(kind: str) -> None:
    with pytest.raises(InvalidRequest, match="must be image, because the graph makes image"):
        submit(manifest=COMPLETE | {"kind": kind})
    files = submit().files
    edited = {**files, "model.toml": files["model.toml"].replace('kind = "image"', f'kind = "{kind}"')}
    with pytest.raises(InvalidRequest, match="must be image, because"):
        check_publishable(edited, FACTS)


@pytest.mark.parametrize("name", ["size", "model", "stream", "user"])
def test_rejects_names_that_are_fields_of_requests(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"the name '{name}' is a field of requests"):
        submit(manifest=COMPLETE | {"parameters": {"steps": {"name": name}}})


def test_shipped_models_have_a_kind_that_fits() -> None:
    for model in SHIPPED_CATALOG:
        check_task(model)


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("hare.png", "data:image/png;base64,aGVsbG8=", "hare.png is no image file, and not kept"),
        ("hare.png", "aGVsbG8=", "`data` must be a `data:` URL"),
        ("hare.png", "data:image/png;base64,@@@", "`data` must be a `data:` URL"),
        ("fox.png", "data:image/png;base64,aGVsbG8=", "fox.png is not kept: parameters load hare.png"),
    ],
)
def test_says_why_a_file_is_not_kept_as_example(name: str, data: str, note: str) -> None:
    graph = with_input("sampler", latent_image=["encode", 0])
    graph["load"] = {"class_type": "LoadImage", "inputs": {"image": "hare.png"}}
    graph["encode"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["load", 0], "vae": ["model", 2]}}
    built = submit(graph, example_files=[{"name": name, "data": data}])
    assert EXAMPLES_NAME not in built.files
    assert note in "; ".join(built.file_notes)


def test_asks_only_what_is_not_answered() -> None:
    assert {"its license, GPU memory and time per step"} < set(submit(manifest={}).questions)
    answered = submit(manifest=COMPLETE | {"price_class": "image"})
    assert not [text for text in answered.questions if "price class" in text or "license" in text]


@pytest.mark.parametrize("params", [{"steps": 100_000}, {"steps": "many"}, {"rounds": 3}])
def test_rejects_parameters_of_a_test_run_before_a_draft_is_saved(params: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"steps|rounds"):
        check_test_params(submit().model, params)
    check_test_params(submit().model, {"steps": 3, "n": 1, "seed": None})
