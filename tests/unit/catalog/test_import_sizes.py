"""Sizes, lengths and rates that other nodes hold, compute or choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.billing.price_book import to_billable_work
from orchestrator.catalog import Model
from orchestrator.catalog.import_export import ImportedModel
from orchestrator.catalog.import_export.infer.arithmetic import evaluate_formula
from orchestrator.errors import InvalidRequest
from tests.support.canvas import drawn, imported, parameters
from tests.support.drafts import parse_imported


def number(value: float) -> Any:
    return "PrimitiveFloat" if isinstance(value, float) else "PrimitiveInt", "", {"value": value}


def formula(expression: str, **values: Any) -> Any:
    inputs = {f"values.{name}": value for name, value in values.items()}
    return "ComfyMathExpression", "", {"expression": expression} | inputs


def switch(state: Any) -> Any:
    return "ComfySwitchNode", "", {"switch": state, "on_true": ["few", 0], "on_false": ["many", 0]}


def sized(width: Any, height: Any, **nodes: Any) -> dict[str, Any]:
    latent = ("EmptyLatentImage", "", {"width": width, "height": height, "batch_size": 1})
    return drawn(latent=latent, **nodes)


def film(length: Any, fps: Any, **nodes: Any) -> dict[str, Any]:
    latent = {"width": 768, "height": 512, "length": length, "batch_size": 1}
    video = {"video": ["video", 0], "filename_prefix": "x", "format": "auto", "codec": "auto"}
    return drawn(
        latent=("EmptyLTXVLatentVideo", "", latent),
        video=("CreateVideo", "", {"images": ["decode", 0], "fps": fps}),
        save=("SaveVideo", "", video),
        **nodes,
    )


def rendered(result: ImportedModel, **params: Any) -> dict[str, Any]:
    assert result.problems == ()
    model = Model.parse(result.manifest, result.graph, Path("drawn"))
    return model.render_graph(model.example_params(**params), filename_prefix="p")


def defaults(result: ImportedModel, *names: str) -> tuple[Any, ...]:
    declared = parameters(result)
    return tuple(declared[name]["default"] if name in declared else None for name in names)


def test_a_size_on_a_node_of_its_own() -> None:
    result = imported(sized(["w", 0], ["h", 0], w=number(512), h=number(640)))
    assert result.bound_inputs.items() >= {"w.value": "{{ width }}", "h.value": "{{ height }}"}.items()
    assert defaults(result, "width", "height") == (512, 640)


def test_one_number_for_both_sides_is_parted() -> None:
    result = imported(sized(["side", 0], ["side", 0], side=number(512)))
    latent = rendered(result, width=256, height=384)["latent"]["inputs"]
    assert (latent["width"], latent["height"]) == (256, 384)


def test_reports_one_number_that_sets_more_than_both_sides() -> None:
    up = ("ImageScaleToMaxDimension", "", {"image": ["decode", 0], "upscale_method": "area"})
    up[2]["largest_size"] = ["side", 0]
    graph = sized(["side", 0], ["side", 0], side=number(512), up=up)
    graph["save"]["inputs"]["images"] = ["up", 0]
    result = imported(graph)
    assert defaults(result, "width", "height") == (None, None)
    assert (
        "how requests could set width: PrimitiveInt of node side also determines other values"
        in result.open_questions
    )


def test_a_size_that_is_halved_is_asked_for_whole() -> None:
    """Its grid is twice the latent's."""
    graph = sized(
        ["half", 1], ["low", 1], w=number(1280), half=formula("a / 2", a=["w", 0]), low=formula("a/2", a=768)
    )
    graph["latent"] |= {"class_type": "EmptyLTXVLatentVideo"}
    graph["latent"]["inputs"]["length"] = 97
    result = imported(graph)
    assert defaults(result, "width", "height") == (1280, 768)
    assert parameters(result)["width"]["grid"] == 64
    assert rendered(result, width=640)["w"]["inputs"]["value"] == 640


def test_megapixels_and_ratio_become_width_and_height() -> None:
    """Also where its sides are made to fit before they are used."""
    choice = {"aspect_ratio": "16:9 (Widescreen)", "megapixels": 1.0, "multiple": 8}
    result = imported(
        sized(
            ["fit", 1],
            ["choice", 1],
            choice=("ResolutionSelector", "", choice),
            held=("PrimitiveInt", "", {"value": ["choice", 0]}),
            fit=formula("max(((a + 15) // 16) * 16, 256)", a=["held", 0]),
        )
    )
    assert defaults(result, "width", "height") == (1368, 768)
    assert (
        result.bound_inputs.items() >= {"held.value": "{{ width }}", "latent.height": "{{ height }}"}.items()
    )
    assert "choice" not in rendered(result)


@pytest.mark.parametrize(
    "maker",
    [
        {"class_type": "ImageScale", "inputs": {"width": 640, "height": 384}},
        {"class_type": "ResizeImageMaskNode", "inputs": {"resize_type": "scale dimensions"}},
    ],
    ids=["scaled", "resized"],
)
def test_a_size_read_off_an_image_that_was_scaled_to_it(maker: Any) -> None:
    inputs = {"image": ["load", 0], "upscale_method": "area", "crop": "center", **maker["inputs"]}
    if "resize_type" in inputs:
        inputs = {"input": ["load", 0], "resize_type": "scale dimensions", "scale_method": "area"}
        inputs |= {"resize_type.width": 640, "resize_type.height": 384, "resize_type.crop": "center"}
    result = imported(
        sized(
            ["size", 0],
            ["size", 1],
            load=("LoadImage", "", {"image": "a.png"}),
            scale=(maker["class_type"], "", inputs),
            turned=("ImageInvert", "", {"image": ["scale", 0]}),
            size=("GetImageSize", "", {"image": ["turned", 0]}),
        )
    )
    assert result.problems == ()
    assert defaults(result, "width", "height") == (640, 384)


def test_reports_a_size_taken_from_each_image() -> None:
    result = imported(
        sized(
            ["size", 0],
            ["size", 1],
            load=("LoadImage", "", {"image": "a.png"}),
            size=("GetImageSize", "", {"image": ["load", 0]}),
        )
    )
    assert defaults(result, "width", "height") == (None, None)
    assert (
        "how requests could set height: GetImageSize of node size computes it in each run"
        in result.open_questions
    )


def test_a_length_of_seconds_at_a_rate_is_so_many_frames() -> None:
    result = imported(
        film(
            ["frames", 1],
            ["same", 0],
            seconds=number(4),
            rate=number(24),
            frames=formula("a * b + 1", a=["seconds", 0], b=["rate", 0]),
            same=formula("a", a=["rate", 0]),
        )
    )
    assert defaults(result, "num_frames", "fps") == (97, 24)
    graph = rendered(result, num_frames=49, fps=12)
    assert graph["latent"]["inputs"]["length"] == 49
    assert graph["rate"]["inputs"]["value"] == 12
    assert not {"seconds", "frames"} & graph.keys()


def test_reports_seconds_that_set_more_than_the_length() -> None:
    graph = film(["frames", 1], 24.0, seconds=number(4), frames=formula("a * 24 + 1", a=["seconds", 0]))
    graph["latent"]["inputs"]["batch_size"] = ["seconds", 0]
    result = imported(graph)
    assert defaults(result, "num_frames") == (None,)
    told = (
        "how requests could set num_frames: ComfyMathExpression of node frames also determines other values"
    )
    assert told in result.open_questions


def test_a_switch_keeps_its_saved_branch() -> None:
    """What hangs on the other way is not there, and what is left can be set."""
    graph = drawn(
        quick=("PrimitiveBoolean", "", {"value": True}),
        few=number(4),
        many=number(30),
        steps=(
            "ComfySwitchNode",
            "",
            {"switch": ["quick", 0], "on_true": ["few", 0], "on_false": ["many", 0]},
        ),
    )
    graph["sampler"]["inputs"]["steps"] = ["steps", 0]
    result = imported(graph)
    assert defaults(result, "steps") == (4,)
    assert not {"many", "quick", "steps"} & rendered(result).keys()
    assert any("switch" in line and "on_true" in line for line in result.open_questions)


def test_a_switch_that_the_author_made_a_parameter_is_left_to_requests() -> None:
    graph = drawn(
        few=number(4),
        many=number(30),
        steps=(
            "ComfySwitchNode",
            "",
            {"switch": "{{ quick }}", "on_true": ["few", 0], "on_false": ["many", 0]},
        ),
    )
    graph["sampler"]["inputs"]["steps"] = ["steps", 0]
    result = imported(graph)
    assert result.bound_inputs["steps.switch"] == "{{ quick }}"
    assert defaults(result, "steps") == (None,)
    assert {"few", "many", "steps"} <= rendered(result).keys()


def test_nodes_that_compute_in_a_circle_or_without_end_decide_nothing() -> None:
    long = {f"n{index}": ("PrimitiveInt", "", {"value": [f"n{index + 1}", 0]}) for index in range(2000)}
    graph = sized(["n0", 0], ["n0", 0], **long, n2000=number(64))
    assert defaults(imported(graph), "width", "height") == (None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a * b + 1", 13),
        ("floor(a / 2) * 2", 4),
        ("a & -4", 4),
        ("max(a, b) if a > b else min(a, b, 7)", 4),
        ("round(sqrt(b ** 2))", 3),
        ("pow(2, b) % 5", 3),
        ("int(not a)", 0),
    ],
)
def test_evaluates_formulas(text: str, value: float) -> None:
    assert evaluate_formula(text, {"a": 4, "b": 3}) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a +",
        "c",
        "a / 0",
        "9 ** 9 ** 9",
        "pow(10, 65)",
        "1e300 * 10",
        "(0 - 1) ** 0.5",
        "a.real",
        "[a][0]",
        "__import__('os')",
        "(lambda: 1)()",
        "'a' * 9",
        "max(*[a])",
        "round(a, ndigits=1)",
        "a" * 1001,
        "(" * 400 + "a" + ")" * 400,
    ],
)
def test_rejects_invalid_formulas(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        evaluate_formula(text, {"a": 4, "b": 3})


def test_an_imported_video_is_cut_to_the_request() -> None:
    graph = rendered(imported(film(97, 24)), width=712, height=456, num_frames=90)
    assert (
        graph["latent"]["inputs"] | {"width": 736, "height": 480, "length": 97} == graph["latent"]["inputs"]
    )
    (cut,) = (node for node in graph.values() if node["class_type"] == "ImageFromBatch")
    (crop,) = (node for node in graph.values() if node["class_type"] == "ImageCrop")
    assert cut["inputs"]["length"] == 90
    assert (crop["inputs"]["width"], crop["inputs"]["height"]) == (712, 456)


def test_a_graph_that_enlarges_its_image_rejects_sizes_off_the_grid() -> None:
    larger = ("ImageScaleBy", "", {"image": ["decode", 0], "upscale_method": "lanczos", "scale_by": 2.0})
    saved = ("SaveImage", "", {"images": ["larger", 0], "filename_prefix": "x"})
    latent = ("EmptySD3LatentImage", "", {"width": 1024, "height": 1024, "batch_size": 1})
    plain, enlarged = (
        imported(drawn(latent=latent)),
        imported(drawn(latent=latent, larger=larger, save=saved)),
    )
    assert rendered(plain, width=1000)["latent"]["inputs"]["width"] == 1008
    assert parameters(enlarged)["width"]["off_grid"] == "reject"
    with pytest.raises(InvalidRequest, match="the nearest sizes are 1008x1024 and 992x1024"):
        rendered(enlarged, width=1000, height=1024)


def test_a_graph_that_adds_frames_rejects_lengths_off_the_grid() -> None:
    more = ("RepeatImageBatch", "", {"image": ["decode", 0], "amount": 2})
    graph = film(97, 24, more=more) | {
        "video": drawn(video=("CreateVideo", "", {"images": ["more", 0], "fps": 24}))["video"]
    }
    result = imported(graph)
    assert parameters(result)["num_frames"]["off_grid"] == "reject"
    assert rendered(result, num_frames=89)["latent"]["inputs"]["length"] == 89
    with pytest.raises(InvalidRequest, match="the nearest values are 89 and 97"):
        rendered(result, num_frames=90)


def batch_questions(data: Any) -> list[str]:
    return [question for question in imported(data).open_questions if "batch of" in question]


def test_a_fixed_batch_is_a_question() -> None:
    size = {"width": 1024, "height": 768}
    assert batch_questions(drawn()) == []
    (question,) = batch_questions(drawn(latent=("EmptyLatentImage", "", {**size, "batch_size": 8})))
    assert "a batch of 8: batch_size of node latent (EmptyLatentImage) is fixed" in question
    linked = drawn(
        count=("PrimitiveInt", "", {"value": 3}),
        latent=("EmptySD3LatentImage", "", {**size, "batch_size": ["count", 0]}),
    )
    assert "a batch of 3: batch_size of node latent" in batch_questions(linked)[0]
    assert parse_imported(imported(linked)).manifest.batch == 3
    assert parse_imported(imported(drawn())).manifest.batch == 1


def test_repeated_latents_are_a_question() -> None:
    sampler = drawn()["sampler"]["inputs"] | {"latent_image": ["more", 0]}
    data = drawn(
        more=("RepeatLatentBatch", "", {"samples": ["latent", 0], "amount": 4}),
        sampler=("KSampler", "", sampler),
    )
    assert ["a batch of 4: amount of node more" in each for each in batch_questions(data)] == [True]
    assert parse_imported(imported(data)).manifest.batch == 4
    data["latent"]["inputs"]["batch_size"] = 2
    model = parse_imported(imported(data))
    assert model.manifest.batch == 8
    assert to_billable_work(model, model.example_params(n=2), None).n == 16


@pytest.mark.parametrize(
    ("first", "length", "batch"), [(0, 1, 1), (0, 3, 3), (6, 4, 2), (0, ["several", 0], 3), (0, 100, 8)]
)
def test_a_part_of_a_batch_is_all_that_counts(first: int, length: Any, batch: int) -> None:
    picked = {"image": ["decode", 0], "batch_index": first, "length": length}
    data = drawn(
        several=("PrimitiveInt", "", {"value": 3}),
        latent=("EmptyLatentImage", "", {"width": 512, "height": 512, "batch_size": 8}),
        part=("ImageFromBatch", "", picked),
        save=("SaveImage", "", {"images": ["part", 0], "filename_prefix": "x"}),
    )
    assert parse_imported(imported(data)).manifest.batch == batch
    assert all("length of node part (ImageFromBatch)" in question for question in batch_questions(data))


def test_results_beside_a_part_of_the_batch_count() -> None:
    data = drawn(
        latent=("EmptyLatentImage", "", {"width": 512, "height": 512, "batch_size": 8}),
        part=("ImageFromBatch", "", {"image": ["decode", 0], "batch_index": 0, "length": 1}),
        small=("ImageBlend", "", {"image1": ["part", 0], "image2": ["decode", 0], "blend_factor": 0.5}),
        save=("SaveImage", "", {"images": ["small", 0], "filename_prefix": "x"}),
    )
    data["small"]["inputs"]["blend_mode"] = "normal"
    assert parse_imported(imported(data)).manifest.batch == 8


def test_frames_of_a_video_are_no_batch_of_results() -> None:
    frames = {"width": 512, "height": 512, "batch_size": 16}
    video = {
        "video": ("CreateVideo", "", {"images": ["decode", 0], "fps": 8.0}),
        "save": (
            "SaveVideo",
            "",
            {"video": ["video", 0], "filename_prefix": "x", "format": "auto", "codec": "auto"},
        ),
    }
    assert batch_questions(drawn(latent=("EmptyLatentImage", "", frames), **video)) == []
    several = {"width": 512, "height": 512, "length": 33, "batch_size": 2}
    assert len(batch_questions(drawn(latent=("EmptyHunyuanLatentVideo", "", several), **video))) == 1
