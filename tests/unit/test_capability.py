"""What an instance has decides which models it is given, and with which files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.execution.capabilities import CapabilityCache, InstanceCapabilities, ServableModels
from tests.support.drafts import FACTS, node, parse, saving, write
from tests.support.weight_files import weight

DTYPES = {"ada": ("fp8", "bf16")}
INFO = InstanceInfo(
    id="gpu-0",
    url="http://127.0.0.1:1",
    state=InstanceState.READY,
    simulated=False,
    device="a card",
    adopted=False,
    profile="ada",
)
LOADER = saving(unet=node("UNETLoader", unet_name="{{ weights.unet }}", weight_dtype="default"))
# The loader has no part in the picture, so something must ask for it.
LOADER["keep"] = node("PreviewAny", source=["unet", 0])
WEIGHTS = [
    weight(path=f"diffusion_models/{name}.safetensors", dtype=dtype).model_dump(mode="json")
    for name, dtype in (("wide", "bf16"), ("narrow", "fp8"))
]


class SingleInstanceFleet:
    """The part of a fleet that says what its instances are and have."""

    def __init__(self, info: InstanceInfo, facts: Mapping[str, Any] | None) -> None:
        self.info = info
        self.facts = facts

    def instances(self) -> list[InstanceInfo]:
        return [self.info]

    def node_facts(self, instance_id: str) -> Mapping[str, Any] | None:
        return self.facts

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AssertionError(f"nobody asked for {name}")


def facts(*files: str) -> dict[str, Any]:
    """The facts of an instance whose loader offers these files."""
    entry = dict(FACTS["UNETLoader"])
    inputs = dict(entry["input"]["required"])
    inputs["unet_name"] = [list(files)]
    return {**FACTS, "UNETLoader": entry | {"input": {**entry["input"], "required": inputs}}}


def chosen(kit: InstanceCapabilities) -> str:
    model = parse(LOADER, weights=WEIGHTS)
    graph = model.render_graph(
        model.example_params(),
        filename_prefix="p",
        preferred_dtypes=kit.preferred_dtypes,
        available_files=kit.files,
    )
    return str(graph["unet"]["inputs"]["unet_name"])


def test_the_profile_chooses_among_what_is_there() -> None:
    for files, variant in (
        (("wide.safetensors", "narrow.safetensors"), "narrow.safetensors"),
        (("wide.safetensors",), "wide.safetensors"),
        (("narrow.safetensors",), "narrow.safetensors"),
    ):
        kit = CapabilityCache(SingleInstanceFleet(INFO, facts(*files)), DTYPES).get("gpu-0")
        assert chosen(kit) == variant
        assert kit.missing_requirements(parse(LOADER, weights=WEIGHTS)) == []
        assert kit.profile == "ada"
    without = CapabilityCache(SingleInstanceFleet(INFO, facts("other.safetensors")), DTYPES).get("gpu-0")
    assert (
        "'narrow.safetensors' is none of its options"
        in without.missing_requirements(parse(LOADER, weights=WEIGHTS))[0]
    )


def test_an_adopted_instance_takes_what_it_has() -> None:
    adopted = replace(INFO, adopted=True, profile=None)
    assert (
        chosen(
            CapabilityCache(SingleInstanceFleet(adopted, facts("narrow.safetensors")), DTYPES).get("gpu-0")
        )
        == "narrow.safetensors"
    )


def test_a_simulator_has_every_file() -> None:
    simulated = replace(INFO, simulated=True)
    kit = CapabilityCache(SingleInstanceFleet(simulated, facts()), DTYPES).get("gpu-0")
    assert chosen(kit) == "narrow.safetensors"
    assert kit.missing_requirements(parse(LOADER, weights=WEIGHTS)) == []


def test_of_an_instance_that_was_never_asked_everything_is_believed(tmp_path: Path) -> None:
    write(tmp_path / "draft")
    kits = CapabilityCache(SingleInstanceFleet(INFO, None), DTYPES)
    assert kits.get("gpu-0").missing_requirements(parse()) == []
    for instance in ("gpu-0", "unknown"):
        assert (
            ServableModels(kits, LiveCatalog(tmp_path, lambda model: None)).find_servable(instance, [])
            is None
        )


def test_a_pack_that_describes_itself_oddly_does_no_harm() -> None:
    odd = {"Odd": {"input": {"required": {"x": ["COMFY_DYNAMICCOMBO_V3", {"options": [{}]}]}}}, "Odder": {}}
    kit = CapabilityCache(SingleInstanceFleet(INFO, {**facts("narrow.safetensors"), **odd}), DTYPES).get(
        "gpu-0"
    )
    assert chosen(kit) == "narrow.safetensors"


def test_offers_are_made_anew_when_the_instance_or_the_catalogue_changes(tmp_path: Path) -> None:
    write(tmp_path / "draft")
    rack, live = SingleInstanceFleet(INFO, facts()), LiveCatalog(tmp_path, lambda model: None)
    offers = ServableModels(CapabilityCache(rack, DTYPES), live)
    first = live.catalog["draft"]
    assert (
        offers.find_servable("gpu-0", [])
        == offers.find_servable("gpu-0", [first])
        == frozenset({"draft", first.digest})
    )
    write(tmp_path / "other", id="other")
    live.catalog, _ = live.catalog.reload(tmp_path)
    withdrawn, other = parse(id="withdrawn"), live.catalog["other"]
    assert offers.find_servable("gpu-0", [withdrawn]) == frozenset(
        {"draft", "other", first.digest, other.digest, withdrawn.digest}
    )
    rack.facts = {name: entry for name, entry in FACTS.items() if name != "SaveImage"}
    assert offers.find_servable("gpu-0", []) == frozenset()


def test_an_old_version_may_be_served_where_the_new_one_is_not(tmp_path: Path) -> None:
    write(tmp_path / "draft")
    live = LiveCatalog(tmp_path, lambda model: None)
    offers = ServableModels(CapabilityCache(SingleInstanceFleet(INFO, facts()), DTYPES), live)
    old = live.catalog["draft"]
    write(tmp_path / "draft", saving(picture=node("FromNextYear")))
    live.catalog, _ = live.catalog.reload(tmp_path)
    assert live.is_outdated(old)
    assert offers.find_servable("gpu-0", [old]) == frozenset({old.digest})
    assert offers.find_servable("gpu-0", []) == frozenset()
