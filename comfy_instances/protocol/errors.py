"""The errors of a run on an instance.

    InstanceError        kind           cause                                     what a caller does
    ├── BadGraph         bad_graph      the instance rejects graph or input file  fail the job
    ├── OutOfMemory      out_of_memory  a node ran out of memory                  free memory, retry elsewhere
    ├── InstanceGone     instance_gone  no response, or the prompt is unknown     retry elsewhere
    ├── NodeFailed       node_failed    a node raised an exception                retry once, then fail
    ├── OutputRefused    refused        the output check refuses the output       fail the job
    ├── NoOutput         no_output      the run succeeded without any output      retry once, then fail
    ├── PromptStalled    stalled        the run makes no progress                 restart it, retry elsewhere
    └── PromptCancelled  cancelled      the prompt was cancelled                  nothing

Messages are for operators: they may name nodes and exceptions, but never contain prompts or secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class InstanceError(Exception):
    """Base class of all failures of a run. `kind` is stored with the failed attempt."""

    kind: ClassVar[str] = "instance_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadGraph(InstanceError):
    """The instance rejects the graph, or a part of it, or an input file.

    `error_type` is the server's error type (`prompt_outputs_failed_validation`), `node_errors` its errors by
    node id: `{"7": {"class_type": ..., "errors": [{"type": ..., "message": ..., "extra_info": ...}]}}`.
    """

    kind = "bad_graph"

    def __init__(
        self, message: str, *, error_type: str = "", node_errors: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.node_errors: dict[str, Any] = dict(node_errors or {})


class OutOfMemory(InstanceError):
    """A node ran out of memory, on the GPU or on the host."""

    kind = "out_of_memory"


class InstanceGone(InstanceError):
    """The instance does not respond, responds wrongly, or no longer knows the prompt.

    `connection_refused` is True if nothing listens at its address: the process and its queue are gone.
    `while_running` is True if the instance may have been running the prompt: the prompt may be the cause.
    `self_inflicted` is True if the instance was stopped on request, or if this process lacked the resources
    to reach it: neither the instance nor the prompt is the cause.
    """

    kind = "instance_gone"

    def __init__(
        self,
        message: str,
        *,
        connection_refused: bool = False,
        while_running: bool = False,
        self_inflicted: bool = False,
    ) -> None:
        super().__init__(message)
        self.connection_refused = connection_refused
        self.while_running = while_running
        self.self_inflicted = self_inflicted


class NodeFailed(InstanceError):
    """A node raised an exception while it ran."""

    kind = "node_failed"

    def __init__(self, message: str, *, node_id: str, node_type: str, exception_type: str) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.node_type = node_type
        self.exception_type = exception_type


class OutputRefused(InstanceError):
    """The output check in the graph refuses the generated output."""

    kind = "refused"


class NoOutput(InstanceError):
    """The run succeeded but reported no output, or its output file does not exist."""

    kind = "no_output"


class PromptCancelled(InstanceError):
    """The prompt was cancelled, by this service or by another client of the instance."""

    kind = "cancelled"


class PromptStalled(InstanceError):
    """The prompt runs and makes no progress."""

    kind = "stalled"
