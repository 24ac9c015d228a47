"""What a command imports before it does anything, and that the help without imports is the whole help."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from orchestrator.cli.main import COMMANDS, build_app, build_overview

#: Each takes a tenth of a second or ten megabytes.
HEAVY = (
    "av",
    "jinja2",
    "minio",
    "numpy",
    "openai",
    "PIL",
    "prometheus_client",
    "pydantic",
    "redis",
    "sqlite3",
)
HELP = """import sys
sys.argv[1:] = ["--help"]
from orchestrator.cli.main import main
try:
    main()
except SystemExit:
    pass
"""


def loaded_modules(code: str) -> set[str]:
    """The top-level modules that a process has imported after some code."""
    code += "\nimport sys\nprint('MODULES', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_the_overview_is_the_help_of_all_commands() -> None:
    def lines(app: typer.Typer) -> list[str]:
        result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert result.exit_code == 0
        return sorted(result.output.splitlines())

    assert lines(build_overview()) == lines(build_app())


def test_help_imports_no_library_of_the_service() -> None:
    loaded = loaded_modules(HELP)
    assert loaded.isdisjoint((*HEAVY, "aiohttp")), loaded


@pytest.mark.parametrize("name", ["generate", "instances", "jobs"])
def test_commands_that_ask_the_service_import_no_library_of_it(name: str) -> None:
    assert name in COMMANDS
    code = f"from orchestrator.cli.main import build_app; build_app(['{name}'])"
    assert loaded_modules(code).isdisjoint(HEAVY)


def test_the_service_imports_neither_ffmpeg_nor_what_is_not_configured() -> None:
    """Each is imported where it is needed first: videos, Redis, PostgreSQL, traces, certificates, GPUs, and
    migrations, which import NumPy."""
    loaded = loaded_modules("import orchestrator.cli.commands.up")
    unneeded = (
        "av",
        "c2pa",
        "numpy",
        "openai",
        "opentelemetry",
        "psycopg",
        "pynvml",
        "ray",
        "redis",
        "sqlite_utils",
    )
    assert loaded.isdisjoint(unneeded), loaded
