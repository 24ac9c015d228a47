"""The prompt of a graph is found wherever the author has written it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.catalog.model import Model
from orchestrator.errors import InvalidRequest
from tests.support.canvas import api, drawn, imported, parameters
from tests.support.drafts import parse_imported


def encoder(text: Any) -> tuple[str, str, dict[str, Any]]:
    return "CLIPTextEncode", "", {"text": text, "clip": ["model", 1]}


def string(text: str, title: str = "") -> tuple[str, str, dict[str, Any]]:
    return "PrimitiveStringMultiline", title, {"value": text}


def join(first: Any, second: Any) -> tuple[str, str, dict[str, Any]]:
    return "StringConcatenate", "", {"string_a": first, "string_b": second, "delimiter": ", "}


@pytest.mark.parametrize(
    ("nodes", "place"),
    [
        ({"text": encoder(["words", 0]), "words": string("a fox")}, "words.value"),
        (
            {
                "text": encoder(["all", 0]),
                "all": join(["style", 0], ["words", 0]),
                "style": string("ink"),
                "words": string("a red fox"),
            },
            "words.value",
        ),
        ({"text": encoder(["all", 0]), "all": join("ink", "a red fox in the snow")}, "all.string_b"),
        ({"text": encoder(["all", 0]), "all": join("a fox", "candy style, sugar crystals")}, "all.string_a"),
        (
            {
                "text": encoder(["all", 0]),
                "all": join(["long", 0], ["words", 0]),
                "long": string("You are a helpful assistant that writes prompts.", "System prompt"),
                "words": string("a fox"),
            },
            "words.value",
        ),
        (
            {
                "text": encoder(["swap", 0]),
                "swap": (
                    "StringReplace",
                    "",
                    {
                        "string": "<s>USER_INPUT</s> as requested",
                        "find": "USER_INPUT",
                        "replace": ["words", 0],
                    },
                ),
                "words": string("a fox"),
            },
            "words.value",
        ),
        (
            {
                "text": encoder(["swap", 0]),
                "swap": ("StringReplace", "", {"string": ["words", 0], "find": "cat", "replace": "fox"}),
                "words": string("a red fox"),
            },
            "words.value",
        ),
        (
            {
                "text": encoder(["shown", 0]),
                "shown": ("PreviewAny", "", {"source": ["trimmed", 0]}),
                "trimmed": ("StringTrim", "", {"string": ["words", 0], "mode": "Both"}),
                "words": string(" a fox "),
            },
            "words.value",
        ),
        (
            {
                "text": encoder(["written", 0]),
                "written": (
                    "TextGenerate",
                    "",
                    {"clip": ["model", 1], "prompt": ["words", 0], "max_length": 256, "sampling_mode": "off"},
                ),
                "words": string("a fox"),
            },
            "words.value",
        ),
        (
            {
                "text": encoder(["theirs", 0]),
                "theirs": ("TheirTextBox", "", {"text": "a fox", "separator": "a long separator"}),
            },
            "theirs.text",
        ),
    ],
    ids=[
        "primitive",
        "joined",
        "literal",
        "style",
        "system",
        "placeholder",
        "replaced",
        "shown",
        "generated",
        "unknown",
    ],
)
def test_follows_the_prompt_through_text_nodes(nodes: dict[str, Any], place: str) -> None:
    negative = {"negative": encoder("blurry")}
    graph = drawn(**nodes, **negative)
    graph["sampler"]["inputs"]["negative"] = ["negative", 0]
    result = imported(graph)
    assert result.bound_inputs[place] == "{{ prompt }}"
    assert result.bound_inputs["negative.text"] == "{{ negative_prompt }}"


def guided(guider: tuple[str, str, dict[str, Any]], **nodes: Any) -> dict[str, Any]:
    """A graph whose sampler is steered by a guider."""
    sampler = {
        "noise": ["noise", 0],
        "guider": ["guider", 0],
        "sampler": ["solver", 0],
        "sigmas": ["sigmas", 0],
        "latent_image": ["latent", 0],
    }
    return drawn(
        sampler=("SamplerCustomAdvanced", "", sampler),
        guider=guider,
        noise=("RandomNoise", "", {"noise_seed": 1}),
        solver=("KSamplerSelect", "", {"sampler_name": "euler"}),
        sigmas=(
            "BasicScheduler",
            "",
            {"model": ["model", 0], "scheduler": "simple", "steps": 20, "denoise": 1.0},
        ),
        **nodes,
    )


def test_finds_the_prompts_of_a_dual_guider() -> None:
    inputs: dict[str, Any] = {
        "model": ["model", 0],
        "cond1": ["text", 0],
        "cond2": ["negative", 0],
        "negative": ["negative", 0],
        "cfg_conds": 5.0,
        "cfg_cond2_negative": 2.0,
        "style": "regular",
    }
    result = imported(guided(("DualCFGGuider", "", inputs), negative=encoder("blurry")))
    assert result.bound_inputs["text.text"] == "{{ prompt }}"
    assert result.bound_inputs["negative.text"] == "{{ negative_prompt }}"


def test_an_encoder_that_feeds_no_sampler_has_the_prompt() -> None:
    result = imported(
        api(
            model=("CheckpointLoaderSimple", "", {"ckpt_name": "base.safetensors"}),
            text=encoder("a fox"),
            shown=("PreviewAny", "", {"source": ["text", 0]}),
        )
    )
    assert result.bound_inputs["text.text"] == "{{ prompt }}"


def test_tags_are_the_prompt_and_lyrics_a_parameter_of_their_own() -> None:
    inputs = {"clip": ["model", 1], "tags": ["words", 0], "lyrics": "la la", "lyrics_strength": 1.0}
    graph = drawn(text=("TextEncodeAceStepAudio", "", inputs), words=string("slow jazz"))
    result = imported(graph)
    assert result.bound_inputs["words.value"] == "{{ prompt }}"
    assert result.bound_inputs["text.lyrics"] == "{{ lyrics }}"


def test_a_seed_of_the_encoder_does_not_hide_its_text() -> None:
    inputs = {
        "clip": ["model", 1],
        "tags": "slow jazz",
        "lyrics": "",
        "seed": 5,
        "bpm": 120,
        "duration": 30.0,
        "timesignature": "4",
        "language": "en",
        "keyscale": "E minor",
        "generate_audio_codes": True,
        "cfg_scale": 2.0,
        "temperature": 0.85,
        "top_p": 0.9,
        "top_k": 0,
        "min_p": 0.0,
    }
    result = imported(drawn(text=("TextEncodeAceStepAudio1.5", "", inputs)))
    assert result.bound_inputs["text.tags"] == "{{ prompt }}"


def test_prompts_of_an_unknown_sampler_are_found() -> None:
    graph = drawn(negative=encoder("blurry"))
    graph["sampler"]["class_type"] = "TheirSampler"
    graph["sampler"]["inputs"]["negative"] = ["negative", 0]
    result = imported(graph)
    assert result.bound_inputs["text.text"] == "{{ prompt }}"
    assert result.bound_inputs["negative.text"] == "{{ negative_prompt }}"
    assert not result.usable


def test_a_model_without_a_prompt_refuses_one() -> None:
    graph = api(
        empty=("EmptyImage", "", {"width": 8, "height": 8, "batch_size": 1, "color": 0}),
        save=("SaveImage", "", {"images": ["empty", 0], "filename_prefix": ""}),
    )
    result = imported(graph)
    assert "prompt" not in parameters(result)
    assert any("which text is the prompt" in question for question in result.open_questions)
    model: Model = parse_imported(result)
    with pytest.raises(InvalidRequest) as refused:
        model.validate_params({"prompt": "a fox"})
    assert refused.value.code == "unknown_parameter"


def test_the_texts_of_a_loader_that_encodes_both_are_found() -> None:
    graph = drawn(
        model=(
            "TheirEfficientLoader",
            "",
            {"ckpt_name": "base.safetensors", "positive": "a fox", "negative": "blurry"},
        ),
        both=("TheirEncoder", "", {"text": "a fox", "text_negative": "blurry", "clip": ["model", 1]}),
    )
    del graph["text"]
    graph["sampler"]["inputs"] |= {"positive": ["both", 0], "negative": ["both", 1]}
    result = imported(graph)
    assert result.bound_inputs["both.text"] == "{{ prompt }}"
    assert result.bound_inputs["both.text_negative"] == "{{ negative_prompt }}"


def test_another_text_of_a_multiple_guider_is_a_parameter_of_its_own() -> None:
    inputs: dict[str, Any] = {
        "model": ["model", 0],
        "cond1": ["text", 0],
        "cond2": ["style", 0],
        "negative": ["negative", 0],
        "cfg_conds": 5.0,
        "cfg_cond2_negative": 2.0,
        "style": "regular",
    }
    graph = guided(("DualCFGGuider", "", inputs), style=encoder("watercolor"), negative=encoder("blurry"))
    result = imported(graph)
    assert result.bound_inputs["text.text"] == "{{ prompt }}"
    assert result.bound_inputs["style.text"] == "{{ prompt2 }}"
    assert parameters(result)["prompt2"]["default"] == "watercolor"
