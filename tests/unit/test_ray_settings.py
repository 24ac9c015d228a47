"""What the settings of a Ray cluster make of the fleet, and which of them are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from comfy_instances.fleet.ray.values import AgentOptions, AgentReport, AgentStatus
from orchestrator.app.ray_fleet import NewNodes, build_ray_fleet, build_ray_options, select_ray_models
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.settings import SHIPPED_WORKFLOWS_DIR, Settings, SettingsError
from tests.support.ray_cluster import HAS_RAY
from tests.support.shipped import SHIPPED_CATALOG

ADDRESS = "10.0.0.5:6379"


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings.load(data_dir=tmp_path, ray_address=ADDRESS, **values)


@pytest.fixture(scope="module")
def catalog() -> LiveCatalog:
    return LiveCatalog(SHIPPED_WORKFLOWS_DIR, lambda model: None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"instances": "http://10.0.0.6:8188"}, "PIXELFACTORY_INSTANCES exclude each other"),
        ({"ray_min_instances": 9, "ray_max_instances": 8}, r"\(9\) must be at most"),
        ({"ray_node_types": "L40S=48"}, "PIXELFACTORY_RAY_AUTOSCALE=true"),
        ({"ray_models": "sd-1.5,no-such-model"}, "PIXELFACTORY_RAY_MODELS: .*no-such-model"),
    ],
)
def test_refuses_settings_that_contradict_each_other(
    tmp_path: Path, catalog: LiveCatalog, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        build_ray_fleet(settings(tmp_path, **values), catalog)


@pytest.mark.skipif(HAS_RAY, reason="shows what an environment without Ray says")
def test_says_how_to_install_ray(tmp_path: Path, catalog: LiveCatalog) -> None:
    with pytest.raises(SettingsError, match=r"pip install 'pixel-factory\[ray\]'"):
        build_ray_fleet(settings(tmp_path), catalog)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ray_namespace", ""),
        ("ray_namespace", "a/b"),
        ("ray_min_instances", "-1"),
        ("ray_node_types", "L40S"),
        ("ray_node_types", "L40S=0"),
        ("ray_node_types", "L40S=48 GB"),
        ("ray_max_instances", "1_0"),
        ("ray_target_wait_seconds", "0"),
        ("ray_idle_seconds", "-1"),
    ],
)
def test_refuses_values_outside_their_range(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"PIXELFACTORY_{name.upper()}"):
        settings(tmp_path, **{name: value})


def test_agents_get_what_the_settings_say(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        ray_namespace="studio",
        ray_node_dir=tmp_path / "node",
        models_dir=tmp_path / "models",
        comfyui_dir=tmp_path / "comfyui",
        ray_models="sd-1.5, flux-1-dev",
        ray_min_instances=2,
        ray_max_instances=5,
        ray_autoscale=True,
        ray_target_wait_seconds=30,
        ray_idle_seconds=10,
    )
    options = build_ray_options(found)
    agent = options.agent
    assert (agent.namespace, agent.base_dir) == ("studio", str(tmp_path / "node"))
    assert (agent.models_dir, agent.comfyui_dir) == (str(tmp_path / "models"), str(tmp_path / "comfyui"))
    assert agent.needs_weights
    assert not agent.simulate
    assert options.autoscale
    limits = options.limits
    assert (limits.min_instances, limits.max_instances) == (2, 5)
    assert (limits.target_wait_seconds, limits.idle_seconds) == (30, 10)
    assert options.state_file.parent == tmp_path
    assert not build_ray_options(settings(tmp_path)).agent.needs_weights
    assert build_ray_options(settings(tmp_path, simulate=1)).agent.simulate


def test_the_models_of_the_nodes_are_named_or_all(tmp_path: Path) -> None:
    catalog = SHIPPED_CATALOG
    chosen = select_ray_models(settings(tmp_path, ray_models="sd-1.5,sd-1.5"), catalog)
    assert [model.id for model in chosen] == ["sd-1.5"]
    assert select_ray_models(settings(tmp_path), catalog) == []
    assert len(select_ray_models(settings(tmp_path, ray_models="*"), catalog)) == len(list(catalog))


def test_messages_of_other_versions_are_read_as_far_as_they_are_known() -> None:
    """Agents and services of two versions work together until the agents are replaced."""
    options = AgentOptions(name="ray-0", namespace="n", base_dir="/x")
    later = options.to_json().replace('"name"', '"colour": "red", "name"')
    assert AgentOptions.from_json(later) == options
    report = AgentReport(name="ray-0", incarnation="i", url="u", token="t", node_id="n")
    assert AgentReport.from_json({**report.to_json(), "colour": "red"}) == report
    gpu = {"colour": "red", "power": 300.0}
    status = AgentStatus.from_json({"incarnation": "i", "state": "failed", "gpu": gpu, "colour": "red"})
    assert status.gpu is not None
    assert (status.gpu.power, status.gpu.temperature) == (300.0, None)
    assert AgentStatus.from_json(status.to_json()) == status
    tried_again = replace(status, retry_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert AgentStatus.from_json(json.loads(json.dumps(tried_again.to_json()))) == tried_again


def test_a_model_waits_for_the_first_card_that_it_fits(tmp_path: Path, catalog: LiveCatalog) -> None:
    found = settings(tmp_path, ray_node_types="L4=24, H100=80", ray_autoscale=True, ray_min_instances=0)
    assert found.ray_node_types == {"L4": 24.0, "H100": 80.0}
    cards = NewNodes(found.ray_node_types, catalog).cards_by_model()
    needs = {model.id: model.manifest.resources.vram_bytes / 10**9 for model in catalog.catalog}
    for id, gigabytes in needs.items():
        assert cards.get(id) == ("L4" if gigabytes <= 24 else "H100" if gigabytes <= 80 else None)
    assert set(cards.values()) == {"L4", "H100"}
    sdxl = catalog.catalog["sdxl-1.0"]
    assert cards[sdxl.digest] == cards[sdxl.id]
