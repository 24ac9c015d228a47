"""The documents agree with the code: settings, commands, models, links and named files.

`python -m tests.test_docs` writes the generated parts.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from orchestrator.app.resources import load_catalog_and_tariff
from orchestrator.billing.model_listing import list_model
from orchestrator.catalog import Model
from orchestrator.catalog.markdown_tables import format_model_table, format_parameter_table
from orchestrator.cli.main import build_app
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings
from orchestrator.web.openapi.error_codes import ERROR_CODES
from tests.support.docs_site import build_site, site_app

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
#: Generated tables: the page of each, whose comments `<!-- NAME -->` and `<!-- /NAME -->` enclose it.
GENERATED_PAGES = {
    "settings": SETTINGS_PAGE,
    "errors": DOCS / "reference" / "errors.md",
    "sizes": DOCS / "how-to" / "sizing.md",
}
RESULTS = ROOT / "scripts" / "bench" / "results"
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


def errors_table() -> str:
    rows = ["| code | meaning |", "| --- | --- |"]
    rows += [f"| `{code}` | {meaning} |" for code, meaning in ERROR_CODES.items()]
    return "\n".join(rows) + "\n"


def sizes_table() -> str:
    """What one service takes, from the latest measurements."""

    def read(name: str) -> Any:
        return json.loads((RESULTS / f"{name}.json").read_text())["result"]

    idle, soak, overhead, stores = read("idle"), read("soak"), read("overhead"), read("stores")
    end_to_end, store = stores["end_to_end"][0], stores["store"][0]
    processes = read("failover")["memory_mb"]
    api = max(found["rss_mb"] for name, found in processes.items() if name.startswith("api"))
    scheduler = max(found["rss_mb"] for name, found in processes.items() if name.startswith("scheduler"))
    database, log = soak["growth"]["database_bytes_per_operation"], soak["growth"]["log_bytes_per_operation"]
    rows = {
        "memory of the service, after its start": f"{idle['service']['rss_mb']:.0f} MB",
        "memory of the service, after 500 images": f"{idle['service after 500 images']['rss_mb']:.0f} MB",
        f"memory of the service, after {soak['last']['operations']:,} operations of all kinds": (
            f"{soak['last']['rss_bytes'] / 1e6:.0f} MB"
        ),
        "memory of an API process, of a scheduler": f"{api:.0f} MB, {scheduler:.0f} MB",
        "memory of the embedded S3 server": f"{idle['S3 server (weed)']['rss_mb']:.0f} MB",
        "time that the service adds to a request": f"{overhead['served, url']['added']['median_ms']:.0f} ms",
        "jobs per second, all parts on two cores, with SQLite": f"{end_to_end['sqlite_per_second']:.0f}",
        "jobs per second, the same with PostgreSQL": f"{end_to_end['postgres_per_second']:.0f}",
        "accepted jobs per second of the store alone, SQLite": f"{store['sqlite_per_second']:.0f}",
        "database per job": f"{database[-1] / 1e3:.1f} kB",
        "log per request": f"{log[-1] / 1e3:.1f} kB",
    }
    return (
        "\n".join(["| what | measured |", "| --- | ---: |", *(f"| {a} | {b} |" for a, b in rows.items())])
        + "\n"
    )


GENERATORS = {"settings": settings_table, "errors": errors_table, "sizes": sizes_table}


def with_generated(name: str) -> str:
    """The page of a generated table, with the table as it is now."""
    text = GENERATED_PAGES[name].read_text("utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    assert begin in text
    assert end in text
    return text[: text.index(begin) + len(begin)] + GENERATORS[name]() + text[text.index(end) :]


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


@pytest.mark.parametrize("name", GENERATED_PAGES)
def test_generated_tables_are_those_of_the_code(name: str) -> None:
    """Settings, error codes, and sizes from the latest measurements."""
    assert GENERATED_PAGES[name].read_text("utf-8") == with_generated(name), "run `python -m tests.test_docs`"


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(tmp_path_factory.mktemp("site"))


def test_pages_build_strictly(site: Path) -> None:
    assert (site / "how-to" / "callers.html").exists()


async def test_the_service_shows_the_pages(site: Path) -> None:
    pages = _files(site, "*.html")
    (script,) = _files(site, "bundle.*.js")
    async with TestClient(TestServer(site_app(site))) as client:
        for file in pages:
            path = f"/docs/{file.relative_to(site).as_posix()}"
            response = await client.get(path)
            assert response.status == 200, path
            policy = response.headers["Content-Security-Policy"]
            assert "script-src 'self' 'sha256-" in policy
            scripts = re.findall(
                r"<script(?![^>]*\bsrc=)[^>]*>(.+?)</script>", await response.text(), re.DOTALL
            )
            runnable = [script for script in scripts if not script.lstrip().startswith("{")]
            digests = {b64encode(sha256(script.encode()).digest()).decode() for script in runnable}
            assert runnable
            assert [digest for digest in digests if digest not in policy] == [], path
            targets = re.findall(r'(?:href|src)="([^"#?:]+)(?:[#?][^"]*)?"', await response.text())
            lost = {target for target in targets if not (file.parent / target).resolve().is_file()}
            assert not (lost if file.name != "404.html" else ()), path
        page = await client.get("/docs/how-to/callers", allow_redirects=False)
        assert (page.status, page.headers["Location"]) == (302, "/docs/how-to/callers.html")
        for missing in ("nothing", "..%2F..%2Fmkdocs.yml", "%2e%2e/mkdocs.yml"):
            assert (await client.get(URL(f"/docs/{missing}", encoded=True))).status in (404, 500), missing
        kept = await client.get(f"/docs/{script.relative_to(site).as_posix()}")
        assert "immutable" in kept.headers["Cache-Control"]


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.rglob(pattern))


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) < MAX_README_LINES


def test_changelog_has_the_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text()


if __name__ == "__main__":
    MODELS.write_text(models_document(), "utf-8")
    for page in GENERATED_PAGES:
        GENERATED_PAGES[page].write_text(with_generated(page), "utf-8")
