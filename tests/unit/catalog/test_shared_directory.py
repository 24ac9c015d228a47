"""What a copy of the published models takes from the database, and what it gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.catalog.publishing.shared_directory import Merge, list_shared_files, plan_merge

FILE = {"hare/model.toml"}


@pytest.mark.parametrize(
    ("agreed", "here", "there", "expected"),
    [
        ("1", "1", "1", Merge()),
        (None, None, "1", Merge(taken=FILE)),
        ("1", "1", "2", Merge(taken=FILE)),
        ("1", "1", None, Merge(dropped=FILE)),
        (None, "1", None, Merge(stored=FILE)),
        ("1", "2", "1", Merge(stored=FILE)),
        ("1", None, "1", Merge(deleted=FILE)),
        # Two changed it: alike, each otherwise, or one deleted what the other edited.
        ("1", "2", "2", Merge()),
        ("1", "2", "3", Merge(taken=FILE, conflicts=FILE)),
        (None, "1", "2", Merge(taken=FILE, conflicts=FILE)),
        ("1", None, "2", Merge(taken=FILE)),
        ("1", "2", None, Merge(stored=FILE)),
        ("1", None, None, Merge()),
    ],
)
def test_the_later_change_of_a_file_wins_and_the_database_decides_between_two(
    agreed: str | None, here: str | None, there: str | None, expected: Merge
) -> None:
    files = [{path: digest for path in FILE if digest} for digest in (agreed, here, there)]
    assert plan_merge(*files) == expected


def test_shares_models_drafts_versions_and_prices_and_nothing_else(tmp_path: Path) -> None:
    version = "0" * 64
    shared = [
        ".drafts/hare/model.toml",
        ".operators-account",
        f".versions/hare/{version}/graph.json",
        ".versions/hare/record.json",
        "hare/graph.json",
        "hare/picture.webp",
        "prices.toml",
    ]
    others = [
        ".lock",
        ".shared.json",
        ".staging-1/hare/model.toml",
        f".versions/hare/{version[:8]}/graph.json",
        ".versions/hare/pending",
        "README.md",
        "hare/graph.json.new",
        "hare/old/graph.json",
        "Hare/graph.json",
    ]
    for path in shared + others:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    assert list_shared_files(tmp_path) == sorted(shared)
    assert list_shared_files(tmp_path / "missing") == []
