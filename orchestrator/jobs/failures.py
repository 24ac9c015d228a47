"""The kinds of failure of an attempt."""

from __future__ import annotations

from enum import StrEnum


class FailureKind(StrEnum):
    """Why an attempt, or a whole job, failed. The values are stored and shown to callers as error codes."""

    LORA_UNAVAILABLE = "lora_unavailable"  #: the file of a LoRA is gone, or the instance does not take it
    BAD_GRAPH = "bad_graph"  #: the instance rejected the graph
    OUT_OF_MEMORY = "out_of_memory"  #: a node ran out of GPU or host memory
    INSTANCE_GONE = "instance_gone"  #: the instance is unreachable, or was replaced by another server
    NODE_FAILED = "node_failed"  #: a node raised an exception
    NODE_FAILED_REPEATEDLY = "node_failed_repeatedly"  #: it did so with the same error in every attempt
    OUTPUT_REFUSED = "refused"  #: the output check rejected the result
    UNSUPPORTED_FORMAT = "unsupported_output_format"  #: the requested format does not hold the result
    NO_OUTPUT = "no_output"  #: the run ended without a usable output
    STALLED = "stalled"  #: the run made no progress
    CANCELLED = "cancelled"  #: the prompt was interrupted on its instance
    QUARANTINED = "quarantined"  #: instances died while they ran it, so it is not run again
    EXPIRED = "expired"  #: no instance could start the shard before its deadline
    SUPERSEDED = "superseded"  #: the model changed, and no instance can run the old version
    DRAFT_UNSERVED = "draft_not_runnable"  #: no instance has what a draft needs
    STORE_UNAVAILABLE = "store_unavailable"  #: the outputs could not be stored
    ABANDONED = "abandoned"  #: the prompt of an earlier process was not found again
    GRAPH_FAILED = "node_execution_error"  #: a node of a caller's own graph raised an exception
    GRAPH_TOO_LONG = "run_too_long"  #: a caller's own graph ran for longer than its hold pays for
    GRAPH_UNSERVED = "graph_not_runnable"  #: no instance has what a caller's own graph names
    INTERNAL = "internal"  #: an unexpected error of the service


#: Failures that the request did not cause; the same request may succeed later.
RETRYABLE_FAILURES = frozenset(
    {
        FailureKind.INSTANCE_GONE,
        FailureKind.ABANDONED,
        FailureKind.EXPIRED,
        FailureKind.STALLED,
        FailureKind.SUPERSEDED,
        FailureKind.STORE_UNAVAILABLE,
    }
)

#: Failures after which a repetition may succeed, with another seed or on another instance. They free the
#: idempotency key of the request, so that it can be repeated, and SDKs are told to do so.
REPEATABLE_FAILURES = RETRYABLE_FAILURES | {
    FailureKind.INTERNAL,
    FailureKind.NO_OUTPUT,
    FailureKind.NODE_FAILED,
    FailureKind.OUT_OF_MEMORY,
}
