"""`POST /admin/v1/models/{id}/warm`: load a model on idle instances."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web
from pydantic import Field

from orchestrator.web.auth import require_admin
from orchestrator.web.http.request_model import RequestModel, read_request_model
from orchestrator.web.http.response_model import ResponseModel, json_response
from orchestrator.web.openapi.operation import openapi_operation


class WarmModelRequest(RequestModel):
    """Where to load the model."""

    instance: str | None = Field(
        None, description="Id of the instance; null: all idle ones.", examples=["gpu-0"], max_length=100
    )


class WarmModelResponse(ResponseModel):
    """Where the model is being loaded."""

    model: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    instances: list[str] = Field(description="Instances that load it now.", examples=[["gpu-0"]])


class Warmer(Protocol):
    """What loads models ahead of requests."""

    def warm(self, name: str, instance_id: str | None = None) -> list[str]: ...


class WarmingRoutes:
    """The route that loads a model ahead of requests. It needs the admin token."""

    def __init__(self, warmer: Warmer, token: str) -> None:
        self._warmer = warmer
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/admin/v1/models/{id}/warm", self.warm_model)]

    @openapi_operation(
        summary="Load a model ahead of requests",
        description="Loads the model on an idle instance, or on all that can run it. Requests interrupt it.",
        body=WarmModelRequest,
        response=WarmModelResponse,
        response_description="The instances that load it now.",
        status=202,
        other_responses={409: "No instance is idle and has what the model needs."},
    )
    async def warm_model(self, request: web.Request) -> web.Response:
        """Start to load a model."""
        require_admin(request, self._token)
        body = await read_request_model(request, WarmModelRequest)
        name = request.match_info["id"]
        instances = self._warmer.warm(name, body.instance)
        return json_response(WarmModelResponse(model=name, instances=instances), status=202)
