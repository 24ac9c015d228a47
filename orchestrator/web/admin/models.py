"""`/admin/v1/models`: what is offered, by whom, and what was refused and why."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from orchestrator.catalog import CatalogError, Model
from orchestrator.service import GenerationService
from orchestrator.web.auth import require_admin


class ModelAdminRoutes:
    """The live catalogue as operators see it."""

    def __init__(self, service: GenerationService, token: str) -> None:
        self._service = service
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/admin/v1/models", self.list_models)]

    async def list_models(self, request: web.Request) -> web.Response:
        """Every model with its version and what it stands in for; what is broken with its reason, while its
        old version stays."""
        require_admin(request, self._token)
        live = self._service.live_catalog
        return web.json_response(
            {
                "models": [self._to_admin_model(model) for model in live.catalog],
                "refused": [_to_refused_model(error) for error in live.rejections],
            }
        )

    def _to_admin_model(self, model: Model) -> dict[str, Any]:
        cards, stand_ins = (
            self._service.dispatcher.scheduler.instances.values(),
            self._service.catalog.stand_ins,
        )
        return {
            "id": model.id,
            "type": model.kind,
            "aliases": list(model.aliases),
            "stands_in_for": [name for name, id in stand_ins.items() if id == model.id],
            "digest": model.digest,
            "price_class": model.price_class,
            "served_by": [
                card.id
                for card in cards
                if card.is_up and (card.served_models is None or model.id in card.served_models)
            ],
        }


def _to_refused_model(error: CatalogError) -> dict[str, str]:
    return {"file": str(error.file), "where": error.where, "reason": error.reason}
