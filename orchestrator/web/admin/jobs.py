"""`/admin/v1/jobs`, `/admin/v1/failures` and `/admin/v1/events`: what happened, for operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from aiohttp import web
from pydantic import Field

from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.store.job_search import FailurePosition, JobSearchStore
from orchestrator.store.operator_events import OperatorEvent, OperatorEventStore
from orchestrator.store.values import INVALID_CURSOR_MESSAGE, JobFilter
from orchestrator.web.admin.account_names import AccountNames
from orchestrator.web.admin.job_schemas import (
    AdminJob,
    AdminJobList,
    FailureList,
    to_admin_job,
    to_failure,
    to_job_row,
)
from orchestrator.web.admin.schemas import to_job_margin
from orchestrator.web.auth import require_admin
from orchestrator.web.http.errors import job_not_found
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel, json_response
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, ParameterSpec, openapi_operation
from pricing.costs import CostRates

#: Status of jobs that are not finished, beside those of jobs.
UNFINISHED = "unfinished"
STATUSES = (*JobStatus, UNFINISHED)
#: Longest value of a filter.
MAX_FILTER = 200


def _filter(description: str) -> ParameterSpec:
    return ParameterSpec({"type": "string", "maxLength": MAX_FILTER}, description)


JOB_FILTERS = {
    "account": _filter("Only jobs of this account id."),
    "key": _filter("Only jobs of this API key id."),
    "model": _filter("Only jobs of this model id, or that asked for this name."),
    "status": ParameterSpec(
        {"type": "string", "enum": [str(one) for one in STATUSES]}, "Only jobs with this status."
    ),
    "instance": _filter("Only jobs of which this instance ran an attempt."),
    "error": _filter("Only jobs that failed with this error code."),
}


class OperatorEventResponse(ResponseModel):
    """A change that an operator, an author or the service has made."""

    id: int = Field(description="Number of the event.", examples=[17])
    at: IsoDatetime = Field(description="When.")
    actor: str = Field(
        description="Who: `operator`, with the name that the request gave in `X-Operator`; the command"
        " line with"
        " its user; a key; or `service`.",
        examples=["operator (alice, command line)"],
    )
    action: str = Field(description="What, as `NOUN.VERB`.", examples=["instances.drain"])
    subject: str = Field(description="Id of what was changed.", examples=["gpu-0"])
    detail: dict[str, object] = Field(description="Further facts.", examples=[{}])


class OperatorEventList(ResponseModel):
    """A page of the log of changes."""

    events: list[OperatorEventResponse] = Field(description="The events, newest first.")
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class JobAdminStore(JobSearchStore, OperatorEventStore, Protocol):
    """The part of the store that has jobs, attempts and events."""

    async def find_job(self, job_id: str) -> JobRecord | None: ...


class JobActions(Protocol):
    """What is done with jobs."""

    async def cancel_job(self, job_id: str) -> JobRecord: ...


class JobAdminRoutes:
    """Routes of jobs, failures and events. All need the admin token."""

    def __init__(
        self,
        *,
        store: JobAdminStore,
        actions: JobActions,
        repeat: Callable[[JobRecord], Awaitable[JobRecord]],
        names: AccountNames,
        costs: CostRates,
        token: str,
    ) -> None:
        """`repeat` accepts the request of a finished job as a new one."""
        self._store = store
        self._actions = actions
        self._repeat = repeat
        self._names = names
        self._costs = costs
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/jobs", self.list_jobs),
            web.get("/admin/v1/jobs/{id}", self.get_job),
            web.post("/admin/v1/jobs/{id}/cancel", self.cancel_job),
            web.post("/admin/v1/jobs/{id}/retry", self.retry_job),
            web.get("/admin/v1/failures", self.list_failures),
            web.get("/admin/v1/events", self.list_events),
        ]

    @openapi_operation(
        summary="List jobs of all accounts",
        description="Returns jobs without their parameters, newest first, in pages. Jobs that their caller"
        " has"
        " removed are included.",
        query={**JOB_FILTERS, "limit": LIMIT_PARAM, "cursor": CURSOR_PARAM},
        response=AdminJobList,
    )
    async def list_jobs(self, request: web.Request) -> web.Response:
        """Return a page of jobs."""
        require_admin(request, self._token)
        page = await self._store.search_jobs(
            _parse_filter(request), parse_limit(request), request.query.get("cursor")
        )
        names = await self._names.read(
            id for record in page.items for id in (record.job.account_id, record.job.key_id)
        )
        instances = await self._store.list_instances_of([record.job.id for record in page.items])
        rows = [to_job_row(record, names, instances.get(record.job.id, ())) for record in page.items]
        return json_response(AdminJobList(jobs=rows, next_cursor=page.cursor))

    @openapi_operation(
        summary="Get a job of any account",
        description="Returns a job with its parameters, every attempt of its shards, and its margin.",
        response=AdminJob,
    )
    async def get_job(self, request: web.Request) -> web.Response:
        """Return one job."""
        require_admin(request, self._token)
        return await self._respond(await self._find_job(request))

    @openapi_operation(
        summary="Cancel a job of any account",
        description="Cancels an unfinished job, which is not charged. A finished one stays as it is.",
        response=AdminJob,
        response_description="The job after the request.",
    )
    async def cancel_job(self, request: web.Request) -> web.Response:
        """Cancel one job."""
        require_admin(request, self._token)
        record = await self._find_job(request)
        return await self._respond(await self._actions.cancel_job(record.job.id))

    @openapi_operation(
        summary="Repeat a failed or cancelled job",
        description="Accepts the request of the job again, as a new job of the same account and key, at"
        " the same"
        " price, with its files, seed and webhook. The earlier job stays as it is.",
        response=AdminJob,
        response_description="The new job.",
        status=201,
        other_responses={
            402: "The balance of the account does not cover the price.",
            409: "The job has succeeded, is not finished, or violates the content policy.",
        },
    )
    async def retry_job(self, request: web.Request) -> web.Response:
        """Repeat one job as a new one."""
        require_admin(request, self._token)
        return await self._respond(await self._repeat(await self._find_job(request)), status=201)

    @openapi_operation(
        summary="List failed attempts",
        description="Returns the attempts that failed, latest first, in pages. Most are repeated, and"
        " their jobs"
        " succeed. Cancelled attempts are left out.",
        query={"limit": LIMIT_PARAM, "cursor": CURSOR_PARAM},
        response=FailureList,
    )
    async def list_failures(self, request: web.Request) -> web.Response:
        """Return a page of failed attempts."""
        require_admin(request, self._token)
        limit = parse_limit(request)
        found = await self._store.list_failed_attempts(limit + 1, _parse_position(request))
        names, shown = await self._names.read(one.account_id for one in found), found[:limit]
        last = shown[-1].attempt if len(found) > limit else None
        cursor = (
            None if last is None or last.ended_at is None else f"{last.ended_at.isoformat()}~{last.prompt_id}"
        )
        return json_response(
            FailureList(failures=[to_failure(one, names) for one in shown], next_cursor=cursor)
        )

    @openapi_operation(
        summary="List changes by operators",
        description="Returns who changed what: instances, keys, accounts, wallets, prices, models,"
        " licenses and"
        " jobs. Newest first, in pages. The log is kept for PIXELFACTORY_EVENT_DAYS.",
        query={
            "action": _filter(
                "Only this action, such as `keys.create`, or all with this noun, such as `keys`."
            ),
            "subject": _filter("Only changes of what has this id."),
            "limit": LIMIT_PARAM,
            "cursor": CURSOR_PARAM,
        },
        response=OperatorEventList,
    )
    async def list_events(self, request: web.Request) -> web.Response:
        """Return a page of the log of changes."""
        require_admin(request, self._token)
        page = await self._store.list_operator_events(
            parse_limit(request),
            request.query.get("cursor"),
            action=_text(request, "action"),
            subject=_text(request, "subject"),
        )
        events = [_to_event(event) for event in page.items]
        return json_response(OperatorEventList(events=events, next_cursor=page.cursor))

    async def _respond(self, record: JobRecord, status: int = 200) -> web.Response:
        attempts = await self._store.list_attempts(record.job.id)
        margin = to_job_margin(record, self._costs)
        names = await self._names.read((record.job.account_id, record.job.key_id))
        job = to_admin_job(record, attempts, names, margin)
        return json_response(job, status=status)

    async def _find_job(self, request: web.Request) -> JobRecord:
        """Return the job in the path. Raises NotFound."""
        job_id = request.match_info["id"]
        record = await self._store.find_job(job_id)
        if record is None:
            raise job_not_found(job_id)
        return record


def _text(request: web.Request, name: str) -> str | None:
    """Return a filter of the query string; None if it is not given or empty. Raises InvalidRequest."""
    text = request.query.get(name, "").strip()
    if len(text) > MAX_FILTER or not text.isprintable():
        raise invalid_field(name, f"must be printable text of at most {MAX_FILTER} characters")
    return text or None


def _parse_filter(request: web.Request) -> JobFilter:
    """Return which jobs the query string asks for. Raises InvalidRequest."""
    status, model = _text(request, "status"), _text(request, "model")
    if status is not None and status not in STATUSES:
        raise invalid_field("status", f"must be one of {', '.join(STATUSES)} (got {status[:40]!r})")
    return JobFilter(
        account_id=_text(request, "account"),
        key_id=_text(request, "key"),
        status=None if status in (None, UNFINISHED) else JobStatus(status),
        models=None if model is None else (model,),
        instance_id=_text(request, "instance"),
        error_code=_text(request, "error"),
        is_unfinished=status == UNFINISHED,
        includes_removed=True,
    )


def _parse_position(request: web.Request) -> FailurePosition | None:
    """Return after which failure a page begins. Raises InvalidRequest."""
    text = request.query.get("cursor")
    if text is None:
        return None
    moment, _, prompt_id = text.replace(" ", "+").partition("~")
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.year < 2 or not prompt_id.isprintable():
        raise InvalidRequest(INVALID_CURSOR_MESSAGE, code="invalid_cursor", param="cursor")
    return at, prompt_id


def _to_event(event: OperatorEvent) -> OperatorEventResponse:
    return OperatorEventResponse(
        id=event.id,
        at=event.at,
        actor=event.actor,
        action=event.action,
        subject=event.subject,
        detail=dict(event.detail),
    )
