"""The documents agree with the code: settings, commands, models, links and named files.

`python -m tests.test_docs` writes the generated parts.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
import typer

from orchestrator.app.resources import load_catalog_and_tariff
from orchestrator.billing.model_listing import list_model
from orchestrator.catalog import Model
from orchestrator.catalog.markdown_tables import format_model_table, format_parameter_table
from orchestrator.cli.main import build_app
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
SETTINGS_PAGE = DOCS / "reference" / "settings.md"
COMMANDS_PAGE = DOCS / "reference" / "cli.md"
MODELS = SHIPPED_WORKFLOWS_DIR / "MODELS.md"
MAX_README_LINES = 150
#: Documents outside `docs/`, whose links are relative to files of the repository.
OTHER_DOCUMENTS = (
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "examples" / "README.md",
    *(path for folder in ("orchestrator", "pricing", "workflows") for path in (ROOT / folder).glob("*.md")),
)
_GENERATED = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
#: A file or folder of the repository, named in backticks.
_NAMED_PATH = re.compile(
    r"`((?:orchestrator|comfy_instances|pricing|custom_nodes|workflows|scripts|tests|docs|examples)"
    r"/[\w./-]*)`"
)
_SETTING = re.compile(r"`PIXELFACTORY_([A-Z0-9_]+)(?:=[^`]*)?`")
#: Variables of clients, which are no settings of the service.
CLIENT_VARIABLES = {"URL", "API_KEY", "PUBLISH_KEY", "PUBLISH_KEY_FILE"}


def settings_table() -> str:
    rows = ["| variable | meaning | default |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `PIXELFACTORY_{name.upper()}` | {field.description} | {_default(field.default)} |")
    return "\n".join(rows) + "\n"


def _default(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
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


def model_notes(model: Model) -> str:
    """The comment at the top of a manifest, which explains the choices made."""
    comments = takewhile(lambda line: line.startswith("#"), model.source.manifest.splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in comments)


def models_document() -> str:
    """All of `workflows/MODELS.md`."""
    catalog, tariff = load_catalog_and_tariff(Settings(workflows_dir=SHIPPED_WORKFLOWS_DIR))

    def price(model: Model) -> str:
        return f"{list_model(model, tariff).price_per_image_cents:g} ¢"

    parts = [
        "# The models that ship",
        "Written by `python -m tests.test_docs`. Prices are for one result of the default size and length.",
    ]
    parts.append(format_model_table(catalog, price))
    for model in catalog:
        parts += [f"## {model.id}", model.description, model_notes(model), format_parameter_table(model)]
    return "\n\n".join(parts) + "\n"


def all_documents() -> list[Path]:
    return [*sorted(DOCS.rglob("*.md")), *OTHER_DOCUMENTS]


def test_lists_every_model() -> None:
    assert MODELS.read_text("utf-8") == models_document(), "run `python -m tests.test_docs`"


def test_lists_every_setting() -> None:
    found = _GENERATED.search(SETTINGS_PAGE.read_text())
    assert found is not None
    assert found[0] == settings_table(), "run `python -m tests.test_docs`"


def test_lists_every_command() -> None:
    text = COMMANDS_PAGE.read_text()
    nouns = verbs_of(typer.main.get_command(build_app()))
    assert "up" in nouns
    for name, noun in nouns.items():
        rows = [line for line in text.splitlines() if line.startswith(f"| `pixelfactory {name}")]
        assert rows, name
        for verb in verbs_of(noun):
            assert f"`{verb}`" in rows[0], f"{name} {verb}"


def test_named_commands_exist() -> None:
    nouns = verbs_of(typer.main.get_command(build_app()))
    for document in all_documents():
        for noun, verb in re.findall(
            r"\bpixelfactory ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?", document.read_text()
        ):
            assert noun in nouns, f"{document.name}: pixelfactory {noun}"
            verbs = verbs_of(nouns[noun])
            assert not verb or not verbs or verb in verbs, f"{document.name}: pixelfactory {noun} {verb}"


def test_named_settings_exist() -> None:
    known = {name.upper() for name in Settings.model_fields} | CLIENT_VARIABLES
    for document in all_documents():
        unknown = set(_SETTING.findall(document.read_text())) - known
        assert not unknown, f"{document.name}: {unknown}"


def test_named_files_exist() -> None:
    missing = [
        f"{document.relative_to(ROOT)}: {path}"
        for document in all_documents()
        for path in _NAMED_PATH.findall(document.read_text())
        if not (ROOT / path).exists()
    ]
    assert missing == []


def test_links_of_other_documents_lead_to_files() -> None:
    missing = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in OTHER_DOCUMENTS
        for target in _LINK.findall(document.read_text())
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert missing == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert [page for page in pages if not re.search(rf"[:-] {re.escape(page)}$", navigation, re.M)] == []


def test_pages_build_strictly(tmp_path: Path) -> None:
    """Strict: a link to a missing page or heading, or a missing included file, is an error."""
    zensical = Path(sys.executable).with_name("zensical")
    if not zensical.exists():
        pytest.skip("needs Zensical (scripts/install docs)")
    # It writes beside its configuration.
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    command = [str(zensical), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "how-to" / "callers" / "index.html").exists()


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) < MAX_README_LINES


def test_changelog_has_the_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text()


if __name__ == "__main__":
    MODELS.write_text(models_document(), "utf-8")
    SETTINGS_PAGE.write_text(_GENERATED.sub(lambda _: settings_table(), SETTINGS_PAGE.read_text()))
