"""Classifies failed attempts: exceptions become failure kinds, and kinds become errors for callers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from comfy_instances.protocol.errors import InstanceError, InstanceGone
from orchestrator.errors import ContentBlocked, ServiceError
from orchestrator.jobs import FailureKind, JobError
from orchestrator.media.errors import ObjectStoreError

log = logging.getLogger(__name__)

#: Message for the caller of a failed job, by the kind of its last failure.
FAILURE_MESSAGES: Mapping[FailureKind, str] = {
    FailureKind.LORA_UNAVAILABLE: "A LoRA of the request no longer exists, or is too large for the instance.",
    FailureKind.BAD_GRAPH: "The instance rejected the model's graph.",
    FailureKind.OUT_OF_MEMORY: "The request needs more GPU memory than is available.",
    FailureKind.INSTANCE_GONE: "The instance became unreachable during every attempt.",
    FailureKind.NODE_FAILED: "A node of the model's graph failed.",
    FailureKind.NODE_FAILED_REPEATEDLY: "A node of the model's graph failed with the same error in every"
    " attempt, and would fail again. Change the request, or report the job. Nothing is charged.",
    FailureKind.OUTPUT_REFUSED: "The result violates the content policy.",
    FailureKind.UNSUPPORTED_FORMAT: "The result has several frames or is too large, and the requested"
    " `output_format` does not hold it; request webp or png, or no `output_format`. Nothing is charged.",
    FailureKind.NO_OUTPUT: "The model produced no usable output.",
    FailureKind.STALLED: "The run made no progress.",
    FailureKind.CANCELLED: "The run was interrupted on its instance.",
    FailureKind.QUARANTINED: "Instances ended while they ran the request, so it is not run again.",
    FailureKind.EXPIRED: "No instance could start the request in time.",
    FailureKind.SUPERSEDED: "The model changed after the request, and no instance can run its old version.",
    FailureKind.DRAFT_UNSERVED: "No instance can run the draft.",
    FailureKind.STORE_UNAVAILABLE: "The result could not be stored.",
    FailureKind.ABANDONED: "The run was lost together with its instance.",
    FailureKind.GRAPH_FAILED: "A node of the graph failed; correct the graph. Nothing is charged.",
    FailureKind.GRAPH_TOO_LONG: "The graph ran for longer than its hold pays for; make it smaller, or allow"
    " more seconds. Nothing is charged.",
    FailureKind.GRAPH_UNSERVED: "No instance has the weights and node classes that the graph names; GET"
    " /object_info lists those that there are.",
    FailureKind.INTERNAL: "The service failed to process the request.",
}

#: Error codes of jobs that differ from the value of the failure kind.
PUBLIC_CODES: Mapping[FailureKind, str] = {FailureKind.OUTPUT_REFUSED: ContentBlocked.default_code}


class AttemptAbandoned(Exception):
    """The prompt of an earlier process cannot be found."""


class LoraUnavailable(Exception):
    """The file of a LoRA does not exist, or the instance does not take it."""


class CallerGraphFailed(Exception):
    """A node of a caller's own graph raised an exception; the text is for the caller."""


class RunTooLong(Exception):
    """A run takes longer than its job may."""


class FormatUnsupported(Exception):
    """The format that the request asks for does not hold the result."""


class SigningFailed(Exception):
    """The result cannot be signed with the operator's certificate."""


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """Why an attempt failed."""

    kind: FailureKind
    #: Message for operators; may name nodes and exceptions.
    detail: str
    #: False if the prompt cannot be the cause: its instance was lost before it started the prompt or after
    #: it had finished it, or was stopped on request.
    has_run: bool = True


async def run_and_classify(run: Awaitable[object]) -> AttemptFailure | None:
    """Await `run` and return how it failed; None if it succeeded."""
    try:
        await run
    except InstanceGone as error:
        has_run = error.while_running and not error.self_inflicted
        return AttemptFailure(FailureKind.INSTANCE_GONE, str(error), has_run=has_run)
    except InstanceError as error:
        return AttemptFailure(FailureKind(error.kind), str(error))
    except LoraUnavailable as error:
        return AttemptFailure(FailureKind.LORA_UNAVAILABLE, str(error))
    except FormatUnsupported as error:
        return AttemptFailure(FailureKind.UNSUPPORTED_FORMAT, str(error))
    except CallerGraphFailed as error:
        return AttemptFailure(FailureKind.GRAPH_FAILED, str(error))
    except RunTooLong as error:
        return AttemptFailure(FailureKind.GRAPH_TOO_LONG, str(error))
    except (ObjectStoreError, SigningFailed) as error:
        return AttemptFailure(FailureKind.STORE_UNAVAILABLE, str(error))
    except (AttemptAbandoned, TimeoutError) as error:
        return AttemptFailure(FailureKind.ABANDONED, str(error))
    except ServiceError as error:
        return AttemptFailure(FailureKind.INTERNAL, error.message)
    except Exception as error:
        log.exception("an attempt failed with an unexpected error")
        return AttemptFailure(FailureKind.INTERNAL, repr(error))
    return None


def to_job_error(kind: FailureKind) -> JobError:
    """Return the error that the caller of the job sees."""
    return JobError(code=PUBLIC_CODES.get(kind, kind.value), message=FAILURE_MESSAGES[kind])
