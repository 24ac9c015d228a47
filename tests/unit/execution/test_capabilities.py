"""The nodes and files of an instance determine which models it serves, and with which files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.execution.instances.capabilities import (
    CapabilityCache,
    InstanceCapabilities,
    ServableModels,
)
from tests.support.drafts import FACTS, node, parse, saving, write
from tests.support.weight_files import weight

DTYPES = {"ada": ("fp8", "bf16")}
INFO = InstanceInfo(
    id="gpu-0",
    url="http://127.0.0.1:1",
    state=InstanceState.READY,
    simulated=False,
    device="a GPU",
    adopted=False,
    profile="ada",
)
LOADER = saving(unet=node("UNETLoader", unet_name="{{ weights.unet }}", weight_dtype="default"))
# The image does not depend on the loader, so another node has to use it.
LOADER["keep"] = node("PreviewAny", source=["unet", 0])
WEIGHTS = [
    weight(path=f"diffusion_models/{name}.safetensors", dtype=dtype).model_dump(mode="json")
    for name, dtype in (("wide", "bf16"), ("narrow", "fp8"))
]


class SingleInstanceFleet:
    """A fleet of one instance with the node facts that a test sets."""

    def __init__(self, info: InstanceInfo, facts: Mapping[str, Any] | None) -> None:
        self.info = info
        self.facts = facts

    def instances(self) -> list[InstanceInfo]:
        return [self.info]

    def node_facts(self, instance_id: str) -> Mapping[str, Any] | None:
        return self.facts

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AssertionError(f"unexpected use of {name}")


def facts(*files: str) -> dict[str, Any]:
    """Return node facts with a loader that servable these files."""
    entry = dict(FACTS["UNETLoader"])
    inputs = dict(entry["input"]["required"])
    inputs["unet_name"] = [list(files)]
    return {**FACTS, "UNETLoader": entry | {"input": {**entry["input"], "required": inputs}}}


def chosen(capabilities: InstanceCapabilities) -> str:
    model = parse(LOADER, weights=WEIGHTS)
    graph = model.render_graph(
        model.example_params(),
        filename_prefix="p",
        preferred_dtypes=capabilities.preferred_dtypes,
        available_files=capabilities.files,
    )
    return str(graph["unet"]["inputs"]["unet_name"])


def test_prefers_the_variant_of_the_gpu_profile_among_present_files() -> None:
    for files, variant in (
        (("wide.safetensors", "narrow.safetensors"), "narrow.safetensors"),
        (("wide.safetensors",), "wide.safetensors"),
        (("narrow.safetensors",), "narrow.safetensors"),
    ):
        capabilities = CapabilityCache(SingleInstanceFleet(INFO, facts(*files)), DTYPES).get("gpu-0")
        assert chosen(capabilities) == variant
        assert capabilities.missing_requirements(parse(LOADER, weights=WEIGHTS)) == []
        assert capabilities.profile == "ada"
    without = CapabilityCache(SingleInstanceFleet(INFO, facts("other.safetensors")), DTYPES).get("gpu-0")
    assert (
        "'narrow.safetensors' is not one of its options"
        in without.missing_requirements(parse(LOADER, weights=WEIGHTS))[0]
    )


def test_uses_the_present_file_without_a_gpu_profile() -> None:
    adopted = replace(INFO, adopted=True, profile=None)
    assert (
        chosen(
            CapabilityCache(SingleInstanceFleet(adopted, facts("narrow.safetensors")), DTYPES).get("gpu-0")
        )
        == "narrow.safetensors"
    )


def test_a_simulator_has_every_file() -> None:
    simulated = replace(INFO, simulated=True)
    capabilities = CapabilityCache(SingleInstanceFleet(simulated, facts()), DTYPES).get("gpu-0")
    assert chosen(capabilities) == "narrow.safetensors"
    assert capabilities.missing_requirements(parse(LOADER, weights=WEIGHTS)) == []


def test_serves_every_model_while_node_facts_are_unknown(tmp_path: Path) -> None:
    write(tmp_path / "draft")
    cache = CapabilityCache(SingleInstanceFleet(INFO, None), DTYPES)
    assert cache.get("gpu-0").missing_requirements(parse()) == []
    for instance in ("gpu-0", "unknown"):
        assert (
            ServableModels(cache, LiveCatalog(tmp_path, lambda model: None)).find_servable(instance, [])
            is None
        )


def test_ignores_node_packs_with_an_unusual_description() -> None:
    odd = {"Odd": {"input": {"required": {"x": ["COMFY_DYNAMICCOMBO_V3", {"options": [{}]}]}}}, "Odder": {}}
    capabilities = CapabilityCache(
        SingleInstanceFleet(INFO, {**facts("narrow.safetensors"), **odd}), DTYPES
    ).get("gpu-0")
    assert chosen(capabilities) == "narrow.safetensors"


def test_updates_servable_models_when_the_instance_or_the_catalogue_changes(tmp_path: Path) -> None:
    write(tmp_path / "draft")
    fleet, live = SingleInstanceFleet(INFO, facts()), LiveCatalog(tmp_path, lambda model: None)
    servable = ServableModels(CapabilityCache(fleet, DTYPES), live)
    first = live.catalog["draft"]
    assert (
        servable.find_servable("gpu-0", [])
        == servable.find_servable("gpu-0", [first])
        == frozenset({"draft", first.digest})
    )
    write(tmp_path / "other", id="other")
    live.catalog, _ = live.catalog.reload(tmp_path)
    withdrawn, other = parse(id="withdrawn"), live.catalog["other"]
    assert servable.find_servable("gpu-0", [withdrawn]) == frozenset(
        {"draft", "other", first.digest, other.digest, withdrawn.digest}
    )
    fleet.facts = {name: entry for name, entry in FACTS.items() if name != "SaveImage"}
    assert servable.find_servable("gpu-0", []) == frozenset()


class CountedFacts(dict[str, Any]):
    """Node facts that count how often a class is looked up."""

    lookups = 0

    def __getitem__(self, name: str) -> Any:
        self.lookups += 1
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.lookups += 1
        return super().get(name, default)


class FleetOfTwo(SingleInstanceFleet):
    """A fleet of two instances of one kind, each with node facts of its own."""

    def __init__(self, first: Mapping[str, Any], second: Mapping[str, Any], profile: str = "ada") -> None:
        super().__init__(INFO, None)
        self.all = {"gpu-0": first, "gpu-1": second}
        self.profile = profile

    def instances(self) -> list[InstanceInfo]:
        return [INFO, replace(INFO, id="gpu-1", profile=self.profile)]

    def node_facts(self, instance_id: str) -> Mapping[str, Any] | None:
        return self.all[instance_id]


def check_second_instance(tmp_path: Path, second: CountedFacts, profile: str = "ada") -> int:
    """Check a model on one instance, then on a second one, which serves it or not by `second`.

    Returns how often the check looked up node classes of the second one.
    """
    write(tmp_path / "draft")
    live = LiveCatalog(tmp_path, lambda model: None)
    cache = CapabilityCache(FleetOfTwo(facts("a"), second, profile), DTYPES)
    servable = ServableModels(cache, live)
    digest = live.catalog["draft"].digest
    assert servable.find_servable("gpu-0", []) == frozenset({"draft", digest})
    cache.get("gpu-1")
    second.lookups = 0
    expected = frozenset({"draft", digest}) if "SaveImage" in second else frozenset()
    assert servable.find_servable("gpu-1", []) == expected
    return second.lookups


def test_checks_models_once_for_equal_instances(tmp_path: Path) -> None:
    assert check_second_instance(tmp_path, CountedFacts(facts("a"))) == 0


def test_checks_models_on_instances_with_other_nodes_files_or_profiles(tmp_path: Path) -> None:
    without = {name: entry for name, entry in facts("a").items() if name != "SaveImage"}
    assert check_second_instance(tmp_path / "nodes", CountedFacts(without)) > 0
    assert check_second_instance(tmp_path / "files", CountedFacts(facts("a", "b"))) > 0
    assert check_second_instance(tmp_path / "profile", CountedFacts(facts("a")), "volta") > 0


def test_serves_an_old_version_where_the_new_one_is_not_servable(tmp_path: Path) -> None:
    write(tmp_path / "draft")
    live = LiveCatalog(tmp_path, lambda model: None)
    servable = ServableModels(CapabilityCache(SingleInstanceFleet(INFO, facts()), DTYPES), live)
    old = live.catalog["draft"]
    write(tmp_path / "draft", saving(image=node("FromNextYear")))
    live.catalog, _ = live.catalog.reload(tmp_path)
    assert live.is_outdated(old)
    assert servable.find_servable("gpu-0", [old]) == frozenset({old.digest})
    assert servable.find_servable("gpu-0", []) == frozenset()
