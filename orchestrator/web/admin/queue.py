"""`/admin/v1/queue`: what waits, by model, account and priority, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from aiohttp import web
from pydantic import Field

from orchestrator.execution.scheduler import Scheduler
from orchestrator.execution.scheduler.queue_report import QueueGroup, report_queue
from orchestrator.web.admin.account_names import AccountNames
from orchestrator.web.auth import require_admin
from orchestrator.web.http.response_model import ResponseModel, json_response
from orchestrator.web.openapi.operation import openapi_operation


class QueueGroupResponse(ResponseModel):
    """The waiting shards with one model, account or priority. Estimates are for status reports only."""

    id: str = Field(
        description="Id of the model or of the account, or the weight of the priority.",
        examples=["flux-1-schnell"],
    )
    name: str = Field(description="Name of the account; empty for others.", examples=["Example Ltd."])
    waiting: int = Field(description="Number of shards that wait for an instance.", examples=[3])
    running: int | None = Field(
        description="Number of shards of the account that run; null for others.", examples=[2]
    )
    oldest_seconds: float = Field(description="Seconds since the oldest was queued.", examples=[4.2])
    work_seconds: float = Field(
        description="Seconds that they would take on the reference GPU.", examples=[12.5]
    )
    wait_seconds: float | None = Field(
        description="Estimated seconds until a new one would start; null while no instance can run it.",
        examples=[6.3],
    )


class QueueStatus(ResponseModel):
    """The scheduler's queue."""

    waiting: int = Field(description="Number of shards that wait for an instance.", examples=[3])
    by_model: dict[str, int] = Field(description="The same by model.", examples=[{"flux-1-schnell": 3}])
    models: list[QueueGroupResponse] = Field(description="What waits by model, most work first.")
    accounts: list[QueueGroupResponse] = Field(description="What waits by account, most work first.")
    priorities: list[QueueGroupResponse] = Field(
        description="What waits by the weight with which accounts share the fleet, most work first."
    )


class QueueAdminRoutes:
    """The route of the queue. It needs the admin token."""

    def __init__(self, scheduler: Scheduler, names: AccountNames, token: str) -> None:
        self._scheduler = scheduler
        self._names = names
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/admin/v1/queue", self.get_queue)]

    @openapi_operation(
        summary="Get the queue",
        description="Returns the number of shards that wait for an instance, in all, by model, by account and"
        " by priority, with estimates of waiting times.",
        response=QueueStatus,
    )
    async def get_queue(self, request: web.Request) -> web.Response:
        """Return what waits."""
        require_admin(request, self._token)
        scheduler, now = self._scheduler, monotonic()
        names = await self._names.read({entry.spec.account_id for entry in scheduler.queue.waiting()})
        report = report_queue(
            scheduler.queue,
            scheduler.instances.values(),
            lambda account_id: scheduler.expected_wait_seconds(account_id, now),
            now,
        )
        return json_response(
            QueueStatus(
                waiting=len(scheduler.queue),
                by_model=scheduler.queue.depth_by_model(),
                models=_to_responses(report.models),
                accounts=[
                    _to_response(group, names.get(group.key, ""), scheduler.queue.running_count(group.key))
                    for group in report.accounts
                ],
                priorities=_to_responses(report.priorities),
            )
        )


def _to_responses(groups: Sequence[QueueGroup]) -> list[QueueGroupResponse]:
    return [_to_response(group) for group in groups]


def _to_response(group: QueueGroup, name: str = "", running: int | None = None) -> QueueGroupResponse:
    return QueueGroupResponse(
        id=group.key,
        name=name,
        waiting=group.waiting,
        running=running,
        oldest_seconds=round(group.oldest_seconds, 3),
        work_seconds=round(group.work_seconds, 3),
        wait_seconds=None if group.wait_seconds is None else round(group.wait_seconds, 3),
    )
