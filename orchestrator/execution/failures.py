"""What became of an attempt: exceptions of every room below, sorted into kinds and words for callers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from comfy_instances.protocol.errors import InstanceError
from orchestrator.errors import ContentBlocked, ServiceError
from orchestrator.jobs import JobError
from orchestrator.media.errors import ObjectStoreError

log = logging.getLogger(__name__)

#: What a caller is told, by the kind of the last failure.
FAILURE_MESSAGES = {
    "bad_graph": "The model's graph was refused by the instance.",
    "out_of_memory": "The request needs more GPU memory than there is.",
    "instance_gone": "The instances that ran the request went away each time.",
    "node_failed": "A step of the model failed.",
    "refused": "The result is against the content policy.",
    "no_output": "The model gave no usable output.",
    "stalled": "The run made no progress.",
    "cancelled": "The run was interrupted on its instance.",
    "expired": "No instance could take the request in time.",
    "superseded": "The model was changed meanwhile, and no instance can run its old version.",
    "store_unavailable": "The result could not be stored.",
    "abandoned": "The run was lost with its instance.",
    "internal": "The service failed to carry the request out.",
}

#: Codes that callers know by another word than ours.
PUBLIC_CODES = {"refused": ContentBlocked.default_code}

#: Failures that had nothing to do with what was asked for: it may go well a little later.
RETRYABLE_FAILURES = frozenset(
    {"instance_gone", "abandoned", "expired", "stalled", "superseded", "store_unavailable"}
)

#: The kind, and details for operators.
ClassifiedFailure = tuple[str, str]


class AttemptAbandoned(Exception):
    """A prompt of an earlier process can not be found."""


async def run_and_classify(run: Awaitable[object]) -> ClassifiedFailure | None:
    """Awaits `run`; None where all went well."""
    try:
        await run
    except InstanceError as error:
        return error.kind, str(error)
    except ObjectStoreError as error:
        return "store_unavailable", str(error)
    except (AttemptAbandoned, TimeoutError) as error:
        return "abandoned", str(error)
    except ServiceError as error:
        return "internal", error.message
    except Exception as error:
        log.exception("an attempt met an unexpected error")
        return "internal", repr(error)
    return None


def to_job_error(kind: str) -> JobError:
    """The failure in words fit for the job's caller."""
    return JobError(code=PUBLIC_CODES.get(kind, kind), message=FAILURE_MESSAGES[kind])
