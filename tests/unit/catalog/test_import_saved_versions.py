"""Graphs saved with a version of a pack whose facts are given: names from it, validity from today's class."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from orchestrator.catalog.import_export import ImportedModel, import_workflow
from orchestrator.catalog.import_export.pack_versions import KnownVersions, PackHistory, PackVersion
from tests.support.canvas import node, save, socket, widget, workflow
from tests.support.drafts import FACTS
from tests.unit.catalog.test_import_packs import entry

OLD_COMMIT, OTHER_COMMIT = "0123456789" * 4, "abcdefabcd" * 4
THEN = {
    "method": [["soft", "hard"]],
    "strength": ["FLOAT", {"default": 1.0}],
    "passes": ["INT", {"default": 4}],
    "label": ["STRING", {"default": ""}],
}
NOW = {
    "strength": ["FLOAT", {"default": 0.0, "max": 1.0}],
    "method": [["soft", "hard", "none"]],
    "edge": ["INT", {"default": 2}],
}
PACKS = {"TheirFilter": entry({"image": ["IMAGE"], **NOW}, "IMAGE")}
OLD = PackVersion(
    {"TheirFilter": entry({"image": ["IMAGE"], **THEN}, "IMAGE")}, "filters", OLD_COMMIT, "1.2.0"
)
#: With a widget more, of the same kind as the next one.
NEWER = PackVersion(
    {"TheirFilter": entry({"image": ["IMAGE"], "radius": ["FLOAT", {}], **THEN}, "IMAGE")},
    "filters",
    OTHER_COMMIT,
    OTHER_COMMIT,
)
VALUES = ["hard", 0.25, 3, ""]


def saved(values: list[Any], version: str = OLD_COMMIT, *sockets: Any, **extra: Any) -> dict[str, Any]:
    properties = {"aux_id": "owner/filters"} | ({"ver": version} if version else {})
    maker = node(1, "EmptyImage", gives=["IMAGE"], widgets_values=[64, 64, 1, 0])
    inputs = [socket("image", "IMAGE", 1), *sockets]
    theirs = node(2, "TheirFilter", inputs=inputs, gives=["IMAGE"], widgets_values=values)
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]
    return workflow(maker, theirs | {"properties": properties}, save(3, 2), links=links, extra=extra)


def take(
    data: dict[str, Any],
    *versions: PackVersion,
    packs: dict[str, Any] = PACKS,
    histories: Sequence[PackHistory] = (),
    known: KnownVersions | None = None,
) -> ImportedModel:
    return import_workflow(
        data,
        id="drawn",
        facts=FACTS,
        today=date(2026, 7, 1),
        comfyui_version="0.33.0",
        pack_facts=packs,
        versions=known or KnownVersions((), histories, versions),
    )


def inputs(result: ImportedModel) -> dict[str, Any]:
    return {name[2:]: value for name, value in result.fixed_inputs.items() if name.startswith("2.")}


@pytest.mark.parametrize("version", [OLD_COMMIT, OLD_COMMIT[:10], "1.2.0", "v1.2.0", ""])
def test_the_version_that_saved_a_node_names_its_values(version: str) -> None:
    assert not take(saved(VALUES, version)).usable
    result = take(saved(VALUES, version), NEWER if version else OLD, OLD)
    assert result.usable
    assert inputs(result) == {"strength": 0.25, "method": "hard", "edge": 2}
    [message] = [question for question in result.open_questions if "of node 2" in question]
    assert "named by filters 1.2.0" in message
    assert "the installed class lacks passes (3), label ('')" in message
    assert "it has these others, which keep their defaults: edge (2)" in message


def test_recorded_versions_name_the_values_of_files_that_say_so_only() -> None:
    def taken(version: str) -> ImportedModel:
        return take(saved(VALUES, version), known=KnownVersions([NEWER, OLD]))

    assert taken("1.2.0").usable
    assert not taken("").usable
    assert not taken("1.3.0").usable


def test_older_files_list_the_versions_of_all_packs() -> None:
    data = saved(VALUES, "", node_versions={"owner/filters": OTHER_COMMIT})
    assert not take(data, OLD).usable
    data = saved(VALUES, "", node_versions={"owner/filters": "1.2.0"})
    assert take(data, OLD).usable


def test_values_that_fit_both_versions_have_the_names_of_the_one_that_saved_them() -> None:
    swapped = entry(
        {"image": ["IMAGE"], "low": ["INT", {"default": 0}], "high": ["INT", {"default": 9}]}, "IMAGE"
    )
    before = entry(
        {"image": ["IMAGE"], "high": ["INT", {"default": 9}], "low": ["INT", {"default": 0}]}, "IMAGE"
    )
    version = PackVersion({"TheirFilter": before}, "filters", OLD_COMMIT)
    result = take(saved([7, 1]), version, packs={"TheirFilter": swapped})
    assert result.usable
    assert inputs(result) == {"low": 1, "high": 7}


def test_facts_of_another_version_name_nothing() -> None:
    result = take(saved(VALUES), NEWER)
    assert not result.usable
    # Those of an author's own ComfyUI have no version: the author says that it saved the file.
    assert take(saved(VALUES), PackVersion(OLD.nodes)).usable


@pytest.mark.parametrize(
    "values",
    [
        VALUES[:3],  # another number
        ["hard", "much", 3, ""],  # another type
    ],
)
def test_values_that_do_not_fit_their_own_version_name_nothing(values: list[Any]) -> None:
    result = take(saved(values), OLD)
    assert not result.usable
    message = " ".join(map(str, result.problems))
    assert "that of filters 1.2.0 does not fit either" in message
    assert f"@{OLD_COMMIT}`" not in message
    assert "--history`" in message


def test_widgets_that_the_file_names_must_be_those_of_the_version() -> None:
    assert not take(saved(VALUES, OLD_COMMIT, widget("gamma", "FLOAT")), OLD).usable


def test_a_text_without_an_input_is_a_problem() -> None:
    result = take(saved(["hard", 0.25, 3, "a red fox"]), OLD)
    assert not result.usable
    assert "label ('a red fox')" in " ".join(map(str, result.problems))


def test_values_with_names_must_be_valid_today() -> None:
    result = take(saved(["hard", 2.5, 3, ""]), OLD)
    assert not result.usable
    assert "strength" in " ".join(map(str, result.problems))


def test_an_import_names_the_command_that_gives_the_facts() -> None:
    message = " ".join(map(str, take(saved(VALUES)).problems))
    assert f"`pixelfactory packs facts https://github.com/owner/filters@{OLD_COMMIT}`" in message
    message = " ".join(map(str, take(saved(VALUES, "")).problems))
    assert "--comfyui URL" in message
    assert "`pixelfactory packs facts https://github.com/owner/filters --history`" in message
    data = saved(VALUES, "")
    data["nodes"][1]["properties"] = {"cnr_id": "filters"}
    installed = KnownVersions(urls={"TheirFilter": "https://example.org/filters"})
    message = " ".join(map(str, take(data, known=installed).problems))
    assert "`pixelfactory packs facts https://example.org/filters --history`" in message
    assert "`pixelfactory packs facts URL@REF`" in " ".join(map(str, take(data).problems))


def layout(**widgets: Any) -> dict[str, Any]:
    """A class as it was, as a history has it: computed choices are open."""
    return {"input": {"required": {"image": ["IMAGE"], **widgets}}, "output": []}


TODAY = layout(strength=["FLOAT"], method=["COMBO"], edge=["INT"])
BEFORE = layout(method=["COMBO"], strength=["FLOAT"], passes=["INT"], label=["STRING"])


def test_values_that_fit_one_version_of_a_history_only_have_its_names() -> None:
    first = layout(strength=["FLOAT"])
    history = PackHistory("filters", {"TheirFilter": [TODAY, BEFORE, first]})
    result = take(saved(VALUES, ""), histories=[history])
    assert result.usable
    assert inputs(result) == {"strength": 0.25, "method": "hard", "edge": 2}
    [message] = [question for question in result.open_questions if "of node 2" in question]
    assert "named by the only versions of filters that fit" in message
    assert "passes (3)" in message


@pytest.mark.parametrize(
    "layouts",
    [
        [TODAY, layout(strength=["FLOAT"])],  # none fits
        # Two fit, and give the values other names.
        [TODAY, BEFORE, layout(method=["COMBO"], strength=["FLOAT"], edge=["INT"], label=["STRING"])],
        [BEFORE],  # not the history of today's class
    ],
)
def test_a_history_that_proves_nothing_names_nothing(layouts: list[dict[str, Any]]) -> None:
    history = PackHistory("filters", {"TheirFilter": layouts})
    assert not take(saved(VALUES, ""), histories=[history]).usable


@pytest.mark.parametrize(("text", "value"), [("", False), ("true", True)])
def test_texts_that_pages_save_for_switches_fit_one_in_a_history(text: str, value: bool) -> None:
    now = {"strength": ["FLOAT", {"default": 1.0}], "tiled": ["BOOLEAN", {"default": False}]}
    packs = {"TheirFilter": entry({"image": ["IMAGE"], **now}, "IMAGE")}
    history = PackHistory("filters", {"TheirFilter": [layout(**now), layout(strength=["FLOAT"])]})
    data = saved([0.5, text], "")
    assert not take(data, packs=packs).usable
    result = take(data, packs=packs, histories=[history])
    assert result.usable
    assert inputs(result) == {"strength": 0.5, "tiled": value}
    # A text of another version would be lost.
    with_text = layout(strength=["FLOAT"], label=["STRING"])
    other = PackHistory("filters", {"TheirFilter": [layout(**now), with_text]})
    assert take(data, packs=packs, histories=[other]).usable is not bool(text)
