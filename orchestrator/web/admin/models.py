"""`/admin/v1/models`: the live catalogue, for operators and authors."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from orchestrator.catalog import Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.execution.scheduler.instances import Instance
from orchestrator.web.admin.author_auth import authenticate_author
from orchestrator.web.admin.schemas import AdminModel, AdminModelList, to_rejected_model
from orchestrator.web.http.response_model import json_response
from orchestrator.web.openapi.operation import Access, openapi_operation


class ModelAdminRoutes:
    """Routes of the live catalogue, for the admin token and keys with the scope `publish`."""

    def __init__(
        self, live_catalog: LiveCatalog, scheduled_instances: Mapping[str, Instance], token: str
    ) -> None:
        self._live_catalog = live_catalog
        self._scheduled_instances = scheduled_instances
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/admin/v1/models", self.list_models)]

    @openapi_operation(
        summary="List models with their state",
        description="Returns every offered model with its version, price class, and the instances that "
        "can run "
        "it; the drafts of the author, or all of them; and, for operators, every model folder that could not "
        "be loaded, with the reason.",
        response=AdminModelList,
        access=Access.AUTHOR,
    )
    async def list_models(self, request: web.Request) -> web.Response:
        """Return offered models, drafts and rejected models."""
        author, _ = await authenticate_author(request, self._token)
        live = self._live_catalog
        drafts = [one for one in live.drafts if author.is_operator or one.author == author.account]
        rejections = live.rejections if author.is_operator else []
        return json_response(
            AdminModelList(
                models=[self._to_admin_model(model) for model in live.catalog],
                drafts=[self._to_admin_model(draft.model) for draft in drafts],
                refused=[to_rejected_model(error) for error in rejections],
            )
        )

    def _to_admin_model(self, model: Model) -> AdminModel:
        name = model.id if self._live_catalog.is_current(model) else model.digest
        stand_ins = self._live_catalog.catalog.stand_ins
        return AdminModel(
            id=model.id,
            type=model.kind,
            aliases=list(model.aliases),
            stands_in_for=[name for name, row in stand_ins.items() if model.id in row.names()],
            digest=model.digest,
            price_class=model.price_class,
            served_by=[
                instance.id
                for instance in self._scheduled_instances.values()
                if instance.is_up and (instance.served_models is None or name in instance.served_models)
            ],
        )
