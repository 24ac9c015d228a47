"""Faults that a text in the graph asks for."""

from __future__ import annotations

import pytest

from comfy_instances.simulator.faults import MARKED_FAULTS_VARIABLE, Fault, find_marked_fault


def graph(text: object) -> dict[str, object]:
    return {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["2", 0]}}, "2": {}}


def test_texts_ask_for_nothing_unless_it_is_enabled() -> None:
    assert find_marked_fault(graph("a dog [fault:crash]")) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a dog [fault:crash]", Fault.CRASH),
        ("[fault:hang] and [fault:crash]", Fault.HANG),
        ("a dog [fault:none]", None),
        ("a dog [fault:reject]", None),  # decided before the prompt is queued
        ("a dog", None),
        (7, None),
    ],
)
def test_finds_the_first_known_fault(
    monkeypatch: pytest.MonkeyPatch, text: object, fault: Fault | None
) -> None:
    monkeypatch.setenv(MARKED_FAULTS_VARIABLE, "1")
    assert find_marked_fault(graph(text)) is fault
