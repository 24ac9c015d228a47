"""From a graph that somebody drew to a model that answers requests."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import Catalog, CatalogError, Model, write_model
from orchestrator.catalog.import_export import InvalidWorkflow
from tests.support.canvas import (
    api,
    drawn,
    image,
    import_pinned,
    imported,
    node,
    parameters,
    save,
    sdxl,
    socket,
    widget,
    workflow,
)
from tests.support.drafts import FACTS, unhurried


def test_natural_parameters_are_found() -> None:
    result = imported(sdxl())
    assert parameters(result) == {
        "prompt": {"type": "string", "required": True, "blank": False},
        "negative_prompt": {"type": "string", "default": "blurry"},
        "seed": {"type": "seed"},
        "steps": {"type": "integer", "default": 25, "minimum": 1, "maximum": 100},
        "cfg_scale": {"type": "number", "default": 7.0, "minimum": 0.0, "maximum": 30.0, "step": 0.1},
        "width": {"type": "integer", "default": 1024, "minimum": 256, "maximum": 2048, "step": 8},
        "height": {"type": "integer", "default": 768, "minimum": 256, "maximum": 2048, "step": 8},
    }
    assert result.bound_inputs == {
        "3.seed": "{{ seed }}",
        "3.steps": "{{ steps }}",
        "3.cfg": "{{ cfg_scale }}",
        "5.width": "{{ width }}",
        "5.height": "{{ height }}",
        "6.text": "{{ prompt }}",
        "7.text": "{{ negative_prompt }}",
        "9.filename_prefix": "{{ filename_prefix }}",
    }
    assert result.fixed_inputs["3.sampler_name"] == "dpmpp_2m"
    assert result.problems == ()


def test_the_model_is_one_of_the_catalogue(tmp_path: Path) -> None:
    write_model(tmp_path, "drawn", imported(sdxl()).files)
    model = Catalog.load(tmp_path)["drawn"]
    graph = model.render_graph(model.example_params(prompt="a hare", steps=9, seed=3), filename_prefix="p")
    assert graph["6"]["inputs"]["text"] == "a hare"
    assert graph["3"]["inputs"].items() >= {"steps": 9, "seed": 3}.items()
    with pytest.raises(CatalogError, match="already"):
        write_model(tmp_path, "drawn", {})
    assert [path.name for path in tmp_path.iterdir()] == ["drawn"]


def test_weights_are_listed_with_what_the_file_says() -> None:
    weights = tomllib.loads(imported(sdxl()).manifest)["weights"]
    assert weights == [
        {
            "slot": "weight_1",
            "path": "checkpoints/base.safetensors",
            "dtype": "fp16",
            "url": "https://weights.example/base.safetensors",
        }
    ]


def test_reports_unknown_nodes() -> None:
    data = sdxl()
    data["nodes"][0]["properties"] = {}
    data["nodes"][5] = node(
        8,
        "TheirDecoder",
        inputs=data["nodes"][5]["inputs"],
        gives=["IMAGE"],
        properties={"aux_id": "some/pack"},
    )
    result = imported(data)
    said = " ".join(result.open_questions)
    assert "TheirDecoder, which is unknown; the file says it is part of some/pack" in said
    assert "price" in said
    assert "checkpoints/base.safetensors" in said
    assert {problem.code for problem in result.problems} >= {"missing_node_type"}


def test_two_experts_share_their_parameters() -> None:
    sampler = {
        "model": ["unet", 0],
        "add_noise": "enable",
        "noise_seed": 5,
        "steps": 20,
        "cfg": 3.5,
        "sampler_name": "euler",
        "scheduler": "simple",
        "positive": ["text", 0],
        "negative": ["zero", 0],
        "latent_image": ["latent", 0],
        "start_at_step": 0,
        "end_at_step": 10,
        "return_with_leftover_noise": "enable",
    }
    second = sampler | {"add_noise": "disable", "noise_seed": 0, "latent_image": ["first", 0]}
    second |= {"start_at_step": 10, "end_at_step": 10_000, "return_with_leftover_noise": "disable"}
    result = imported(
        api(
            unet=("UNETLoader", "", {"unet_name": "wan.safetensors", "weight_dtype": "default"}),
            clip=("CLIPLoader", "", {"clip_name": "umt5.safetensors", "type": "wan"}),
            vae=("VAELoader", "", {"vae_name": "wan_vae.safetensors"}),
            text=("CLIPTextEncode", "", {"text": "a fox runs", "clip": ["clip", 0]}),
            zero=("ConditioningZeroOut", "", {"conditioning": ["text", 0]}),
            latent=(
                "EmptyHunyuanLatentVideo",
                "",
                {"width": 640, "height": 640, "length": 81, "batch_size": 1},
            ),
            first=("KSamplerAdvanced", "", sampler),
            second=("KSamplerAdvanced", "", second),
            decode=("VAEDecode", "", {"samples": ["second", 0], "vae": ["vae", 0]}),
            video=("CreateVideo", "", {"images": ["decode", 0], "fps": 16.0}),
            save=(
                "SaveVideo",
                "",
                {"video": ["video", 0], "filename_prefix": "video/x", "format": "auto", "codec": "auto"},
            ),
        )
    )
    assert result.problems == ()
    manifest = tomllib.loads(result.manifest)
    assert manifest["kind"] == "video"
    assert manifest["outputs"] == [{"node": "save", "media": "video"}]
    assert (
        result.bound_inputs.items()
        >= {
            "first.noise_seed": "{{ seed }}",
            "first.end_at_step": "{{ steps * 10 // 20 }}",
            "second.start_at_step": "{{ steps * 10 // 20 }}",
            "second.steps": "{{ steps }}",
            "latent.length": "{{ num_frames }}",
            "video.fps": "{{ fps | float }}",
        }.items()
    )
    assert "second.noise_seed" not in result.bound_inputs
    assert "negative_prompt" not in manifest["parameters"]
    frames = manifest["parameters"]["num_frames"]
    assert (frames["grid"], frames["grid_offset"], frames["default"]) == (4, 1, 81)
    folders = {weight["path"] for weight in manifest["weights"]}
    assert folders == {
        "diffusion_models/wan.safetensors",
        "text_encoders/umt5.safetensors",
        "vae/wan_vae.safetensors",
    }


def test_guidance_means_embedded_guidance_where_cfg_has_no_effect() -> None:
    data = sdxl()
    data["nodes"][4]["widgets_values"][3] = 1
    guidance = node(
        20, "FluxGuidance", inputs=[socket("conditioning", "CONDITIONING", 4)], gives=["CONDITIONING"]
    )
    data["nodes"].append(guidance | {"widgets_values": [3.5]})
    data["nodes"][4]["inputs"][1]["link"] = 20
    data["links"][3] = [4, 6, 0, 20, 0, "CONDITIONING"]
    data["links"].append([20, 20, 0, 3, 1, "CONDITIONING"])
    result = imported(data)
    assert result.bound_inputs["20.guidance"] == "{{ cfg_scale }}"
    assert result.bound_inputs["6.text"] == "{{ prompt }}"
    assert result.fixed_inputs["3.cfg"] == 1


def test_images_are_uploaded_in_order() -> None:
    result = imported(
        api(
            one=("LoadImage", "", {"image": "a.png"}),
            two=("LoadImage", "", {"image": "b.png"}),
            mask=("LoadImageMask", "", {"image": "m.png", "channel": "alpha"}),
            join=(
                "ImageCompositeMasked",
                "",
                {"destination": ["one", 0], "source": ["two", 0], "x": 0, "y": 0},
            ),
            save=("SaveImage", "", {"images": ["join", 0], "filename_prefix": "x"}),
        )
        | {}
    )
    assert list(parameters(result)) == ["image", "image2"]
    assert result.problems[:0] == ()
    assert tomllib.loads(result.manifest)["kind"] == "image"


def test_reports_input_files_that_requests_cannot_send() -> None:
    pictures = {f"p{n}": ("LoadImage", "", {"image": f"{n}.png"}) for n in range(5)}
    savers = {f"s{n}": ("SaveImage", "", {"images": [f"p{n}", 0], "filename_prefix": "x"}) for n in range(5)}
    video = {
        "film": ("LoadVideo", "", {"file": "a.mp4"}),
        "parts": ("GetVideoComponents", "", {"video": ["film", 0]}),
        "frames": ("SaveImage", "", {"images": ["parts", 0], "filename_prefix": "x"}),
        "film2": ("LoadVideo", "", {"file": "b.mp4"}),
        "parts2": ("GetVideoComponents", "", {"video": ["film2", 0]}),
        "frames2": ("SaveImage", "", {"images": ["parts2", 0], "filename_prefix": "x"}),
        "sound": ("LoadAudio", "", {"audio": "a.mp3"}),
        "heard": ("SaveAudio", "", {"audio": ["sound", 0], "filename_prefix": "x"}),
    }
    result = imported(api(**pictures, **savers, **video))
    assert list(parameters(result)) == ["image", "image2", "image3", "image4", "video", "audio"]
    assert parameters(result)["video"] == {"type": "video", "required": True}
    assert result.bound_inputs["sound.audio"] == "{{ audio }}"
    told = [line for line in result.open_questions if "another file" in line]
    assert told == [
        "how requests could give another file than 4.png of node p4",
        "how requests could give another file than b.mp4 of node film2",
    ]


def test_a_mask_that_is_only_shown_is_saved_as_an_image() -> None:
    result = imported(
        api(
            load=("LoadImage", "", {"image": "a.png"}),
            show=("MaskPreview", "", {"mask": ["load", 1]}),
        )
    )
    assert result.problems == ()
    graph = json.loads(result.graph)
    assert graph["show"]["class_type"] == "SaveImage"
    assert graph["show:image"]["inputs"] == {"mask": ["load", 1]}


def test_recognises_an_upscaler_by_its_nodes() -> None:
    result = imported(
        api(
            load=("LoadImage", "", {"image": "a.png"}),
            model=("UpscaleModelLoader", "", {"model_name": "4x.pth"}),
            up=("ImageUpscaleWithModel", "", {"upscale_model": ["model", 0], "image": ["load", 0]}),
            show=("PreviewImage", "", {"images": ["up", 0]}),
        )
    )
    manifest = tomllib.loads(result.manifest)
    assert manifest["kind"] == "upscale"
    assert manifest["weights"][0]["path"] == "upscale_models/4x.pth"
    assert json.loads(result.graph)["show"]["class_type"] == "SaveImage"
    assert result.problems == ()


def test_the_authors_marks_win() -> None:
    data = sdxl()
    data["nodes"][1]["widgets_values"] = ["a poster of {{ subject }}"]
    data["nodes"][2]["widgets_values"] = ["{{ subject }}"]
    data["nodes"][4]["widgets_values"][4] = "{{ sampler }}"
    data["nodes"][3]["title"] = "Width"
    result = imported(data)
    assert result.bound_inputs["7.text"] == "{{ subject }}"
    assert result.bound_inputs["3.sampler_name"] == "{{ sampler }}"
    assert parameters(result)["sampler"]["choices"][0] == "euler"
    assert result.bound_inputs["5.width"] == "{{ width }}"
    assert "negative_prompt" not in parameters(result)


@unhurried
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_text_that_looks_like_a_template_is_only_text(text: str) -> None:
    noted = "{{ " + text + " }}' \\ {% raw %}\n😀"
    data = api(
        picture=("EmptyImage", "", {"width": 64, "height": 64, "batch_size": 1, "color": 0}),
        note=("Mystery", "", {"image": ["picture", 0], "text": noted, "many": {"__value__": [noted]}}),
        save=("SaveImage", "", {"images": ["note", 0], "filename_prefix": noted}),
    )
    result = imported(data)
    model = Model.parse(result.manifest, result.graph, Path("drawn"))
    inputs = model.render_graph(model.example_params(), filename_prefix="p")["note"]["inputs"]
    assert inputs["text"] == noted
    assert inputs["many"] == {"__value__": [noted]}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"1": {"class_type": "EmptyImage"}},
        {"1": {"class_type": 5, "inputs": {}}},
        {"1": {"class_type": "EmptyImage", "inputs": []}},
        workflow(image(1), links=[]),
        "text",
        None,
        7,
    ],
)
def test_rejects_graphs_that_make_no_model(data: Any) -> None:
    with pytest.raises(InvalidWorkflow):
        imported(data)


@pytest.mark.parametrize("id", ["", "../up", "Upper", "a/b", "a b", ".", "-x", "x" * 101, "a\n"])
def test_an_id_must_be_a_plain_name(id: str) -> None:
    with pytest.raises(InvalidWorkflow, match="id"):
        imported(sdxl(), id=id)


@pytest.mark.parametrize("link", [["gone", 0], ["save", -3]])
def test_a_link_to_nothing_is_no_input(link: list[Any]) -> None:
    result = imported(api(save=("SaveImage", "", {"images": link, "filename_prefix": "x"})))
    assert [problem.code for problem in result.problems] == ["required_input_missing"]


def test_nodes_that_wait_for_one_another_are_no_model() -> None:
    data = api(
        a=("ImageInvert", "", {"image": ["b", 0]}),
        b=("ImageInvert", "", {"image": ["a", 0]}),
        save=("SaveImage", "", {"images": ["a", 0], "filename_prefix": "x"}),
    )
    with pytest.raises(InvalidWorkflow, match="depend on each other: a -> b -> a"):
        imported(data)


def test_a_path_that_leaves_its_folder_is_no_weight() -> None:
    data = sdxl()
    data["nodes"][0]["widgets_values"] = ["../../secret.safetensors"]
    assert tomllib.loads(imported(data).manifest)["weights"] == []


@pytest.mark.parametrize("file", ["a.safetensors", "a.sft", "a.gguf", "inpaint_v26.fooocus.patch"])
def test_files_of_weights_are_known_by_their_ending(file: str) -> None:
    data = api(
        load=("StrangeLoader", "", {"model_file": file}),
        make=("StrangeMaker", "", {"model": ["load", 0]}),
        save=("SaveImage", "", {"images": ["make", 0], "filename_prefix": "x"}),
    )
    weights = tomllib.loads(imported(data).manifest)["weights"]
    assert [row["path"] for row in weights] == [f"unknown-folder/{file}"]


@pytest.mark.parametrize("directory", ["../..", "/etc", "a/b", "..", "", ["vae"], None])
def test_a_folder_that_a_file_names_is_a_plain_name(directory: Any) -> None:
    """Of a loader that we know nothing of, its own file says where the weights belong."""
    models = [{"name": "strange.safetensors", "url": "https://weights.example/x", "directory": directory}]
    nodes = [
        node(1, "StrangeLoader", inputs=[widget("model_file")], gives=["MODEL"], widgets_values=["x"]),
        node(2, "StrangeMaker", inputs=[socket("model", "MODEL", 1)], gives=["IMAGE"]),
        save(3, 2),
    ]
    nodes[0] |= {"properties": {"models": models}, "widgets_values": ["strange.safetensors"]}
    links = [[1, 1, 0, 2, 0, "MODEL"], [2, 2, 0, 3, 0, "IMAGE"]]
    weights = tomllib.loads(imported(workflow(*nodes, links=links)).manifest)["weights"]
    assert [row["path"] for row in weights] == ["unknown-folder/strange.safetensors"]


def test_the_file_itself_is_left_alone() -> None:
    data = api(
        show=("PreviewImage", "", {"images": ["picture", 0]}),
        picture=("EmptyImage", "", {"width": 64, "height": 64, "batch_size": 1, "color": 0}),
    )
    before = copy.deepcopy(data)
    imported(data)
    assert data == before


def test_a_saved_image_is_a_saver_too() -> None:
    result = imported(workflow(image(1), save(2, 1), links=[[1, 1, 0, 2, 0, "IMAGE"]]))
    assert result.bound_inputs == {"2.filename_prefix": "{{ filename_prefix }}"}
    assert "which text is the prompt, if there is one" in result.open_questions


def test_a_seed_fits_the_range_of_a_node_that_is_titled_so() -> None:
    sampler = drawn()["sampler"]["inputs"] | {"seed": ["number", 0]}
    data = drawn(number=("PrimitiveInt", "Seed", {"value": -5}), sampler=("KSampler", "", sampler))
    result = imported(data)
    assert result.usable, result.problems
    assert parameters(result)["seed"] == {"type": "seed"}
    assert result.bound_inputs["number.value"] == "{{ seed % 9223372036854775808 }}"


def test_texts_in_place_of_numbers_are_read_as_a_server_does() -> None:
    graph = drawn()
    graph["sampler"]["inputs"] |= {"steps": "20", "cfg": "7.5", "denoise": "{{ strength }}"}
    graph["latent"]["inputs"] |= {"width": 1024.7, "height": {"__value__": 768}}
    graph["switch"] = api(switch=("PrimitiveBoolean", "", {"value": "false"}))["switch"]
    graph["show"] = api(show=("PreviewAny", "", {"source": ["switch", 0]}))["show"]
    result = imported(graph)
    found = parameters(result)
    assert (found["steps"]["default"], found["cfg_scale"]["default"], found["width"]["default"]) == (
        20,
        7.5,
        1024,
    )
    changed = "\n".join(result.changes)
    assert 'node sampler, input steps: "20" is read as 20, as ComfyUI does: the class takes INT' in changed
    assert "input width: 1024.7 is read as 1024" in changed
    assert 'node switch, input value: "false" is read as true' in changed
    assert "denoise" not in changed


def test_values_of_other_types_are_read_as_a_server_does_and_reported() -> None:
    graph = drawn()
    graph["sampler"]["inputs"] |= {"steps": True, "cfg": True}
    graph["text"]["inputs"]["text"] = None
    graph["save"]["inputs"]["filename_prefix"] = {"a": 1}
    graph["latent"]["inputs"]["width"] = {"__value__": 1024, "__type__": "INT"}
    graph["switch"] = api(switch=("PrimitiveBoolean", "", {"value": None}))["switch"]
    graph["show"] = api(show=("PreviewAny", "", {"source": ["switch", 0]}))["show"]
    result = imported(graph)
    assert result.usable, result.problems
    found = parameters(result)
    assert (found["steps"]["default"], found["cfg_scale"]["default"], found["width"]["default"]) == (
        1,
        1.0,
        1024,
    )
    assert [change.partition(", as ComfyUI")[0] for change in result.changes[:5]] == [
        'node text, input text: null is read as "None"',
        "node sampler, input steps: true is read as 1",
        "node sampler, input cfg: true is read as 1.0",
        'node save, input filename_prefix: {"a": 1} is read as "{\'a\': 1}"',
        "node switch, input value: null is read as false",
    ]


@pytest.mark.parametrize("value", [["a fox", "a hare"], [3, 0], ["text"], ["model", 1.5]])
def test_a_list_that_is_no_link_is_an_error(value: list[Any]) -> None:
    graph = drawn()
    graph["text"]["inputs"]["text"] = value
    result = imported(graph)
    assert not result.usable
    (problem,) = [each for each in result.problems if each.code == "bad_linked_input"]
    assert (problem.node, problem.input) == ("text", "text")


def test_a_text_that_is_no_number_is_an_error() -> None:
    graph = drawn()
    graph["sampler"]["inputs"]["steps"] = "twenty"
    result = imported(graph)
    assert not result.usable
    assert "must be a number of type INT (got 'twenty')" in str(result.problems[0])


def test_a_seed_that_is_at_least_one_gets_no_zero() -> None:
    seed = ["INT", {"min": 1, "max": 1000}]
    entry = {"input": {"required": {"image": ["IMAGE"], "seed": seed}}, "output": ["IMAGE"]}
    graph = drawn(
        paint=("PackPainter", "", {"image": ["decode", 0], "seed": 5}),
        save=("SaveImage", "", {"images": ["paint", 0], "filename_prefix": "x"}),
    )
    result = import_pinned(graph, id="drawn", facts={**FACTS, "PackPainter": entry})
    assert result.bound_inputs["paint.seed"] == "{{ [seed % 1001, 1] | max }}"
    assert result.problems == ()
