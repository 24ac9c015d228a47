"""Instances with the same node facts share them in memory."""

from __future__ import annotations

import json
from typing import Any

from comfy_instances.fleet.fleet_base import FleetBase
from comfy_instances.fleet.protocol import InstanceInfo, InstanceState


def make_fleet(*names: str) -> FleetBase:
    return FleetBase(
        InstanceInfo(
            id=name,
            url="http://127.0.0.1:1",
            state=InstanceState.READY,
            simulated=True,
            device="cpu",
            adopted=True,
        )
        for name in names
    )


def read_facts(name: str = "SaveImage") -> dict[str, Any]:
    """Return facts as an instance sends them: equal, but not the same objects."""
    facts: dict[str, Any] = json.loads(json.dumps({name: {"input": {"required": {"images": ["IMAGE", {}]}}}}))
    return facts


def test_equal_facts_share_their_entries_and_are_known_as_new() -> None:
    fleet = make_fleet("a", "b", "c")
    for name, facts in (("a", read_facts()), ("b", read_facts()), ("c", read_facts("SaveVideo"))):
        fleet.set_session(name, None, facts)
    first, second, other = (fleet.node_facts(name) for name in "abc")
    assert first is not None
    assert second is not None
    assert other is not None
    assert first == second != other
    assert first is not second, "who compares them by identity sees that they were read"
    assert first["SaveImage"] is second["SaveImage"]
    fleet.set_session("a", None, read_facts())
    again = fleet.node_facts("a")
    assert again is not None
    assert again is not first
    assert again["SaveImage"] is second["SaveImage"]
