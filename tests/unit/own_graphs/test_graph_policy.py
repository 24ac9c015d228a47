"""What callers' own graphs may hold, as an attacker would try it."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest

from comfy_instances.protocol.node_facts import load_core_node_facts
from orchestrator.own_graphs.denied_classes import DENIED_CLASSES
from orchestrator.own_graphs.limits import GraphLimits
from orchestrator.own_graphs.policy import GraphPolicy
from orchestrator.own_graphs.rejections import GraphRejected

SOURCE: dict[str, Any] = {
    "class_type": "EmptyImage",
    "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
}
SAVER = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "ComfyUI"}}
PLAIN = {"1": SOURCE, "2": SAVER}
ASSET = {"__type": "core/ASSET", "info": {"id": "6d36e0f0-0000-4000-8000-000000000000"}}


@cache
def policy() -> GraphPolicy:
    return GraphPolicy(facts=load_core_node_facts())


def graph(**nodes: Any) -> dict[str, Any]:
    """The plain graph with further nodes, or others, by `nID`."""
    return copy.deepcopy(PLAIN) | {name.removeprefix("n"): node for name, node in nodes.items()}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def reject(data: object, of: GraphPolicy | None = None) -> GraphRejected:
    with pytest.raises(GraphRejected) as caught:
        (of or policy()).check(data)
    return caught.value


def only_error(error: GraphRejected, id: str) -> dict[str, Any]:
    (found,) = error.node_errors[id]["errors"]
    assert set(found) == {"type", "message", "details", "extra_info"}
    return dict(found)


def test_accepts_a_plain_graph_and_sends_what_its_classes_declare_only() -> None:
    inputs = SOURCE["inputs"] | {"secret": "../x", "unique_id": "1"}
    data = graph(n1=node("EmptyImage", **inputs))
    data["2"]["is_changed"] = ["x"]
    checked = policy().check(data)
    assert checked.nodes == PLAIN
    assert checked.outputs == ("2",)


def test_names_node_field_and_value_in_the_shape_of_comfyui() -> None:
    error = reject(graph(n2=node("SaveImage", images=["1", 0], filename_prefix="../../etc/cron.d/x")))
    found = only_error(error, "2")
    assert found["extra_info"] == {"input_name": "filename_prefix", "received_value": "../../etc/cron.d/x"}
    assert "without absolute or parent paths" in found["message"]
    assert error.node_errors["2"]["class_type"] == "SaveImage"
    assert error.node_errors["2"]["dependent_outputs"] == ["2"]
    assert error.error_type == "prompt_outputs_failed_validation"


@pytest.mark.parametrize("name", sorted(DENIED_CLASSES))
def test_rejects_every_class_of_the_list_with_its_reason(name: str) -> None:
    assert name in load_core_node_facts()
    error = reject(graph(n3=node(name)))
    assert error.error_type == "forbidden_class"
    assert DENIED_CLASSES[name] in only_error(error, "3")["message"]


#: Core classes that read or write files, load code, reach devices or evaluate text: either denied, or allowed
#: because their inputs are checked.
@pytest.mark.parametrize(
    "word",
    ["TrainLora", "CheckpointSave", "DataSet", "Dataset", "Regex", "GLSL", "Webcam", "Load3D", "Compile"],
)
def test_denies_all_classes_of_a_dangerous_kind(word: str) -> None:
    names = [name for name in load_core_node_facts() if word in name and "Shuffle" not in name]
    assert names
    assert [name for name in names if policy().is_allowed(name)] == []


def test_denies_every_class_that_saves_weights() -> None:
    saved = {"MODEL", "CLIP", "VAE", "LORA_MODEL", "CLIP_VISION"}
    for name, entry in load_core_node_facts().items():
        inputs = {**entry["input"].get("required", {}), **entry["input"].get("optional", {})}
        types = {spec[0] for spec in inputs.values() if isinstance(spec, list) and isinstance(spec[0], str)}
        if entry.get("output_node") and types & saved:
            assert not policy().is_allowed(name), name


@pytest.mark.parametrize(
    "name", ["WanVideoSampler", "VHS_VideoCombine", "OpenAIGPTImage1", "", "../../x", "os"]
)
def test_rejects_classes_that_the_core_does_not_have(name: str) -> None:
    if not name:
        assert reject(graph(n3={"class_type": name, "inputs": {}})).error_type == "invalid_prompt"
        return
    error = reject(graph(n3=node(name)))
    assert error.error_type == "missing_node_type"
    assert only_error(error, "3")["extra_info"] == {"node_id": "3", "class_type": name}


def test_lets_operators_allow_a_denied_class() -> None:
    allowing = GraphPolicy(facts=load_core_node_facts(), allowed=frozenset({"RegexReplace"}))
    data = graph(
        n3=node("RegexReplace", string="a", regex_pattern="a", replace="b"),
        n4=node("PreviewAny", source=["3", 0]),
    )
    assert set(allowing.check(data).outputs) == {"2", "4"}
    assert reject(data).error_type == "forbidden_class"


FILES = [
    ("LoadImage", "image"),
    ("LoadImageMask", "image"),
    ("LoadAudio", "audio"),
    ("LoadVideo", "file"),
    ("Painter", "mask"),
]
PATHS = [
    "/etc/passwd", "../secret.png", "a/../../b.png", "..\\x.png", "C:\\x.png", "\\\\host\\x.png", "~/x.png",
    "/proc/self/environ", "x\0.png", "a/..", "x.png\n/etc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("class_type", "name"), FILES)
def test_rejects_paths_where_a_file_of_the_caller_belongs(class_type: str, name: str, path: str) -> None:
    for value in (path, {"__value__": path}, {"__value__": {"__value__": path}}):
        error = reject(graph(n3=node(class_type, **{name: value}), n4=node("PreviewAny", source=["3", 0])))
        assert only_error(error, "3")["type"] == "forbidden_value"


@pytest.mark.parametrize(("class_type", "name"), FILES)
def test_rejects_a_file_name_that_another_node_makes(class_type: str, name: str) -> None:
    data = graph(
        n3=node(class_type, **{name: ["5", 0]}),
        n4=node("PreviewAny", source=["3", 0]),
        n5=node("StringConcatenate", string_a="/etc/", string_b="passwd", delimiter=""),
    )
    assert "not a link" in only_error(reject(data), "3")["message"]


@pytest.mark.parametrize("value", [None, 3, True, "", " ", [], ["a", "b", "c"], {}, {"a": 1}])
def test_rejects_what_is_no_file_name(value: Any) -> None:
    data = graph(n1=node("LoadImage", image=value))
    assert only_error(reject(data), "1")["type"] in ("invalid_input_type", "forbidden_value")


def test_takes_uploads_and_assets_as_files_to_resolve() -> None:
    data = graph(n1=node("LoadImage", image=ASSET), n3=node("LoadImage", image="photo.png"))
    data["4"] = node("PreviewImage", images=["3", 0])
    uses = {(use.node, use.input): use.value for use in policy().check(data).files}
    assert uses == {("1", "image"): ASSET, ("3", "image"): "photo.png"}


def test_rejects_an_asset_where_no_file_belongs() -> None:
    data = graph(n2=node("SaveImage", images=["1", 0], filename_prefix=ASSET))
    assert "takes no file" in only_error(reject(data), "2")["message"]


@pytest.mark.parametrize(
    "class_type", ["CheckpointLoaderSimple", "VAELoader", "UNETLoader", "LoraLoaderModelOnly"]
)
def test_rejects_weights_by_path_by_link_and_of_other_callers(class_type: str) -> None:
    entry = load_core_node_facts()[class_type]["input"]["required"]
    name = next(key for key in entry if key.endswith("_name"))
    rest = {"model": ["1", 0], "strength_model": 1.0} if "model" in entry else {}
    rest |= {"weight_dtype": "default"} if "weight_dtype" in entry else {}
    for value in ("../../x.safetensors", "/x.safetensors", "pixelfactory-lora-" + "0" * 64 + ".safetensors"):
        data = graph(n3=node(class_type, **{name: value}, **rest), n4=node("PreviewAny", source=["3", 0]))
        assert "3" in reject(data).node_errors
    data = graph(
        n3=node(class_type, **{name: ["5", 0]}, **rest),
        n4=node("PreviewAny", source=["3", 0]),
        n5=node("PrimitiveString", value="x"),
    )
    assert "not a link" in str(reject(data).node_errors["3"])


def test_rejects_embeddings_by_path() -> None:
    data = graph(n3=node("PrimitiveString", value="a cat, (embedding:../../secret:1.2)"))
    data["4"] = node("PreviewAny", source=["3", 0])
    assert "embedding" in only_error(reject(data), "3")["message"]


@pytest.mark.parametrize(
    "expression",
    ["2**99999", "pow(9, 4000)", "a << 99", "'x' * 9", "__import__('os')", "a" * 201, "[1]*9", "a;b"],
)
def test_rejects_expressions_that_grow_without_bound(expression: str) -> None:
    data = graph(n3=node("ComfyMathExpression", expression=expression, **{"values.a": 1}))
    data["4"] = node("PreviewAny", source=["3", 0])
    assert "3" in reject(data).node_errors


def test_accepts_plain_arithmetic() -> None:
    data = graph(n3=node("ComfyMathExpression", expression="min(a, 4) * 2 + 1", **{"values.a": 1}))
    data["4"] = node("PreviewAny", source=["3", 0])
    assert policy().check(data).nodes["3"]["inputs"]["expression"] == "min(a, 4) * 2 + 1"


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}", "{% for i in range(9) %}", "{{ ''.__class__ }}", "${x}"])
def test_never_evaluates_templates(text: str) -> None:
    data = graph(n3=node("PrimitiveString", value=text), n4=node("PreviewAny", source=["3", 0]))
    checked = policy().check(data)
    assert checked.nodes["3"]["inputs"]["value"] == text
    assert checked.texts == {"3.value": text}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 100_000),
        ("width", "100000"),
        ("height", 1e12),
        ("batch_size", 5000),
        ("width", float("inf")),
    ],
)
def test_rejects_huge_sizes(name: str, value: Any) -> None:
    data = graph()
    data["1"]["inputs"][name] = value
    error = reject(data)
    assert error.error_type in ("prompt_outputs_failed_validation", "invalid_prompt")


def test_rejects_sizes_that_only_the_run_would_know() -> None:
    data = graph(n3=node("StringLength", string="x" * 99))
    data["1"]["inputs"]["width"] = ["3", 0]
    assert only_error(reject(data), "1")["type"] == "unbounded_value"


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("a * 9999", False),
        ("a * 2 + 1", True),
        ("min(a * 9999, 512)", True),
        ("max(a, 99999)", False),
        ("64 if a > 3 else 99999", False),
        ("64 if a > 3 else 128", True),
        ("a / 0.0001", False),
        ("1000000 / (a - 64)", False),
        ("floor(a / 16) * 16", True),
        ("int(sqrt(a)) + round(a)", True),
        ("a % 7 + abs(0 - a)", True),
        ("-a * -99999", False),
        ("b", False),
    ],
)
def test_bounds_sizes_that_are_computed(expression: str, fits: bool) -> None:
    data = graph(n3=node("ComfyMathExpression", expression=expression, **{"values.a": ["4", 0]}))
    data["4"] = node("PrimitiveInt", value=64)
    data["1"]["inputs"]["width"] = ["3", 1]
    if fits:
        assert policy().check(data).nodes["1"]["inputs"]["width"] == ["3", 1]
    else:
        assert "1" in reject(data).node_errors


def test_bounds_sizes_of_images_and_switches() -> None:
    data = graph(n5=SOURCE, n4=node("GetImageSize", image=["5", 0]))
    data["3"] = node("ComfyMathExpression", expression="a / 2", **{"values.a": ["4", 0]})
    data["1"]["inputs"]["width"] = ["3", 1]
    assert policy().check(data)
    data["3"]["inputs"]["expression"] = "100000 / a"
    assert "1" in reject(data).node_errors


def test_denies_what_the_check_of_outputs_cannot_look_at() -> None:
    checking = GraphPolicy(
        facts=load_core_node_facts(), also_denied={"SaveLatent": "latents are not looked at"}
    )
    data = graph(n3=node("EmptyLatentImage", width=64, height=64, batch_size=1))
    data["4"] = node("SaveLatent", samples=["3", 0], filename_prefix="x")
    assert policy().check(data)
    assert "latents are not looked at" in only_error(reject(data, checking), "4")["message"]


def test_names_the_nodes_whose_pictures_are_only_shown() -> None:
    data = graph(n2=node("MaskPreview", mask=["3", 0]), n3=node("SolidMask", value=1.0, width=64, height=64))
    assert str(reject(data)).startswith(
        "The graph saves nothing: what MaskPreview (node 2) shows is not kept; add an output node"
    )


def test_takes_sizes_of_primitives_and_bounds_them() -> None:
    data = graph(n3=node("PrimitiveInt", value=128))
    data["1"]["inputs"]["width"] = ["3", 0]
    assert policy().check(data).nodes["1"]["inputs"]["width"] == ["3", 0]
    data["3"]["inputs"]["value"] = 10**9
    assert only_error(reject(data), "1")["type"] == "value_bigger_than_max"


@pytest.mark.parametrize("steps", [100_000, "201"])
def test_rejects_too_many_steps(steps: Any) -> None:
    scheduler = node("BasicScheduler", model=["1", 0], scheduler="normal", steps=steps, denoise=1.0)
    error = reject(graph(n3=scheduler, n4=node("PreviewAny", source=["3", 0])))
    assert "max_steps" in str(error.node_errors["3"])


def test_rejects_chains_that_double_their_data() -> None:
    data = graph(n10=node("PrimitiveString", value="ha"))
    for number in range(11, 41):
        before = [str(number - 1), 0]
        data[str(number)] = node("StringConcatenate", string_a=before, string_b=before, delimiter="")
    data["99"] = node("PreviewAny", source=["40", 0])
    assert "graph_grows_too_much" in str(reject(data).node_errors)


def test_rejects_chains_that_enlarge_images() -> None:
    data = graph()
    for number in range(10, 14):
        before = [str(number - 1) if number > 10 else "1", 0]
        data[str(number)] = node("RepeatImageBatch", image=before, amount=16)
    data["2"]["inputs"]["images"] = ["13", 0]
    assert "graph_grows_too_much" in str(reject(data).node_errors)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        (
            {
                "1": node("EmptyImage", width=4096, height=4096, batch_size=16, color=0),
                "3": node("ImageScaleBy", image=["1", 0], upscale_method="nearest-exact", scale_by=8.0),
            },
            "makes up to 16 image(s) of 1.07e+03 megapixels",
        ),
        (
            {
                "1": node("EmptyImage", width=64, height=64, batch_size=16, color=0),
                "4": node("RepeatImageBatch", image=["1", 0], amount=16),
                "3": node(
                    "ImageScale", image=["4", 0], upscale_method="nearest-exact", width=4096, height=4096,
                    crop="disabled",
                ),
            },
            "makes up to 256 image(s) of 16.8 megapixels",
        ),
        (
            {
                "1": node("EmptyImage", width=4096, height=4096, batch_size=16, color=0),
                "4": node("RepeatImageBatch", image=["1", 0], amount=4),
                "3": node("ImageBatch", image1=["4", 0], image2=["4", 0]),
            },
            "makes up to 128 image(s) of 16.8 megapixels, 2147 in all; at most 2048 are allowed",
        ),
    ],
)  # fmt: skip
def test_rejects_more_pixels_than_an_instance_has_memory_for(nodes: dict[str, Any], says: str) -> None:
    """The last of them is node 3; nothing is enlarged so much that growth alone would tell."""
    found = reject({**nodes, "2": node("PreviewImage", images=["3", 0])}).node_errors
    assert says in str(found["3"]), found


def test_accepts_large_images_and_long_videos() -> None:
    nodes = {
        "1": node("EmptyImage", width=1280, height=720, batch_size=16, color=0),
        "3": node("RepeatImageBatch", image=["1", 0], amount=8),
        "4": node("ImageScaleBy", image=["3", 0], upscale_method="nearest-exact", scale_by=4.0),
        "2": node("PreviewImage", images=["4", 0]),
    }
    assert policy().check(nodes).outputs


def test_rejects_cycles_without_running_into_them() -> None:
    data = graph(n3=node("ImageInvert", image=["4", 0]), n4=node("ImageInvert", image=["3", 0]))
    assert "dependency_cycle" in str(reject(data).node_errors)


def test_rejects_long_chains_and_many_nodes() -> None:
    data = graph()
    for number in range(3, 230):
        data[str(number)] = node("ImageInvert", image=[str(number - 1) if number > 3 else "1", 0])
    assert "chain of" in reject(data).message
    many = {str(number): SOURCE for number in range(10_000)}
    assert "10000 nodes" in reject(many).message


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({}, "prompt_no_outputs"),
        ([], "invalid_prompt"),
        ("x", "invalid_prompt"),
        (None, "invalid_prompt"),
        ({"1": SOURCE}, "prompt_no_outputs"),
        ({"1": SOURCE, "2": node("MaskPreview", mask=["1", 0])}, "prompt_no_outputs"),
        ({"1": []}, "invalid_prompt"),
        ({"1": {"inputs": {}}}, "invalid_prompt"),
        ({"1": {"class_type": "EmptyImage", "inputs": []}}, "invalid_prompt"),
        ({"1": {"class_type": 3, "inputs": {}}}, "invalid_prompt"),
        ({"<script>": SOURCE}, "invalid_prompt"),
        ({"nodes": [], "links": []}, "invalid_prompt"),
    ],
)
def test_rejects_what_is_no_graph(data: object, kind: str) -> None:
    assert reject(data).error_type == kind


@pytest.mark.parametrize("link", [["9", 0], ["1", -1], ["1", 0.0], ["1", 1.5]])
def test_rejects_damaged_links(link: list[Any]) -> None:
    data = graph()
    data["2"]["inputs"]["images"] = link
    assert "2" in reject(data).node_errors


def test_checks_a_wrapped_link_as_the_link_that_comfyui_makes_of_it() -> None:
    data = graph(
        n5=node("PrimitiveString", value="/etc/passwd"), n1=node("LoadImage", image={"__value__": ["5", 0]})
    )
    assert "not a link" in only_error(reject(data), "1")["message"]


def test_rejects_what_comfyui_rejects() -> None:
    data = graph()
    del data["1"]["inputs"]["height"]
    data["2"]["inputs"]["images"] = ["1", 3]
    errors = reject(data).node_errors
    assert only_error(reject(data), "1")["type"] == "required_input_missing"
    assert errors["2"]["errors"][0]["type"] == "linked_slot_missing"


SAMPLER: dict[str, Any] = {
    "n3": node("CheckpointLoaderSimple", ckpt_name="any-file-of-an-instance.safetensors"),
    "n4": node("CLIPTextEncode", text="a fox", clip=["3", 1]),
    "n5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "n6": node("KSampler", model=["3", 0], positive=["4", 0], negative=["4", 0], latent_image=["5", 0],
               seed=1, steps=4, cfg=1.0, sampler_name="euler", scheduler="normal", denoise=1.0),
    "n7": node("VAEDecode", samples=["6", 0], vae=["3", 2]),
    "n8": node("PreviewImage", images=["7", 0]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sampler_name", "zzz", "`sampler_name` must be one of its options (got 'zzz'); GET /object_info"),
        ("sampler_name", "eulre", "(got 'eulre'); did you mean 'euler'? GET /object_info/KSampler lists"),
        ("scheduler", 7, "`scheduler` must be one of its options (got 7)"),
        ("cfg", "a", "`cfg` must be a number of type FLOAT (got 'a')"),
        ("denoise", 7, "`denoise` must be at most 1.0 (got 7.0)"),
        ("seed", -1, "`seed` must be at least 0 (got -1)"),
        ("model", ["3", 9], "output 9 of node 3 (CheckpointLoaderSimple), which has outputs 0 to 2"),
    ],
)  # fmt: skip
def test_names_what_an_input_takes_instead(name: str, value: Any, message: str) -> None:
    data = graph(**copy.deepcopy(SAMPLER))
    assert policy().check(data).weights == {"3.ckpt_name": "any-file-of-an-instance.safetensors"}
    data["6"]["inputs"][name] = value
    assert message in only_error(reject(data), "6")["message"]


def test_takes_options_that_a_pack_of_the_instance_may_add() -> None:
    data = graph(**copy.deepcopy(SAMPLER))
    data["6"]["inputs"]["sampler_name"] = "res_2s"
    assert "6" in policy().check(data).nodes


def test_rejects_prefixes_that_make_no_file_name() -> None:
    data = graph()
    data["2"]["inputs"]["filename_prefix"] = f"{'x' * 200}/{'y' * 200}"
    policy().check(data)
    data["2"]["inputs"]["filename_prefix"] = f"x/{'é' * 101}"
    assert only_error(reject(data), "2")["type"] == "value_too_long"


def test_bounds_depth_of_values_and_length_of_texts() -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    data = graph()
    data["1"]["inputs"]["color"] = deep
    assert "nested" in reject(data).message
    data = graph(n3=node("PrimitiveString", value="x" * 60_000), n4=node("PreviewAny", source=["3", 0]))
    assert only_error(reject(data), "3")["type"] == "value_too_long"
    data["3"]["inputs"]["value"] = "x" * 300_000
    assert "bytes" in reject(data).message


def test_uses_the_limits_of_the_operator() -> None:
    small = GraphPolicy(facts=load_core_node_facts(), limits=GraphLimits(max_side=32, max_nodes=1))
    assert "at most 1 are allowed" in reject(graph(), small).message
    small = GraphPolicy(facts=load_core_node_facts(), limits=GraphLimits(max_side=32))
    assert len(reject(graph(), small).node_errors["1"]["errors"]) == 2


def test_collects_texts_for_moderation_but_no_names_of_files() -> None:
    data = graph(n3=node("PrimitiveString", value="an ogre"), n4=node("PreviewAny", source=["3", 0]))
    assert policy().check(data).texts == {"3.value": "an ogre"}


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "\udc00 rest"])
def test_rejects_texts_that_are_no_unicode_with_their_node(text: str) -> None:
    for inputs in ({"filename_prefix": text}, {"filename_prefix": "a", "more": [{"x": text}]}, {text: 1}):
        error = reject(graph(n2=node("SaveImage", images=["1", 0], **inputs)))
        assert "must not hold the NUL character or lone surrogates" in only_error(error, "2")["message"]


@pytest.mark.parametrize("number", [float("inf"), float("nan"), [1.0, float("-inf")]])
def test_names_the_node_of_a_number_that_is_none(number: Any) -> None:
    found = only_error(reject(graph(n1=node("EmptyImage", **SOURCE["inputs"] | {"width": number}))), "1")
    assert (found["type"], found["extra_info"]["input_name"]) == ("invalid_input_type", "width")
    assert "`width` must hold finite numbers only" in found["message"]


def test_numbers_without_end_are_beyond_the_bound_and_shown_in_part() -> None:
    error = reject(graph(n1=node("EmptyImage", **SOURCE["inputs"] | {"width": 10**400})))
    found = only_error(error, "1")
    assert "`width` must be at most 4096 (max_side)" in found["message"]
    assert len(found["message"]) < 300
    error = reject(graph(n1=node("EmptyImage", **SOURCE["inputs"] | {"color": 10**400})))
    assert len(only_error(error, "1")["message"]) < 300
