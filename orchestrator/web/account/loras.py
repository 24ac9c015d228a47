"""`/api/v1/loras`: the LoRAs that requests of the account can use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from aiohttp import web
from pydantic import Field

from orchestrator.errors import NotFound
from orchestrator.intake.lora_resolver import LoraResolver
from orchestrator.jobs.loras import Lora
from orchestrator.web.auth import Authenticator, authenticate
from orchestrator.web.http.queries import parse_limit
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel, json_response
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.openapi.operation import CURSOR_PARAM, LIMIT_PARAM, openapi_operation
from orchestrator.web.protocols import JobService

_EXAMPLE_JOB_ID = "job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"


class LoraResponse(ResponseModel):
    """A LoRA that requests can use."""

    object: Literal["lora"] = Field("lora", description="The kind of the object.")
    id: str = Field(
        description="Id: that of the training job, or the name of a shared LoRA.", examples=["sks"]
    )
    name: str = Field(description="Name for `loras` of requests.", examples=["sks"])
    shared: bool = Field(description="Whether the operator offers it to all accounts.", examples=[False])
    architecture: str | None = Field(
        description="Base architecture that it was trained for; null if unknown.", examples=["sdxl"]
    )
    models: list[str] | None = Field(
        description="Models that take it; null if the architecture is unknown.", examples=[["sdxl-1.0"]]
    )
    trigger_word: str | None = Field(
        description="Words by which prompts call what was learnt; null if there are none.", examples=["sks"]
    )
    job_id: str | None = Field(
        description="Job that trained it; null for a shared one.", examples=[_EXAMPLE_JOB_ID]
    )
    trainer: str | None = Field(
        description="Model that trained it; null for a shared one.", examples=["sdxl-1.0-lora-trainer"]
    )
    bytes: int | None = Field(
        description="Size of the file in bytes; null if unknown.", examples=[48_231_016]
    )
    sha256: str | None = Field(description="SHA-256 of the file; null if unknown.", examples=["9f86d081..."])
    url: str | None = Field(
        description="URL of the file, which needs no API key and expires; null for a shared one.",
        examples=["https://api.example.com/results/job_3f2a.../1767225600/9c4e.../loras/3f/3f2a.safetensors"],
    )
    created_at: IsoDatetime | None = Field(description="When it was trained; null for a shared one.")
    expires_at: IsoDatetime | None = Field(
        description="When it is deleted; null for a shared one, which does not expire."
    )


class LoraListResponse(ResponseModel):
    """A page of LoRAs: those of the account, newest first, and on the last page the shared ones."""

    object: Literal["list"] = Field("list", description="The kind of the object.")
    loras: list[LoraResponse] = Field(description="The LoRAs.")
    next_cursor: str | None = Field(
        description="Pass it as `cursor` to get the next page; null on the last page.", examples=[None]
    )


class LoraRoutes:
    """Lists and deletes LoRAs."""

    def __init__(
        self,
        jobs: JobService,
        loras: LoraResolver,
        delivery: OutputDelivery,
        authenticate: Authenticator = authenticate,
    ) -> None:
        self._jobs = jobs
        self._loras = loras
        self._delivery = delivery
        self._authenticate = authenticate

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/loras", self.list_loras),
            web.delete("/api/v1/loras/{id}", self.delete_lora),
        ]

    @openapi_operation(
        summary="List LoRAs",
        description="Returns the LoRAs that requests can use: those that the account has trained, newest "
        "first, and on the last page those that the operator offers to all. Requests name them in `loras`, "
        "by `id`, `name`, `job_id` or `url`. A name stands for the newest LoRA of the account with it, or "
        "else for a shared one.",
        query={"limit": LIMIT_PARAM, "cursor": CURSOR_PARAM},
        response=LoraListResponse,
        tag="loras",
    )
    async def list_loras(self, request: web.Request) -> web.Response:
        """Return a page of the caller's LoRAs."""
        key = await self._authenticate(request)
        cursor = request.query.get("cursor")
        page = await self._loras.store.list_loras(key.account.id, parse_limit(request), cursor)
        unexpired = [lora for lora in page.items if not self._loras.expiry.is_lora_expired(lora)]
        loras = [self._to_response(lora, request) for lora in unexpired]
        if page.cursor is None:
            shared = await self._loras.shared.read_architectures(self._loras.shared.names())
            loras += [self._to_shared_response(name, bases) for name, bases in shared.items()]
        return json_response(LoraListResponse(loras=loras, next_cursor=page.cursor))

    @openapi_operation(
        summary="Delete a LoRA",
        description="Deletes a LoRA of the account together with the job that trained it, by the id of "
        "that job. Jobs that use it already keep its file until they expire.",
        response_description="The LoRA is deleted.",
        status=204,
        tag="loras",
    )
    async def delete_lora(self, request: web.Request) -> web.Response:
        """Delete a LoRA of the caller."""
        key = await self._authenticate(request)
        lora = await self._loras.store.find_lora(key.account.id, request.match_info["id"])
        if lora is None or lora.job_id != request.match_info["id"]:
            raise NotFound("This account has no LoRA with this id", code="lora_not_found")
        await self._jobs.remove_job(lora.job_id)
        return web.Response(status=204)

    def _to_response(self, lora: Lora, request: web.Request) -> LoraResponse:
        return LoraResponse(
            id=lora.job_id,
            name=lora.name,
            shared=False,
            architecture=lora.base,
            models=self._loras.list_models_for(lora.base),
            trigger_word=lora.trigger_word or None,
            job_id=lora.job_id,
            trainer=lora.model,
            bytes=lora.size,
            sha256=lora.sha256,
            url=self._delivery.url_of(lora.job_id, lora.key, request),
            created_at=lora.created_at,
            expires_at=self._loras.expiry.lora_expires_at(lora),
        )

    def _to_shared_response(self, name: str, bases: Sequence[str]) -> LoraResponse:
        return LoraResponse(
            id=name,
            name=name,
            shared=True,
            architecture=bases[0] if bases else None,
            models=self._loras.list_models_for(*bases) if bases else None,
            trigger_word=None,
            job_id=None,
            trainer=None,
            bytes=None,
            sha256=None,
            url=None,
            created_at=None,
            expires_at=None,
        )
