"""What an author says with our parameter nodes, and what becomes of them."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from comfy_instances.protocol.node_facts import load_pack_node_facts
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
