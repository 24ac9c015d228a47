"""The runbook has a section for every alert, every kind of failure and every error code with status 5xx."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.jobs import FailureKind
from tests.support.deploy_files import rules

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs" / "how-to" / "runbook.md"
#: What each section says, in this order.
PARTS = ("Meaning", "Users see", "Do", "Worry when")
SERVER_ERRORS = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, errors.ServiceError) and found.status >= 500
}
_SECTION = re.compile(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_PART = re.compile(r"^- (\w[\w ]*): (.+?)(?=^- |\Z)", re.MULTILINE | re.DOTALL)
ALERTS = [rule["alert"] for rule in rules()]


def sections() -> Mapping[str, str]:
    """The text of each section, by its heading."""
    return dict(_SECTION.findall(RUNBOOK.read_text("utf-8")))


def raised_codes(source: str) -> Iterator[str]:
    """Codes that are named where an error with status 5xx is made."""
    if not any(name in source for name in SERVER_ERRORS):
        return
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        if name not in SERVER_ERRORS:
            continue
        for keyword in node.keywords:
            if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                yield str(keyword.value.value)


@cache
def error_codes() -> set[str]:
    """Every code of an error with status 5xx in the code of the service."""
    files = (ROOT / "orchestrator").rglob("*.py")
    named = {code for file in files for code in raised_codes(file.read_text("utf-8"))}
    return named | {error.default_code for error in SERVER_ERRORS.values()}


def test_codes_are_found_in_the_code() -> None:
    assert error_codes() >= {"no_instances", "shutting_down", "store_unavailable", "internal_error"}
    assert list(raised_codes("raise ServiceUnavailable('x', code='sleepy')")) == ["sleepy"]
    assert list(raised_codes("raise InvalidRequest('x', code='bad')")) == []


@pytest.mark.parametrize("name", sorted({*ALERTS, *(kind.value for kind in FailureKind), *error_codes()}))
def test_says_what_it_means_and_what_to_do(name: str) -> None:
    text = sections().get(name)
    assert text is not None, f"docs/how-to/runbook.md needs a section `### {name}`"
    parts = dict(_PART.findall(text))
    assert tuple(parts) == PARTS
    assert all(len(part.split()) >= 1 for part in parts.values())


def test_has_no_section_of_what_does_not_exist() -> None:
    described = {name for name, text in sections().items() if text.startswith("- Meaning:")}
    assert described - set(ALERTS) - {kind.value for kind in FailureKind} - error_codes() == set()
