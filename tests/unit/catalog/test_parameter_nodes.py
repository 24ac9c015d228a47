"""What an author says with our parameter nodes, and what becomes of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from comfy_instances.protocol.node_facts import load_pack_node_facts
from orchestrator.catalog import Model
from orchestrator.catalog.import_export import ImportedModel, InvalidWorkflow
from orchestrator.catalog.import_export.infer.parameter_nodes import PARAMETER_NODE_CLASSES
from tests.support.canvas import import_pinned, save, sdxl, socket, workflow
from tests.support.canvas import node as drawn
from tests.support.drafts import FACTS, node

ALL = {**load_pack_node_facts(), **FACTS}


def parameter(kind: str, name: str, value: Any, **more: Any) -> dict[str, Any]:
    return node(f"PixelFactory{kind}", name=name, value=value, **more)


def number(name: str, value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    kind = "Integer" if isinstance(value, int) else "Number"
    return parameter(
        kind, name, value, minimum=low, maximum=high, step=1 if kind == "Integer" else 0.1, **more
    )


def picture(**inputs: Any) -> dict[str, Any]:
    """A graph that samples, with `inputs` of its nodes replaced."""
    nodes = {
        "ckpt": node("CheckpointLoaderSimple", ckpt_name="base.safetensors"),
        "plus": node("CLIPTextEncode", text="a hare", clip=["ckpt", 1]),
        "minus": node("CLIPTextEncode", text="blur", clip=["ckpt", 1]),
        "latent": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "sampler": node(
            "KSampler",
            model=["ckpt", 0],
            seed=7,
            steps=20,
            cfg=7.5,
            sampler_name="euler",
            scheduler="normal",
            positive=["plus", 0],
            negative=["minus", 0],
            latent_image=["latent", 0],
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["ckpt", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="x"),
    }
    for place, value in inputs.items():
        id, _, input = place.partition("__")
        nodes[id]["inputs"][input] = value
    return nodes


def imported(graph: Any) -> ImportedModel:
    return import_pinned(graph, id="drawn", facts=ALL)


def parameters(result: ImportedModel) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(result.manifest)["parameters"]
    return found


def classes(result: ImportedModel) -> set[str]:
    return {each["class_type"] for each in json.loads(result.graph).values()}


def test_the_authors_parameter_wins_over_a_guess() -> None:
    graph = picture(
        plus__text=["p", 0], sampler__steps=["n", 0], sampler__cfg=["g", 0], sampler__seed=["s", 0]
    )
    graph |= {
        "p": parameter("Text", "subject", "a hare", required=True, description=" What to show. "),
        "n": number("quality", 12, 4, 40),
        "g": number("obedience", 5.5, 1, 9, description="How closely."),
        "s": number("seed", 3, 0, 99),
    }
    result = imported(graph)
    assert result.problems == ()
    assert not classes(result) & PARAMETER_NODE_CLASSES
    found = parameters(result)
    assert found["subject"] == {
        "type": "string",
        "required": True,
        "blank": False,
        "description": "What to show.",
    }
    assert found["quality"] == {"type": "integer", "default": 12, "minimum": 4, "maximum": 40}
    assert found["obedience"] == {
        "type": "number",
        "default": 5.5,
        "minimum": 1.0,
        "maximum": 9.0,
        "step": 0.1,
        "description": "How closely.",
    }
    assert found["seed"] == {"type": "seed"}
    assert not {"prompt", "steps", "cfg_scale"} & found.keys()
    assert result.bound_inputs["plus.text"] == "{{ subject }}"
    assert result.bound_inputs["sampler.seed"] == "{{ seed }}"
    assert found["negative_prompt"]["default"] == "blur", "what is not said is still found"


def test_one_parameter_sets_all_that_it_is_linked_to() -> None:
    graph = picture(latent__width=["n", 0], latent__height=["n", 0]) | {"n": number("side", 256, 64, 1024)}
    result = imported(graph)
    assert result.bound_inputs["latent.width"] == result.bound_inputs["latent.height"] == "{{ side }}"
    assert set(parameters(result)) == {"side", "prompt", "negative_prompt", "seed", "steps", "cfg_scale"}


def test_a_value_may_go_through_other_nodes_first() -> None:
    graph = picture(plus__text=["join", 0]) | {
        "p": parameter("Text", "prompt", "a hare", required=True),
        "join": node("StringConcatenate", string_a=["p", 0], string_b=", oil on canvas", delimiter=""),
    }
    result = imported(graph)
    assert result.bound_inputs["join.string_a"] == "{{ prompt }}"
    assert result.problems == ()


def test_images_are_loaded_by_comfyui() -> None:
    graph = picture(sampler__latent_image=["encode", 0]) | {
        "photo": node("PixelFactoryImage", image="mine.png", name="photo", required=True, description=""),
        "hole": node("PixelFactoryMask", image="hole.png", channel="red", name="hole", required=True),
        "encode": node(
            "VAEEncodeForInpaint", pixels=["photo", 0], vae=["ckpt", 2], mask=["hole", 0], grow_mask_by=6
        ),
    }
    result = imported(graph)
    nodes = json.loads(result.graph)
    assert nodes["photo"]["class_type"] == "LoadImage"
    assert nodes["photo"]["inputs"] == {"image": "{{ photo }}"}
    assert nodes["hole"]["class_type"] == "LoadImageMask"
    assert nodes["hole"]["inputs"] == {"image": "{{ hole }}", "channel": "red"}
    assert parameters(result)["photo"] == {"type": "image", "required": True}
    assert result.problems == ()


def test_an_optional_image_is_loaded_if_given() -> None:
    graph = picture(sampler__latent_image=["start", 0]) | {
        "photo": node("PixelFactoryImage", image="mine.png", name="image", required=False),
        "start": node(
            "Wan22ImageToVideoLatent",
            vae=["ckpt", 2],
            width=512,
            height=512,
            length=9,
            batch_size=1,
            start_image=["photo", 0],
        ),
    }
    result = imported(graph)
    assert json.loads(result.graph)["photo"]["_meta"]["when"] == "{{ image is not none }}"
    assert parameters(result)["image"] == {"type": "image"}
    assert result.problems == ()


def test_reports_an_unused_parameter() -> None:
    result = imported(
        picture() | {"t": parameter("Text", "note", "x"), "b": parameter("Boolean", "flag", True)}
    )
    assert [line for line in result.open_questions if "is for" in line] == [
        "what the parameter note is for: no node that an output needs uses it",
        "what the parameter flag is for: no node that an output needs uses it",
    ]
    assert parameters(result)["flag"] == {"type": "boolean", "default": True}


def test_two_nodes_may_declare_the_same_parameter() -> None:
    both = {"a": number("side", 256, 64, 1024), "b": number("side", 256, 64, 1024)}
    result = imported(picture(latent__width=["a", 0], latent__height=["b", 0]) | both)
    assert result.bound_inputs["latent.height"] == "{{ side }}"


def test_a_screen_shows_them_as_widgets() -> None:
    graph = sdxl()
    graph["nodes"].append(
        drawn(90, "PixelFactoryText", gives=["STRING"], widgets_values=["subject", "a hare", True, "It."])
    )
    encoder = next(each for each in graph["nodes"] if each["id"] == 6)
    text = next(each for each in encoder["inputs"] if each["name"] == "text")
    text["link"] = 900
    graph["links"].append([900, 90, 0, 6, encoder["inputs"].index(text), "STRING"])
    result = imported(graph)
    assert result.bound_inputs["6.text"] == "{{ subject }}"
    assert parameters(result)["subject"]["description"] == "It."


def test_a_bypassed_parameter_gives_nothing() -> None:
    photo = drawn(
        5, "PixelFactoryImage", gives=["IMAGE", "MASK"], widgets_values=["a.png", "image", True, ""], mode=4
    )
    copy = drawn(6, "ImageInvert", inputs=[socket("image", "IMAGE", 1)], gives=["IMAGE"])
    links = [[1, 5, 0, 6, 0, "IMAGE"], [2, 6, 0, 7, 0, "IMAGE"]]
    result = imported(workflow(photo, copy, save(7, 2), links=links))
    assert [problem.code for problem in result.problems] == ["required_input_missing"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (number("Side", 1, 0, 2), "is not a valid parameter name"),
        (number("item", 1, 0, 2), "is not a valid parameter name"),
        (number("weights", 1, 0, 2), "is not a valid parameter name"),
        (number("side", 9, 0, 2), "must be between"),
        (number("side", 1, 2, 0), "must be between"),
        (number("side", True, 0, 2), "must be numbers"),
        (node("PixelFactoryInteger", name="side"), "must be numbers"),
        (node("PixelFactoryInteger"), "is not a valid parameter name"),
        (node("PixelFactoryText", name=["save", 0]), "must be a value of the node"),
        (parameter("Text", "side", "x"), "declares the parameter side differently"),
    ],
)
def test_rejects_invalid_parameter_nodes(bad: dict[str, Any], said: str) -> None:
    good = number("side", 256, 64, 1024)
    with pytest.raises(InvalidWorkflow, match=said):
        imported(picture(latent__width=["good", 0]) | {"good": good, "bad": bad})


def loras(**rows: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"model": ["ckpt", 0], "name": "loras", "max_items": 4}
    values |= {"minimum": -2.0, "maximum": 2.0}
    return node("PixelFactoryLoras", **values | rows)


def test_a_choice_takes_the_texts_of_its_lines() -> None:
    choice = parameter("Choice", "sampler", "heun", choices="euler\n heun \n\nheun", description="How.")
    result = imported(picture(sampler__sampler_name=["c", 0]) | {"c": choice})
    assert parameters(result)["sampler"] == {
        "type": "string",
        "default": "heun",
        "choices": ["euler", "heun"],
        "description": "How.",
    }
    assert result.bound_inputs["sampler.sampler_name"] == "{{ sampler }}"
    assert result.problems == ()


def test_a_lora_list_repeats_one_loader() -> None:
    rows = {"lora_1": "ink.safetensors", "strength_1": 0.7, "lora_2": "none", "strength_2": 1.0}
    listed = loras(clip=["ckpt", 1], **rows, max_items=3, minimum=0)
    result = imported(picture(sampler__model=["l", 0], plus__clip=["l", 1]) | {"l": listed})
    assert parameters(result)["loras"] == {
        "type": "loras",
        "max_items": 3,
        "min_strength": 0.0,
        "default": [{"name": "ink", "strength": 0.7}],
    }
    assert json.loads(result.graph)["l"] == {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["ckpt", 0],
            "clip": ["ckpt", 1],
            "lora_name": "{{ item.name }}.safetensors",
            "strength_model": "{{ item.strength }}",
            "strength_clip": "{{ item.strength }}",
        },
        "_meta": {
            "title": "LoraLoader",
            "each": "{{ loras }}",
            "bypass": {"0": "model", "1": "clip"},
        },
    }
    assert [line for line in result.open_questions if "LoRA" in line] == []
    assert result.problems == ()


def test_a_lora_list_without_a_text_encoder_changes_the_model_only() -> None:
    result = imported(picture(sampler__model=["l", 0]) | {"l": loras(lora_1="none", strength_1=1.0)})
    assert json.loads(result.graph)["l"]["class_type"] == "LoraLoaderModelOnly"
    assert parameters(result)["loras"] == {"type": "loras", "default": []}
    assert result.problems == ()


@pytest.mark.parametrize("files", ["a.png", ["a.png", "b.png"], {"__value__": ["a.png", "b.png"]}])
@pytest.mark.parametrize("required", [True, False])
def test_several_images_become_a_batch_of_as_many_loaders(files: Any, required: bool) -> None:
    graph = picture(sampler__latent_image=["start", 0]) | {
        "photos": node(
            "PixelFactoryImages", images=files, max_items=3, name="photos", required=required, description=""
        ),
        "start": node(
            "Wan22ImageToVideoLatent",
            vae=["ckpt", 2],
            width=512,
            height=512,
            length=9,
            batch_size=1,
            start_image=["photos", 0],
        ),
    }
    result = imported(graph)
    assert parameters(result)["photos"] == {"type": "images", "max_items": 3} | (
        {"required": True} if required else {}
    )
    assert result.problems == ()
    model = Model.parse(result.manifest, result.graph, Path("drawn"))
    for count in range(0 if not required else 1, 4):
        given = {"photos": [f"{number}.png" for number in range(count)]}
        graph = model.render_graph(model.example_params(**given), filename_prefix="x")
        loaders = [each["inputs"] for each in graph.values() if each["class_type"] == "LoadImage"]
        assert loaders == [{"image": name} for name in given["photos"]]
        assert len(graph["photos"]["inputs"] if count else ()) == count
        assert ("start_image" in graph["start"]["inputs"]) is (count > 0)


@pytest.mark.parametrize(
    ("kind", "file", "loader"), [("Video", "file", "LoadVideo"), ("Audio", "audio", "LoadAudio")]
)
def test_clips_are_loaded_by_comfyui(kind: str, file: str, loader: str) -> None:
    clip: dict[str, Any] = {file: "mine.mp4", "max_seconds": 8.0, "required": True}
    medium = kind.lower()
    saver = node("PixelFactoryOutput", result=["clip", 0], name="result")
    result = imported({"clip": node(f"PixelFactory{kind}", name="given", **clip), "save": saver})
    assert parameters(result) == {"given": {"type": medium, "max_seconds": 8.0, "required": True}}
    assert json.loads(result.graph)["clip"]["class_type"] == loader
    assert json.loads(result.graph)["clip"]["inputs"] == {file: "{{ given }}"}
    assert tomllib.loads(result.manifest)["outputs"] == [{"node": "save", "media": medium, "name": "result"}]
    assert result.problems == ()


def test_an_output_node_names_its_result() -> None:
    graph = picture() | {"save": node("PixelFactoryOutput", result=["decode", 0], name="poster")}
    result = imported(graph)
    assert tomllib.loads(result.manifest)["outputs"] == [{"node": "save", "media": "image", "name": "poster"}]
    assert json.loads(result.graph)["save"] == {
        "class_type": "SaveImage",
        "inputs": {"images": ["decode", 0], "filename_prefix": "{{ filename_prefix }}"},
        "_meta": {"title": "poster"},
    }
    assert Model.parse(result.manifest, result.graph, Path("drawn")).outputs[0].name == "poster"
    assert result.problems == ()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (parameter("Choice", "side", "x", choices="a\nb"), "must be one of the choices"),
        (parameter("Choice", "side", "", choices=""), "write one a line"),
        (loras(lora_1="styles/ink.safetensors", strength_1=1.0), "directly in models/loras"),
        (loras(lora_1="ink.safetensors", strength_1=3.0), "strength_1 must be between -2 and 2"),
        (loras(minimum=1.0, maximum=0.0), "in this order"),
        (loras(max_items=0), "max_items must be 1 to 16"),
        (
            loras(
                max_items=1,
                lora_1="a.safetensors",
                strength_1=1.0,
                lora_2="b.safetensors",
                strength_2=1.0,
            ),
            "max_items must be at least 2",
        ),
        (node("PixelFactoryLoras", name="loras"), "link the input `model`"),
        (node("PixelFactoryImages", name="images", images="a.png", max_items=True), "max_items must be"),
        (node("PixelFactoryVideo", name="video", file="a.mp4", max_seconds=0), "max_seconds must be"),
        (node("PixelFactoryOutput", name="Poster", result=["decode", 0]), "not a valid name of a result"),
        (node("PixelFactoryOutput", name="poster"), "link the input `result`"),
        (node("PixelFactoryOutput", name="poster", result=["ckpt", 0]), "must be linked to one of IMAGE"),
    ],
)
def test_rejects_invalid_list_and_output_nodes(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidWorkflow, match=said):
        imported(picture() | {"bad": bad})


def test_rejects_two_results_with_one_name() -> None:
    both = {id: node("PixelFactoryOutput", result=["decode", 0], name="poster") for id in ("a", "b")}
    with pytest.raises(InvalidWorkflow, match="another output has the name poster"):
        imported(picture() | both)
