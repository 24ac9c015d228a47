"""Failures on demand: what the next prompts of a simulated instance will suffer."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    CRASH = "crash"  #: the process dies when the prompt's first node starts
    HANG = "hang"  #: the first node never ends and hears no interrupt
    DROP_SOCKET = "drop_socket"  #: its client's connection is cut; the prompt runs on
    OUT_OF_MEMORY = "out_of_memory"  #: the first node fails as torch does
    NODE_ERROR = "node_error"  #: the first node raises
    REFUSE = "refuse"  #: the output check objects to what was made
    NO_OUTPUT = "no_output"  #: success, and nothing was written
    REJECT = "reject"  #: refused when posted


#: Faults that take effect when a prompt starts.
EXECUTION_FAULTS = tuple(fault for fault in Fault if fault is not Fault.REJECT)


class ArmedFaults:
    """Armed faults. Of several kinds the one that was named first strikes first."""

    def __init__(self) -> None:
        self._armed: dict[Fault, int] = {}

    def arm(self, kind: Fault, count: int) -> None:
        """The next `count` prompts suffer `kind`; 0 takes it back."""
        self._armed[kind] = count
        if count <= 0:
            del self._armed[kind]

    @property
    def counts(self) -> dict[str, int]:
        return {kind.value: count for kind, count in self._armed.items()}

    def consume(self, *kinds: Fault) -> Fault | None:
        """The fault, one of `kinds`, that the prompt at hand suffers; it is used up by that."""
        for kind in self._armed:
            if kind in kinds:
                self.arm(kind, self._armed[kind] - 1)
                return kind
        return None
