"""Graphs saved with other versions of classes: what the file proves, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.canvas import api, image, node, save, socket, widget, workflow
from tests.unit.catalog.test_import_packs import entry, take

FILTER = entry(
    {
        "image": ["IMAGE"],
        "seed": ["INT", {"default": 0, "min": 0, "max": 99}],
        "method": [["soft", "hard"]],
        "strength": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0}],
    },
    "IMAGE",
    tint=[["none", "red"], {"default": "none"}],
    passes=["INT", {"default": 4, "min": 1}],
)
SCREEN = entry({"anything": ["*"]}, saves=True)
TEXT_JOIN = entry(
    {"delimiter": ["STRING", {"default": ", "}], "clean_whitespace": [["true", "false"]]},
    "STRING",
    text_a=["STRING", {"forceInput": True}],
)
MAKER = entry({"model": ["MODEL"]}, "MODEL", "IMAGE", saves=True)
PACKS = {"TheirFilter": FILTER, "TheirViewer": SCREEN, "Text Concatenate": TEXT_JOIN, "TheirMaker": MAKER}


def filtered(values: list[Any]) -> dict[str, Any]:
    return workflow(
        image(1),
        node(2, "TheirFilter", inputs=[socket("image", "IMAGE", 1)], gives=["IMAGE"], widgets_values=values),
        save(3, 2),
        links=[[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
    )


@pytest.mark.parametrize("values", [[7, "fixed", "hard", 0.5], [7, "hard", 0.5]])
def test_optional_inputs_that_a_file_lacks_are_left_to_the_class(values: list[Any]) -> None:
    result = take(filtered(values), PACKS)
    assert result.usable
    inputs = {key: value for key, value in result.fixed_inputs.items() if key.startswith("2.")}
    assert inputs | {"2.seed": 7} == {"2.seed": 7, "2.method": "hard", "2.strength": 0.5}
    assert any("they fit its inputs in one way only" in question for question in result.open_questions)


@pytest.mark.parametrize(
    "values",
    [
        [7, "fixed", "hard"],  # a required input has no value
        [7, "fixed", "hard", 0.5, 1],  # of a class with these two optional inputs, 1 can be `passes` only
    ],
)
def test_a_required_input_is_never_filled_in(values: list[Any]) -> None:
    result = take(filtered(values), PACKS)
    assert result.usable is (len(values) == 5)
    assert result.fixed_inputs.get("2.passes") == (
        1 if len(values) == 5 else result.fixed_inputs.get("2.passes")
    )


def test_values_that_fit_in_several_ways_are_not_usable() -> None:
    packs = PACKS | {
        "TheirFilter": entry(
            {"image": ["IMAGE"]},
            "IMAGE",
            low=["INT", {"default": 0}],
            high=["INT", {"default": 0}],
        )
    }
    assert not take(filtered([3]), packs).usable
    assert take(filtered([3, 4]), packs).usable


def test_values_beyond_the_kinds_of_inputs_are_not_usable() -> None:
    assert not take(filtered([7, "fixed", "hard", 0.5, "none", 4, "more"]), PACKS).usable
    assert not take(filtered([7, "fixed", "unheard of", 0.5]), PACKS).usable
    assert not take(filtered([700, "fixed", "hard", 0.5]), PACKS).usable


def test_texts_that_only_a_page_keeps_are_no_values() -> None:
    data = filtered([7, "fixed", "hard", 0.5, "none", 4])
    data["nodes"].append(
        node(4, "TheirViewer", inputs=[socket("anything", "*", 3)], widgets_values=["what it showed"])
    )
    data["links"].append([3, 2, 0, 4, 0, "IMAGE"])
    assert take(data, PACKS).usable
    for shown in ("<tr><td>Output: </td><td>512 x 768</td></tr>", "<details><summary>Of a file</summary>"):
        assert take(filtered([7, "fixed", "hard", 0.5, "none", 4, shown]), PACKS).usable


@pytest.mark.parametrize(("value", "delimiter"), [("true", "\n"), ("false", "")])
def test_a_join_of_an_older_version_keeps_its_effect(value: str, delimiter: str) -> None:
    data = workflow(
        node(1, "Text Concatenate", gives=["STRING"], widgets_values=[value]),
        node(2, "PreviewAny", inputs=[socket("source", "*", 1)]),
        links=[[1, 1, 0, 2, 0, "STRING"]],
    )
    prompt = {"1": {"class_type": "Text Concatenate", "inputs": {"linebreak_addition": value}}}
    for result in (take(data, PACKS, prompt), take(data, PACKS)):
        assert result.usable
        assert result.fixed_inputs["1.delimiter"] == delimiter
        assert result.fixed_inputs["1.clean_whitespace"] == "false"
        assert "node 1: delimiter replaces linebreak_addition of an older version, with the same effect" in (
            result.changes
        )


def test_classes_that_comfyui_renamed_get_their_new_name() -> None:
    average = {"conditioning_to": ["n", 0], "conditioning_from": ["p", 0], "conditioning_to_strength": 1}
    control = {"conditioning": ["p", 0], "control_net": ["a", 0], "image": ["b", 0], "strength": 1}
    links = {"model": ["c", 0], "positive": ["m", 0], "negative": ["p", 0], "latent_image": ["e", 0]}
    numbers = {"seed": 1, "steps": 4, "cfg": 1, "denoise": 1}
    data = api(
        a=("T2IAdapterLoader", "", {"t2i_adapter_name": "depth.pth"}),
        b=("LoadImage", "", {"image": "x.png"}),
        p=("CLIPTextEncode", "", {"text": "a hare", "clip": ["c", 1]}),
        c=("CheckpointLoaderSimple", "", {"ckpt_name": "sd.safetensors"}),
        n=("ControlNetApply", "", control),
        m=("ConditioningAverage ", "", average),
        e=("EmptyLatentImage", "", {"width": 512, "height": 512, "batch_size": 1}),
        k=("KSampler", "", {**links, **numbers, "sampler_name": "euler", "scheduler": "normal"}),
        v=("VAEDecode", "", {"samples": ["k", 0], "vae": ["c", 2]}),
        s=("SaveImage", "", {"images": ["v", 0], "filename_prefix": "x"}),
    )
    result = take(data)
    assert result.usable, result.problems
    assert result.fixed_inputs["a.control_net_name"] == "depth.pth"
    assert "node m: ConditioningAverage is today's name of ConditioningAverage " in result.changes


def test_images_that_only_a_node_of_a_pack_shows_are_saved() -> None:
    def made(count: int) -> dict[str, Any]:
        data = workflow(
            node(
                1, "CheckpointLoaderSimple", gives=["MODEL", "CLIP", "VAE"], widgets_values=["x.safetensors"]
            ),
            *(
                node(2 + n, "TheirMaker", inputs=[socket("model", "MODEL", 1 + n)], gives=["MODEL", "IMAGE"])
                for n in range(count)
            ),
            links=[[1 + n, 1 + n, 0, 2 + n, 0, "MODEL"] for n in range(count)],
        )
        return data

    result = take(made(1), PACKS)
    assert result.usable
    assert "node 2: SaveImage is added, which saves what TheirMaker gives" in result.changes
    assert '"images": [' in result.graph


def test_images_that_only_a_screen_of_a_pack_gets_are_saved() -> None:
    data = filtered([7, "fixed", "hard", 0.5, "none", 4])
    data["nodes"][2] = node(3, "TheirViewer", inputs=[socket("anything", "*", 2)])
    result = take(data, PACKS)
    assert result.usable
    assert "SaveImage" in result.graph


def test_options_that_got_a_remark_since_are_found() -> None:
    translator = entry(
        {"service": [["Google [free]", "Pons [free]", "Pons [paid]"], {"default": "Google"}]}, "STRING"
    )

    def with_service(service: str) -> Any:
        return take(
            api(
                a=("Translator", "", {"service": service}),
                b=("PreviewAny", "", {"source": ["a", 0]}),
            ),
            {"Translator": translator},
        )

    result = with_service("Google")
    assert result.usable
    assert result.fixed_inputs["a.service"] == "Google [free]"
    assert any("Google [free] is today's name of the option" in change for change in result.changes)
    # Two options begin so, or none.
    assert not with_service("Pons").usable
    assert not with_service("Goo").usable


def test_files_that_a_program_fills_in_are_parameters() -> None:
    result = take(
        api(
            a=("LoadImage", "", {}),
            b=("ImageInvert", "", {"image": ["a", 0]}),
            s=("SaveImage", "", {"images": ["b", 0], "filename_prefix": "x"}),
        )
    )
    assert result.usable
    assert result.bound_inputs["a.image"] == "{{ image }}"
    assert "node a, input image: has no file, which every request has to give" in result.changes


def test_a_node_without_inputs_is_one_that_a_program_fills_in() -> None:
    data = api(
        a=("LoadImage", "", {}),
        b=("ImageInvert", "", {"image": ["a", 0]}),
        s=("SaveImage", "", {"images": ["b", 0], "filename_prefix": "x"}),
    )
    del data["a"]["inputs"]
    result = take(data)
    assert result.usable
    assert result.bound_inputs["a.image"] == "{{ image }}"


def named(*names: str, values: list[Any]) -> dict[str, Any]:
    """A graph of a recent frontend, which saves a socket for each widget."""
    data = filtered(values)
    data["nodes"][1]["inputs"] += [widget(name) for name in names]
    return data


def test_values_belong_to_the_widgets_that_the_file_names() -> None:
    # By its number of values, the file could be of the class; `old` and `passes` show that it is not.
    values = [7, "fixed", 3, "hard", 9, 0.5]
    result = take(named("seed", "passes", "method", "old", "strength", values=values), PACKS)
    assert result.usable
    inputs = {key: value for key, value in result.fixed_inputs.items() if key.startswith("2.")}
    assert inputs | {"2.seed": 7} == {"2.seed": 7, "2.method": "hard", "2.strength": 0.5, "2.passes": 3}
    # A required widget that the file lacks has its default.
    result = take(named("seed", "strength", values=[7, "fixed", 0.5]), PACKS)
    assert result.usable
    assert result.fixed_inputs["2.method"] == "soft"


def test_names_of_only_some_widgets_place_no_values() -> None:
    assert not take(named("seed", values=[7, "fixed", "hard"]), PACKS).usable
    # The name is the class's, the value is not.
    assert not take(named("seed", "method", values=[7, "fixed", 0.5]), PACKS).usable


RESIZE = entry(
    {
        "image": ["IMAGE"],
        "width": ["INT", {"default": 512}],
        "height": ["INT", {"default": 512}],
        "interpolation": [["nearest", "lanczos"]],
        "method": [["stretch", "keep proportion", "pad"]],
        "condition": [["always", "downscale if bigger"]],
        "multiple_of": ["INT", {"default": 0}],
    },
    "IMAGE",
)


@pytest.mark.parametrize(("keeps", "method"), [(True, "keep proportion"), (False, "stretch")])
def test_a_resize_of_an_older_version_keeps_its_effect(keeps: bool, method: str) -> None:
    data = filtered([640, 480, "lanczos", keeps, "always", 8])
    data["nodes"][1]["type"] = "ImageResize+"
    old = {"width": 640, "height": 480, "interpolation": "lanczos", "condition": "always", "multiple_of": 8}
    for name in ("keep_proportion", "method"):
        graph = api(
            a=("LoadImage", "", {"image": "x.png"}),
            b=("ImageResize+", "", {"image": ["a", 0], **old, name: keeps}),
            s=("SaveImage", "", {"images": ["b", 0], "filename_prefix": "x"}),
        )
        for result, id in (
            (take(graph, {"ImageResize+": RESIZE}), "b"),
            (take(data, {"ImageResize+": RESIZE}), "2"),
        ):
            assert result.usable
            assert result.fixed_inputs[f"{id}.method"] == method


def test_devices_of_the_server_that_gave_the_facts_are_not_all_there_are() -> None:
    packs = {"TheirFilter": entry({"image": ["IMAGE"], "device": [["cpu", "cuda:0"]]}, "IMAGE")}
    assert take(filtered(["cuda:1"]), packs).usable
    packs = {"TheirFilter": entry({"image": ["IMAGE"], "device": [["cpu", "gpu"]]}, "IMAGE")}
    assert not take(filtered(["cuda:1"]), packs).usable


def filtered_by_api(**inputs: Any) -> dict[str, Any]:
    return api(
        a=("LoadImage", "", {"image": "x.png"}),
        b=("TheirFilter", "", {"image": ["a", 0], **inputs}),
        s=("SaveImage", "", {"images": ["b", 0], "filename_prefix": "x"}),
    )


def test_required_widgets_that_a_class_has_got_since_have_their_defaults() -> None:
    result = take(filtered_by_api(strength=0.5), PACKS)
    assert result.usable
    assert result.fixed_inputs["b.method"] == "soft"
    assert result.fixed_inputs["b.strength"] == 0.5
    assert "node b, input method: the file has no value; 'soft' is the class's default" in result.changes


def test_no_default_replaces_a_value_that_may_have_another_name_now() -> None:
    result = take(filtered_by_api(kind="hard", seed=3, strength=0.5), PACKS)
    assert not result.usable
    assert "b.method" not in result.fixed_inputs


SEED = entry({"seed": ["INT", {"default": 0, "min": -1, "max": 2**53}]}, "INT")
JOIN_MULTI = entry(
    {
        "inputcount": ["INT", {"default": 2, "min": 2, "max": 1000}],
        "delimiter": ["STRING", {"default": " "}],
        "return_list": ["BOOLEAN", {"default": False}],
    },
    "STRING",
)
TEXT = entry({"text": ["STRING", {}]}, "STRING")
BUTTON_PACKS = {"TheirSeed": SEED, "TheirJoinMulti": JOIN_MULTI, "TheirText": TEXT}


def shown(class_type: str, values: list[Any], *inputs: dict[str, Any]) -> dict[str, Any]:
    """A graph that shows what one node of a pack gives."""
    return workflow(
        node(1, class_type, inputs=list(inputs), gives=["STRING"], widgets_values=values),
        node(2, "PreviewAny", inputs=[socket("source", "*", 1)]),
        links=[[1, 1, 0, 2, 0, "STRING"]],
    )


@pytest.mark.parametrize("buttons", [["", "", ""], [None, None, None], ["okay"], ["", None]])
def test_buttons_behind_a_seed_are_no_values(buttons: list[Any]) -> None:
    result = take(shown("TheirSeed", [1234, *buttons]), BUTTON_PACKS)
    assert result.usable, result.problems
    assert '"1":' in result.graph
    assert result.bound_inputs.keys() | result.fixed_inputs.keys() >= {"1.seed"}


@pytest.mark.parametrize("button", [None, ""])
def test_buttons_behind_widgets_are_no_values(button: Any) -> None:
    run = {"inputcount": 2, "delimiter": " ", "return_list": False, "Update inputs": button}
    prompt = {"1": {"class_type": "TheirJoinMulti", "inputs": run}}
    data = shown("TheirJoinMulti", [2, " ", False, button])
    for result in (take(data, BUTTON_PACKS), take(data, BUTTON_PACKS, prompt)):
        assert result.usable, result.problems
        inputs = {name: value for name, value in result.fixed_inputs.items() if name.startswith("1.")}
        assert inputs == {"1.inputcount": 2, "1.delimiter": " ", "1.return_list": False}


def test_inputs_with_a_value_that_a_class_lacks_are_a_difference() -> None:
    run = {"inputcount": 2, "delimiter": " ", "return_list": False, "separator": "and"}
    prompt = {"1": {"class_type": "TheirJoinMulti", "inputs": run}}
    result = take(shown("TheirJoinMulti", [2, " ", False, None]), BUTTON_PACKS, prompt)
    assert [problem.input for problem in result.problems if problem.code == "graphs_differ"] == ["separator"]


def test_an_empty_text_that_may_belong_to_a_removed_widget_is_not_usable() -> None:
    # The empty text is that of a button, or of a second text widget; the class may have lost the first.
    assert not take(shown("TheirText", ["a hare", ""]), BUTTON_PACKS).usable
    assert take(shown("TheirText", ["a hare", None]), BUTTON_PACKS).usable
    with_socket = shown("TheirText", ["a hare", ""], widget("text"))
    assert take(with_socket, BUTTON_PACKS).usable
    other_version = shown("TheirText", ["a hare", ""], widget("prefix"), widget("text"))
    assert not take(other_version, BUTTON_PACKS).usable


def test_the_number_of_widgets_that_a_class_takes_leaves_out_what_the_page_uses() -> None:
    result = take(shown("TheirSeed", [1234, None, "more"]), BUTTON_PACKS)
    problem = next(each for each in result.problems if each.code == "widget_mismatch")
    assert "the class takes 2 (seed, and 1 that only the page uses)" in problem.message


def test_the_preview_of_a_run_is_no_difference() -> None:
    numbers = {"codec": "vp9", "fps": 24.0, "crf": 32.0}
    data = workflow(
        image(1),
        node(2, "SaveWEBM", inputs=[socket("images", "IMAGE", 1)], widgets_values=["ComfyUI", "vp9", 24, 32]),
        links=[[1, 1, 0, 2, 0, "IMAGE"]],
    )
    inputs = {"images": ["1", 0], "filename_prefix": "ComfyUI", **numbers, "video-preview": ""}
    result = take(data, {}, {"2": {"class_type": "SaveWEBM", "inputs": inputs}})
    assert result.usable, result.problems


def cycled(values: list[Any], *, link: int | None = 3) -> Any:
    """A node whose input `frame` had a widget once, and must be linked now."""
    sockets = [socket("image", "IMAGE", 1), socket("frame", "INT", link) | {"widget": {"name": "frame"}}]
    data = filtered([7, "fixed", "hard", 0.5, "none", 4])
    drawn = next(each for each in data["nodes"] if each["id"] == 2)
    drawn |= {"type": "TheirCycle", "inputs": sockets, "widgets_values": values}
    data["nodes"].append(node(9, "PrimitiveInt", gives=["INT"], widgets_values=[5, "fixed"]))
    data["links"].append([3, 9, 0, 2, 1, "INT"])
    return data


CYCLE = {
    "TheirCycle": entry(
        {
            "image": ["IMAGE"],
            "mode": ["STRING", {}],
            "frame": ["INT", {"forceInput": True}],
            "count": ["INT", {}],
            "path": ["STRING", {}],
        },
        "IMAGE",
    )
}


def test_a_widget_that_became_an_input_has_a_slot_in_older_files() -> None:
    for values in (["turn", 0, 9, ""], ["turn", 9, ""]):
        result = take(cycled(values), PACKS | CYCLE)
        assert result.usable, result.problems
        fixed = result.fixed_inputs
        assert (fixed["2.mode"], fixed["2.count"], fixed["2.path"]) == ("turn", 9, "")
    assert not take(cycled(["turn", 0, 9, "", 7]), PACKS | CYCLE).usable
    assert not take(cycled(["turn", "x", 9, ""]), PACKS | CYCLE).usable


def test_the_value_of_a_linked_widget_may_be_anything() -> None:
    facts = {"TheirCycle": entry({"image": ["IMAGE"], "mode": ["STRING", {}], "frame": ["INT", {}]}, "IMAGE")}
    assert take(cycled(["turn", ""]), PACKS | facts).usable
    assert not take(cycled(["turn", ""], link=None), PACKS | facts).usable
