"""The threat model names modules and tests that exist, and says of each threat what is left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "threat-model.md"
COLUMNS = ["what can go wrong", "what is done", "module", "test", "what is left"]
PATHS = re.compile(r"`([\w./-]+)`")
#: Everybody who could do harm, each with a section.
PARTIES = (
    "without a key",
    "callers",
    "money",
    "Authors",
    "Operators",
    "Instances",
    "users of the machine",
    "network",
    "payment provider",
    "webhooks",
)


def rows() -> list[list[str]]:
    """The cells of each threat: the rows of all tables with these columns."""
    found: list[list[str]] = []
    in_table = False
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        in_table = cells == COLUMNS or (in_table and line.startswith("|"))
        if in_table and cells != COLUMNS and set(cells[0]) != {"-"}:
            found.append(cells)
    return found


def test_has_a_section_for_everybody() -> None:
    assert len(rows()) > 30
    headings = re.findall(r"^## (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    for party in PARTIES:
        assert any(party in heading for heading in headings), party


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:60])
def test_names_modules_and_tests_that_exist(row: list[str]) -> None:
    assert len(row) == len(COLUMNS), row
    assert all(row)
    modules, tests = PATHS.findall(row[2]), PATHS.findall(row[3])
    assert modules or row[2] == "none"
    assert tests or row[3] == "none"
    assert [path for path in (*modules, *tests) if not (ROOT / path).exists()] == []
    assert all(path.startswith("tests/") for path in tests)
    # What nothing protects says so.
    assert modules or row[1] == "none"
