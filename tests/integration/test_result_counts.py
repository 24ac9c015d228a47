"""Callers pay for the results that a run makes, not for those that its author promises."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.callers import new_key
from tests.support.publishing import (
    GENERATIONS,
    GREEN,
    MODELS,
    author,
    graph,
    publish,
    publishing_service,
    send,
)
from tests.support.service import ServiceProcess

SIX = {"license": "mit", "batch": 6}


def joined() -> dict[str, Any]:
    """Two images that one node joins: no input of the graph says that there are two."""
    nodes = graph()
    other = nodes["1"]["inputs"] | {"color": GREEN}
    nodes["3"] = {"class_type": "EmptyImage", "inputs": other, "_meta": {}}
    nodes["4"] = {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["3", 0]}, "_meta": {}}
    nodes["2"]["inputs"]["images"] = ["4", 0]
    return nodes


def first_of_three() -> dict[str, Any]:
    """A batch of three, of which one is saved; the run computes how many."""
    nodes = graph()
    nodes["1"]["inputs"]["batch_size"] = 3
    nodes["4"] = {"class_type": "StringLength", "inputs": {"string": "x"}, "_meta": {}}
    cut = {"image": ["1", 0], "batch_index": 0, "length": ["4", 0]}
    nodes["3"] = {"class_type": "ImageFromBatch", "inputs": cut, "_meta": {}}
    nodes["2"]["inputs"]["images"] = ["3", 0]
    return nodes


__all__ = ["author"]

service = publishing_service


async def test_a_batch_above_what_the_nodes_make_is_not_published(
    service: ServiceProcess, author: str
) -> None:
    status, report = await publish(service, author, "six", manifest=SIX, dry_run=True)
    assert status == 200
    assert "at most 1" in report["missing"]["batch"]
    status, answer = await publish(service, author, "six", manifest=SIX, publish=True)
    assert (status, answer["error"]["code"]) == (400, "incomplete_manifest")
    assert "the graph makes 1 result," in answer["error"]["message"]
    assert (await publish(service, author, "six", manifest=SIX))[0] == 201
    status, answer = await send(service, author, "POST", f"{MODELS}/six/publish", {})
    assert (status, list(answer["error"]["missing"])) == (400, ["batch"])


async def test_a_test_run_counts_what_the_graph_makes(service: ServiceProcess, author: str) -> None:
    fields = {"manifest": SIX, "replace": True, "publish": True, "test_run": True}
    status, answer = await publish(service, author, "counted", **fields)
    assert (status, answer["error"]["code"]) == (400, "incomplete_manifest")
    assert "a test run of this version made 1 result" in answer["error"]["message"]
    assert (await send(service, author, "GET", f"{MODELS}/counted"))[1]["live"] is None


async def test_a_test_run_finds_that_a_batch_is_cut(service: ServiceProcess, author: str) -> None:
    status, answer = await publish(
        service, author, "cut", prompt=first_of_three(), publish=True, test_run=True
    )
    assert (status, list(answer["error"]["missing"])) == (400, ["batch"])
    one = {"license": "mit", "batch": 1}
    status, answer = await publish(
        service, author, "cut", prompt=first_of_three(), manifest=one, replace=True, publish=True
    )
    assert (status, answer["report"]["results"]) == (201, 1)


async def test_a_test_run_proves_results_that_no_input_names(service: ServiceProcess, author: str) -> None:
    fields: dict[str, Any] = {"prompt": joined(), "manifest": {"license": "mit", "batch": 2}}
    assert (await publish(service, author, "pair", **fields, publish=True))[0] == 400
    status, answer = await publish(service, author, "pair", **fields, test_run=True)
    assert (status, len(answer["test"]["assets"])) == (201, 2)
    status, answer = await send(service, author, "POST", f"{MODELS}/pair/publish", {})
    assert (status, answer["state"]) == (200, "live")
    fields["manifest"]["name"] = "Another version"
    status, answer = await publish(service, author, "pair", **fields, replace=True, publish=True)
    assert (status, list(answer["error"]["missing"])) == (400, ["batch"])
    fields |= {"replace": True, "publish": True, "test_run": True}
    assert (await publish(service, author, "pair", **fields))[1]["state"] == "live"


async def test_callers_pay_for_the_results_that_were_made(service: ServiceProcess, author: str) -> None:
    """Without a test run, the count is that of the nodes: here a later node drops two of three images."""
    costly = {"license": "mit", "price_class": "i2v"}
    fields = {"prompt": first_of_three(), "manifest": costly, "publish": True}
    assert (await publish(service, author, "cut-unseen", **fields))[0] == 201
    caller = new_key(service)
    request = {"model": "cut-unseen", "n": 4}
    status, answer = await send(service, caller, "POST", GENERATIONS, request)
    assert (status, len(answer["data"])) == (200, 4)
    quoted = (await send(service, caller, "POST", "/api/v1/quote", request))[1]
    assert quoted["results"] == 12
    (job,) = (await send(service, caller, "GET", "/api/v1/jobs"))[1]["jobs"]
    assert job["costUsd"] == pytest.approx(quoted["cost_usd"] / 3)
    assert "@batch" not in job["params"]


async def test_check_and_publish_of_the_command_line_name_the_results(service: ServiceProcess) -> None:
    """Drafts are files that their authors edit."""
    operator = service.admin_token
    assert (await publish(service, operator, "edited"))[0] == 201
    manifest = service.data_dir / "workflows" / ".drafts" / "edited" / "model.toml"
    manifest.write_text(f"batch = 2\n{manifest.read_text()}")
    for command in ("check", "publish"):
        refused = service.command("models", command, "edited")
        assert refused.returncode == 1
        assert "`batch`" in refused.stdout + refused.stderr
        assert "at most 1, since callers pay for 2" in " ".join((refused.stdout + refused.stderr).split())
    manifest.write_text(manifest.read_text().replace("batch = 2\n", ""))
    assert service.command("models", "check", "edited").returncode == 0
    assert service.command("models", "publish", "edited").returncode == 0
