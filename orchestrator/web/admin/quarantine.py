"""`/admin/v1/quarantine`: shards that are not run again, because instances died while they ran them."""

from __future__ import annotations

from typing import Any, Protocol

from aiohttp import web
from pydantic import Field, RootModel

from orchestrator.jobs.quarantine import QuarantinedShard
from orchestrator.web.account.billing_schemas import EXAMPLE_JOB_ID
from orchestrator.web.auth import require_admin
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel, json_response
from orchestrator.web.openapi.operation import ParameterSpec, openapi_operation

#: Entries of the list: default and most.
DEFAULT_ENTRIES, MAX_ENTRIES = 100, 500
LIMIT_PARAM = ParameterSpec(
    {"type": "integer", "minimum": 1, "maximum": MAX_ENTRIES, "default": DEFAULT_ENTRIES},
    "Number of entries.",
)


class QuarantinedAttempt(ResponseModel):
    """An attempt of a quarantined shard."""

    instance: str = Field(description="Id of the instance that ran it.", examples=["gpu-0"])
    started_at: IsoDatetime = Field(description="When it started.")
    ended_at: IsoDatetime | None = Field(description="When it ended; null while it runs.")
    outcome: str | None = Field(description="How it ended.", examples=["instance_gone"])
    detail: str | None = Field(
        description="Message for operators.", examples=["the instance is gone: queue: connection refused"]
    )


class QuarantinedShardResponse(ResponseModel):
    """A shard that is not run again."""

    shard: str = Field(description="Id of the shard.", examples=[f"{EXAMPLE_JOB_ID}-0"])
    job: str = Field(description="Id of its job, which has failed uncharged.", examples=[EXAMPLE_JOB_ID])
    account: str = Field(description="Id of the account that sent it.", examples=["acct_9b0a4f7c"])
    model: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    model_digest: str = Field(description="Version of the model that ran.", examples=["3f2a9c0d5b7e"])
    quarantined_at: IsoDatetime = Field(description="When it was quarantined.")
    has_graph: bool = Field(description="Whether its graph can be downloaded.", examples=[True])
    attempts: list[QuarantinedAttempt] = Field(description="Its attempts, oldest first.")


class QuarantineList(ResponseModel):
    """Quarantined shards."""

    shards: list[QuarantinedShardResponse] = Field(description="The shards, newest first.")


class QuarantinedGraph(RootModel[dict[str, Any]]):
    """A graph in ComfyUI's API format: nodes by id, each with `class_type` and `inputs`."""


class Quarantine(Protocol):
    """The part of the store that keeps quarantined shards."""

    async def list_quarantined_shards(self, limit: int = 100) -> list[QuarantinedShard]: ...

    async def get_quarantined_shard(self, shard_id: str) -> QuarantinedShard: ...

    async def delete_quarantined_shard(self, shard_id: str) -> None: ...


class QuarantineAdminRoutes:
    """Routes of quarantined shards. All need the admin token."""

    def __init__(self, store: Quarantine, token: str) -> None:
        self._store = store
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/quarantine", self.list_shards),
            web.get("/admin/v1/quarantine/{id}", self.get_shard),
            web.get("/admin/v1/quarantine/{id}/graph", self.get_graph),
            web.delete("/admin/v1/quarantine/{id}", self.delete_shard),
        ]

    @openapi_operation(
        summary="List quarantined shards",
        description="Returns the shards that are not run again, because two instances died while they ran "
        "them. Their jobs have failed and were not charged.",
        response=QuarantineList,
        query={"limit": LIMIT_PARAM},
    )
    async def list_shards(self, request: web.Request) -> web.Response:
        """Return quarantined shards, newest first."""
        require_admin(request, self._token)
        shards = await self._store.list_quarantined_shards(parse_limit(request, DEFAULT_ENTRIES, MAX_ENTRIES))
        return json_response(QuarantineList(shards=[to_quarantined_response(shard) for shard in shards]))

    @openapi_operation(
        summary="Get a quarantined shard",
        description="Returns one quarantined shard with its attempts.",
        response=QuarantinedShardResponse,
    )
    async def get_shard(self, request: web.Request) -> web.Response:
        """Return one quarantined shard."""
        require_admin(request, self._token)
        return json_response(to_quarantined_response(await self._get_shard(request)))

    @openapi_operation(
        summary="Download the graph of a quarantined shard",
        description="Returns the graph in ComfyUI's API format, to run on an instance that may end. It holds "
        "the caller's prompt; input files are named by their object keys.",
        response=QuarantinedGraph,
        response_description="The graph: nodes by id. An empty object if it could not be rendered.",
        response_example={"7": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024}}},
    )
    async def get_graph(self, request: web.Request) -> web.Response:
        """Return the graph of one quarantined shard as a file."""
        require_admin(request, self._token)
        shard = await self._get_shard(request)
        graph = dict(shard.graph or {})
        headers = {"Content-Disposition": f'attachment; filename="{shard.shard_id}.json"'}
        return web.json_response(graph, headers=headers)

    @openapi_operation(
        summary="Delete a quarantined shard",
        description="Forgets the shard and its graph, once its cause is known. Its job stays failed.",
        status=204,
        response_description="The shard is deleted.",
    )
    async def delete_shard(self, request: web.Request) -> web.Response:
        """Delete one quarantined shard."""
        require_admin(request, self._token)
        await self._store.delete_quarantined_shard(request.match_info["id"])
        return web.Response(status=204)

    async def _get_shard(self, request: web.Request) -> QuarantinedShard:
        """Return the shard in the path. Raises NotFound."""
        return await self._store.get_quarantined_shard(request.match_info["id"])


def to_quarantined_response(shard: QuarantinedShard) -> QuarantinedShardResponse:
    """Return a quarantined shard as operators see it."""
    return QuarantinedShardResponse(
        shard=shard.shard_id,
        job=shard.job_id,
        account=shard.account_id,
        model=shard.model,
        model_digest=shard.model_digest,
        quarantined_at=shard.quarantined_at,
        has_graph=shard.graph is not None,
        attempts=[
            QuarantinedAttempt(
                instance=attempt.instance_id,
                started_at=attempt.started_at,
                ended_at=attempt.ended_at,
                outcome=attempt.outcome,
                detail=attempt.detail,
            )
            for attempt in shard.attempts
        ],
    )
