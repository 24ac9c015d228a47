"""Failures on demand, injected into the next prompts of a simulated instance, or into marked prompts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

#: With this variable set to 1, a graph with the text `[fault:KIND]` in an input suffers that fault wherever
#: and however often it runs. Not a `PIXELFACTORY_` variable: instances do not inherit those.
MARKED_FAULTS_VARIABLE = "SIMULATOR_MARKED_FAULTS"
_MARK = re.compile(r"\[fault:(\w+)\]")


class Fault(StrEnum):
    """A failure that the simulator can inject into a prompt."""

    CRASH = "crash"  #: the process dies when the prompt's first node starts
    HANG = "hang"  #: the first node never ends and ignores interrupts
    HOLD_NODE = "hold_node"  #: the third node waits until it is interrupted
    HOLD_STEP = "hold_step"  #: the first node that reports a step waits after it until it is interrupted
    DROP_SOCKET = "drop_socket"  #: its client's connection is cut; the prompt continues
    OUT_OF_MEMORY = "out_of_memory"  #: the first node fails as torch does
    NODE_ERROR = "node_error"  #: the first node raises
    REFUSE = "refuse"  #: the output check refuses the output
    NO_OUTPUT = "no_output"  #: the prompt succeeds without writing anything
    REJECT = "reject"  #: the graph is rejected when it is posted


#: Faults that take effect when a prompt starts.
EXECUTION_FAULTS = tuple(fault for fault in Fault if fault is not Fault.REJECT)


def find_marked_fault(graph: Mapping[str, Any]) -> Fault | None:
    """Return the fault that a text in the graph asks for; None unless marked faults are enabled."""
    if os.environ.get(MARKED_FAULTS_VARIABLE) != "1":
        return None
    texts = (
        value
        for node in graph.values()
        for value in node.get("inputs", {}).values()
        if isinstance(value, str)
    )
    kinds = (mark.group(1) for text in texts for mark in _MARK.finditer(text))
    return next((Fault(kind) for kind in kinds if kind in EXECUTION_FAULTS), None)


class ArmedFaults:
    """The armed faults and how many prompts each still affects, in arming order."""

    def __init__(self) -> None:
        self._armed: dict[Fault, int] = {}

    def arm(self, kind: Fault, count: int) -> None:
        """Inject `kind` into the next `count` prompts; 0 disarms it."""
        self._armed[kind] = count
        if count <= 0:
            del self._armed[kind]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of prompts that each armed fault still affects."""
        return {kind.value: count for kind, count in self._armed.items()}

    def consume(self, *kinds: Fault) -> Fault | None:
        """Return the first armed fault among `kinds` and count it down; None if none is armed."""
        for kind in self._armed:
            if kind in kinds:
                self.arm(kind, self._armed[kind] - 1)
                return kind
        return None
