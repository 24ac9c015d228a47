"""The README can not lie: commands and settings are those of the code.

`python -m tests.test_docs` writes the generated part anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import typer

from orchestrator.cli.main import app
from orchestrator.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
GENERATED = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)


def settings_table() -> str:
    rows = ["| variable | meaning | default |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `PIXELFACTORY_{name.upper()}` | {field.description} | {_default(field.default)} |")
    return "\n".join(rows) + "\n"


def _default(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, Path):
        shipped = value.is_relative_to(ROOT)
        return (
            f"`{value.relative_to(ROOT)}`, as shipped"
            if shipped
            else f"in the user's data directory: `{value.name}`"
        )
    return f"`{value}`"


def verbs_of(command: object) -> dict[str, object]:
    """Commands below a command, by name; none for one that is not a group."""
    return dict(getattr(command, "commands", {}))


def test_every_setting_is_in_the_readme() -> None:
    found = GENERATED.search(README.read_text())
    assert found is not None
    assert found[0] == settings_table(), "run `python -m tests.test_docs`"


def test_every_command_is_in_the_readme() -> None:
    text = README.read_text()
    nouns = verbs_of(typer.main.get_command(app))
    assert "up" in nouns
    for name, noun in nouns.items():
        rows = [line for line in text.splitlines() if line.startswith(f"| `pixelfactory {name}")]
        assert rows, name
        for verb in verbs_of(noun):
            assert f"`{verb}`" in rows[0], f"{name} {verb}"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert (ROOT / target).exists(), target


def test_the_changelog_knows_the_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


if __name__ == "__main__":
    README.write_text(GENERATED.sub(lambda _: settings_table(), README.read_text()))
