"""What is kept of a server's object info, and what ships."""

from __future__ import annotations

from comfy_instances.protocol.node_facts import extract_node_facts, load_core_node_facts, load_pack_node_facts


def test_the_recorded_version_knows_the_core_nodes() -> None:
    nodes = load_core_node_facts()
    assert len(nodes) == 604
    assert nodes["SaveImage"]["output_node"] is True
    assert nodes["KSampler"]["output"] == ["LATENT"]


def test_packs_have_the_same_form() -> None:
    core, packs = load_core_node_facts(), load_pack_node_facts()
    assert packs.keys() & core.keys() == set()
    assert {frozenset(facts) for facts in packs.values()} == {frozenset(core["KSampler"])}


def test_a_record_keeps_what_counts() -> None:
    info = {
        "Node": {
            "input": {
                "required": {
                    "x": ["INT", {"default": 1, "tooltip": "an x"}],
                    "y": ["IMAGE", {"tooltip": "y"}],
                },
                "hidden": {"prompt": "PROMPT"},
            },
            "input_order": {"required": ["x", "y"], "hidden": ["prompt"]},
            "output": ["IMAGE"],
            "output_name": ["IMAGE"],
            "output_is_list": [False],
            "output_node": False,
            "category": "c",
            "display_name": "A node",
            "python_module": "nodes",
        }
    }
    (facts,) = extract_node_facts(info).values()
    assert facts["input"] == {
        "required": {"x": ["INT", {"default": 1}], "y": ["IMAGE"]},
        "hidden": {"prompt": "PROMPT"},
    }
    assert set(facts) == set(load_core_node_facts()["KSampler"])


def test_recording_what_was_recorded_changes_nothing() -> None:
    nodes = load_core_node_facts()
    assert extract_node_facts({"KSampler": nodes["KSampler"]}) == {"KSampler": nodes["KSampler"]}
