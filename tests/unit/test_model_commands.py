"""`pixelfactory models`: what the commands print, and what they keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from orchestrator.cli.main import build_app
from tests.support.canvas import drawn


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PIXELFACTORY_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: str, fails: bool = False) -> Result:
        command = arguments if arguments[0] == "weights" else ("models", *arguments)
        result = CliRunner().invoke(build_app(), command)
        assert (result.exit_code != 0) == fails, (result.output, result.exception)
        return result

    return call


def write_graph(tmp_path: Path, steps: int) -> str:
    graph = drawn()
    graph["sampler"]["inputs"]["steps"] = steps
    file = tmp_path / f"{steps}.json"
    file.write_text(json.dumps(graph))
    return str(file)


def test_a_replaced_model_is_published_as_its_author_decided(tmp_path: Path, run: Any) -> None:
    text = run("import", write_graph(tmp_path, 10), "--id", "hare").output
    assert "then run: pixelfactory models publish hare" in " ".join(text.split())
    facts = ("--license", "apache-2.0", "--owner", "Studio", "--vram-gb", "12", "--step-seconds", "2")
    run("publish", "hare", *facts, "--price-class", "flux-1-schnell")
    price = json.loads(run("show", "hare", "--json").stdout)["price_per_image_cents"]
    text = run("import", write_graph(tmp_path, 12), "--id", "hare", "--replace").output
    assert "as in the version before" in text
    assert "price class: " not in text
    assert "its license" not in text
    difference = run("diff", "hare").stdout.splitlines()
    assert "--- live/model.toml" in difference
    assert "+default = 12" in difference
    run("publish", "hare", "--why", "sharper ears")
    assert "license apache-2.0: hare" in run("weights", "plan", "hare").stdout
    shown = json.loads(run("show", "hare", "--json").stdout)
    assert (shown["license"], shown["owned_by"]) == ("apache-2.0", "Studio")
    # The price of an image depends on its steps, if at all, in proportion.
    assert shown["price_per_image_cents"] <= price * 1.21


def test_rejects_an_absolute_folder_of_weights(tmp_path: Path, run: Any) -> None:
    run("import", write_graph(tmp_path, 10), "--id", "hare")
    failed = run("publish", "hare", "--weight-folder", "base.safetensors=/abs", fails=True)
    assert "needs a folder below models/" in str(failed.exception)


def test_rejects_an_author_without_an_account(tmp_path: Path, run: Any) -> None:
    arguments = ("import", write_graph(tmp_path, 10), "--id", "hare", "--author")
    failed = run(*arguments, "acct_none", fails=True)
    assert "acct_none" in str(failed.exception)
    run("show", "hare", fails=True)
