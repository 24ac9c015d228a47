"""Every way in which a run on an instance can fail, in one tree.

    InstanceError              kind            whose fault                       what a caller does
    ├── BadGraph               bad_graph       ours, permanent                   fail the job
    ├── OutOfMemory            out_of_memory   the instance is too small or full free memory, retry elsewhere
    ├── InstanceGone           instance_gone   nobody answers, or it forgot      retry elsewhere
    ├── NodeFailed             node_failed     a node raised while it ran        retry once, then fail
    ├── Refused                refused         what was made may not leave       fail the job
    ├── NoOutput               no_output       it ended well, but gave nothing   retry once, then fail
    ├── Stalled                stalled         it runs and gets nowhere          restart it, retry elsewhere
    └── Interrupted            cancelled       somebody asked for it             nothing

Messages are for operators: they may name nodes and exceptions, never prompts or secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class InstanceError(Exception):
    """Base of all failures of a run. `kind` is the word that an attempt's record keeps."""

    kind: ClassVar[str] = "instance_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadGraph(InstanceError):
    """The instance refuses the graph, or a part of it, or an input file.

    `error_type` is the server's word (`prompt_outputs_failed_validation`), `node_errors` its findings by
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
    """The instance does not answer, answers nonsense, or does not know the prompt any more.

    `connection_refused` says that nothing listens at its address: that process and all it held are gone.
    """

    kind = "instance_gone"

    def __init__(self, message: str, *, connection_refused: bool = False) -> None:
        super().__init__(message)
        self.connection_refused = connection_refused


class NodeFailed(InstanceError):
    """A node raised an exception while it ran."""

    kind = "node_failed"

    def __init__(self, message: str, *, node_id: str, node_type: str, exception_type: str) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.node_type = node_type
        self.exception_type = exception_type


class OutputRefused(InstanceError):
    """The output check in the graph objects to what was made."""

    kind = "refused"


class NoOutput(InstanceError):
    """The run ended well and left nothing to fetch, or what it named is not there."""

    kind = "no_output"


class PromptCancelled(InstanceError):
    """The prompt was cancelled, by us or by an operator of the instance."""

    kind = "cancelled"


class PromptStalled(InstanceError):
    """The prompt runs and makes no progress."""

    kind = "stalled"
