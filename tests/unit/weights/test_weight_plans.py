"""Which files models need on which GPU, and what of it is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from comfy_instances.hardware.profiles import load_gpu_profiles
from orchestrator.catalog import Model
from orchestrator.weights.errors import InsufficientDiskSpace, WeightError
from orchestrator.weights.node_weights import list_wanted_weights, mirror_key
from orchestrator.weights.pins import PINS_FILE_NAME, PinnedChecksums
from orchestrator.weights.planning import WeightFileState, plan_downloads
from orchestrator.weights.pulling import remove_sources
from orchestrator.weights.verifying import find_weights_on_disk, verify_weights
from tests.support.drafts import CATALOG, node, parse, saving
from tests.support.weight_files import SMALL, put, weight


def model(*weights: Any, id: str = "draft") -> Model:
    """A model that loads one file for each slot."""
    slots = dict.fromkeys(row.slot for row in weights)
    graph = saving(**{slot: node("Loader", name=f"{{{{ weights.{slot} }}}}") for slot in slots})
    rows = [row.model_dump(mode="json", exclude={"tensors"}) for row in weights]
    return parse(graph, id=id, weights=rows)


def test_the_profile_chooses_the_variant(tmp_path: Path) -> None:
    wide, narrow = weight(path="d/wide.safetensors"), weight(path="d/narrow.safetensors", dtype="fp8")
    both = model(wide, narrow)
    assert [file.path for file in plan_downloads([both], ("fp8", "bf16"), tmp_path).files] == [
        "d/narrow.safetensors"
    ]
    assert [file.path for file in plan_downloads([both], ("bf16", "fp8"), tmp_path).files] == [
        "d/wide.safetensors"
    ]
    assert [file.path for file in plan_downloads([both], (), tmp_path).files] == ["d/wide.safetensors"]


def test_a_variant_that_is_there_wins_over_one_that_is_not() -> None:
    both = model(weight(path="d/wide.safetensors"), weight(path="d/narrow.safetensors", dtype="fp8"))
    for files, chosen in (
        ({"wide.safetensors"}, "wide"),
        ({"narrow.safetensors"}, "narrow"),
        (set(), "narrow"),
    ):
        assert [row.file for row in both.select_weights(("fp8", "bf16"), files)] == [f"{chosen}.safetensors"]
        graph = both.render_graph(
            both.example_params(),
            filename_prefix="p",
            preferred_dtypes=("fp8", "bf16"),
            available_files=files,
        )
        assert graph["unet"]["inputs"]["name"] == f"{chosen}.safetensors"


def test_a_file_of_two_models_is_fetched_once(tmp_path: Path) -> None:
    found = plan_downloads([model(weight(), id="one"), model(weight(sha256=""), id="two")], (), tmp_path)
    assert [(file.models, file.weight.sha256 != "") for file in found.files] == [(("one", "two"), True)]
    assert found.total_bytes == len(SMALL)
    with pytest.raises(WeightError, match="different files for diffusion_models/small"):
        plan_downloads([model(weight(), id="one"), model(weight(b"other"), id="two")], (), tmp_path)


def test_present_files_are_not_downloaded(tmp_path: Path) -> None:
    rows = [weight(slot=f"s{number}", path=f"d/{number}.safetensors") for number in range(4)]
    put(tmp_path, rows[0])
    put(tmp_path, rows[1], SMALL[:-1])
    put(tmp_path, rows[2]).rename(tmp_path / "d/2.safetensors.part")
    found = plan_downloads([model(*rows)], (), tmp_path)
    states = [
        WeightFileState.PRESENT,
        WeightFileState.WRONG_SIZE,
        WeightFileState.PARTIAL,
        WeightFileState.MISSING,
    ]
    assert [file.state for file in found.files] == states
    assert [file.missing_bytes for file in found.files] == [0, len(SMALL), 0, len(SMALL)]
    assert len(found.missing_files) == 3
    found.check_space()


def test_checks_the_free_space_first(tmp_path: Path) -> None:
    found = plan_downloads([model(weight(sha256="", bytes=10**17))], (), tmp_path / "not" / "made" / "yet")
    with pytest.raises(InsufficientDiskSpace, match=r"100000000\.0 GB are to be downloaded"):
        found.check_space()


@pytest.mark.parametrize("profile", load_gpu_profiles(), ids=lambda profile: profile.name)
def test_all_shipped_models_agree_about_their_files(profile: Any, tmp_path: Path) -> None:
    found = plan_downloads(CATALOG, profile.weights, tmp_path)
    assert len(found.files) > 40
    for file in found.files:
        assert re.fullmatch(r"[a-z_0-9]+/[\w./-]+", file.path), file.path
        assert file.weight.license, file.path


def test_a_file_has_the_same_identity_in_every_manifest() -> None:
    told: dict[str, Any] = {}
    for row in (row for one in CATALOG for row in one.manifest.weights):
        facts = (row.sha256, row.bytes, row.url, row.gated, row.license, row.tensors)
        assert told.setdefault(row.path, facts) == facts, row.path
        if row.load_as == "default":
            assert told.setdefault(f"type of {row.path}", row.dtype) == row.dtype, row.path


def test_a_verdict_on_everything_that_is_there(tmp_path: Path) -> None:
    good = weight(path="d/good.safetensors")
    damaged = weight(slot="b", path="d/damaged.safetensors")
    cut = weight(slot="c", path="d/cut.safetensors")
    pinned = weight(slot="d", path="d/pinned.safetensors", sha256="", bytes=0)
    absent = weight(slot="e", path="d/absent.safetensors")
    put(tmp_path, good)
    put(tmp_path, damaged, SMALL[:-1] + b"\1")
    put(tmp_path, cut, SMALL[:-1])
    put(tmp_path, pinned)
    PinnedChecksums(tmp_path).add(pinned.path, "0" * 64)
    weights = find_weights_on_disk([model(good, damaged, cut, pinned, absent)], tmp_path)
    read: list[int] = []
    found = {
        verdict.weight.path: verdict.problems
        for verdict in verify_weights(weights, tmp_path, full=True, on_progress=read.append)
    }
    assert found.pop("d/good.safetensors") == ()
    assert "SHA-256" in found["d/damaged.safetensors"][0]
    assert "1 of" in found["d/cut.safetensors"][0]
    assert "SHA-256" in found["d/pinned.safetensors"][0]
    assert set(found) == {"d/damaged.safetensors", "d/cut.safetensors", "d/pinned.safetensors"}
    assert sum(read) == 3 * len(SMALL)
    quick = verify_weights(weights, tmp_path, full=False, on_progress=read.append)
    assert [one.weight.path for one in quick if one.problems] == ["d/cut.safetensors"]


def test_pins_are_kept(tmp_path: Path) -> None:
    PinnedChecksums(tmp_path).add("a/b", "1" * 64)
    assert PinnedChecksums(tmp_path).get("a/b") == "1" * 64
    assert json.loads((tmp_path / PINS_FILE_NAME).read_text()) == {"a/b": "1" * 64}
    (tmp_path / PINS_FILE_NAME).write_text("[1")
    with pytest.raises(WeightError, match="damaged"):
        PinnedChecksums(tmp_path)


def quantized_model() -> Model:
    """A model with a file to download, and a variant that is made from another one."""
    made = weight(
        path="d/made.safetensors",
        url="",
        sha256="",
        dtype="nvfp4",
        bytes=300,
        made_by="quantize",
        source={"path": "d/wide.safetensors", "url": "https://host/wide", "bytes": 1000},
    )
    return model(weight(path="d/other.safetensors", dtype="fp8"), made)


def test_what_a_missing_file_is_made_from_is_downloaded_too(tmp_path: Path) -> None:
    both = quantized_model()
    found = plan_downloads([both], ("nvfp4", "fp8"), tmp_path)
    assert [file.path for file in found.missing_downloads] == ["d/wide.safetensors"]
    assert [file.path for file in found.missing_made] == ["d/made.safetensors"]
    assert found.missing_bytes == 1300, "both must fit on the disk"
    put(tmp_path, found.missing_made[0].weight, b"of whatever size came out")
    found = plan_downloads([both], ("nvfp4", "fp8"), tmp_path)
    assert [(file.path, file.state) for file in found.files] == [
        ("d/made.safetensors", WeightFileState.PRESENT)
    ]
    assert [file.path for file in plan_downloads([both], ("fp8",), tmp_path).files] == ["d/other.safetensors"]


def test_nodes_get_a_made_file_once_it_is_pinned_and_another_variant_before(tmp_path: Path) -> None:
    both = quantized_model()

    def wanted() -> list[tuple[str, str, str]]:
        rows = list_wanted_weights([both], ("nvfp4", "fp8"), tmp_path, lambda key: f"s3:{key}")
        return [(row["path"], row["digest"], row["mirror_url"]) for row in rows]

    other = weight(path="d/other.safetensors", dtype="fp8").sha256
    assert wanted() == [("d/other.safetensors", other, f"s3:{mirror_key(other)}")]
    PinnedChecksums(tmp_path).add("d/made.safetensors", "a" * 64)
    assert wanted() == [("d/made.safetensors", "a" * 64, f"s3:{mirror_key('a' * 64)}")]


def test_sources_are_removed_unless_a_model_loads_them(tmp_path: Path) -> None:
    both = quantized_model()
    plan = plan_downloads([both], ("nvfp4",), tmp_path)
    for file in plan.files:
        put(tmp_path, file.weight, b"data")
    assert remove_sources(plan, {"d/wide.safetensors"}) == []
    (tmp_path / "d/made.safetensors").unlink()
    assert remove_sources(plan, set()) == [], "the file that it is for is not complete"
    put(tmp_path, plan.missing_made[0].weight, b"data")
    assert remove_sources(plan, set()) == ["d/wide.safetensors"]
    assert not (tmp_path / "d/wide.safetensors").exists()
