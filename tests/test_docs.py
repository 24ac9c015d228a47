"""The README can not lie: commands and settings are those of the code.

`python -m tests.test_docs` writes the generated part anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import typer

from orchestrator.app.resources import load_catalog_and_tariff
from orchestrator.catalog import Model
from orchestrator.catalog.markdown_tables import format_model_table, format_parameter_table
from orchestrator.cli.main import app
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings
from orchestrator.web.dialects.pixel_factory.translation import to_model_entry

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
MODELS = SHIPPED_WORKFLOWS_DIR / "MODELS.md"
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


def models_document() -> str:
    """All of `workflows/MODELS.md`."""
    catalog, tariff = load_catalog_and_tariff(Settings(workflows_dir=SHIPPED_WORKFLOWS_DIR))

    def price(model: Model) -> str:
        return f"{to_model_entry(model, tariff).price_per_image_cents:g} ¢"

    parts = [
        "# The models that ship",
        "Written by `python -m tests.test_docs`. Prices are for one result of base size.",
    ]
    parts.append(format_model_table(catalog, price))
    for model in catalog:
        parts += [f"## {model.id}", model.description, format_parameter_table(model)]
    return "\n\n".join(parts) + "\n"


def test_every_model_is_described() -> None:
    assert MODELS.read_text("utf-8") == models_document(), "run `python -m tests.test_docs`"


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
    MODELS.write_text(models_document(), "utf-8")
    README.write_text(GENERATED.sub(lambda _: settings_table(), README.read_text()))
