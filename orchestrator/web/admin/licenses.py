"""`/admin/v1/licenses`: which models may be sold, for operators."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from orchestrator.catalog.licenses import licenses_of, strictest_use
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.intake.license_policy import LicensePolicy
from orchestrator.web.auth import require_admin
from orchestrator.web.http.response_model import ResponseModel, json_response
from orchestrator.web.openapi.operation import Access, openapi_operation


class ModelLicenses(ResponseModel):
    """The licenses of a model."""

    model: str = Field(description="Id of the model.", examples=["flux-1-dev"])
    use: str = Field(
        description="What all licenses allow together: `commercial`, `conditions`, `non-commercial` or"
        " `unknown`.",
        examples=["non-commercial"],
    )
    licenses: list[str] = Field(
        description="Names of the licenses of model and weights.",
        examples=[["FLUX.1 [dev] Non-Commercial License"]],
    )
    unaccepted: list[str] = Field(
        description="Those that do not allow to sell results, and are not accepted by the operator.",
        examples=[["FLUX.1 [dev] Non-Commercial License"]],
    )


class LicenseReport(ResponseModel):
    """The licenses of all models."""

    mode: str = Field(description="The setting PIXELFACTORY_LICENSES: `warn` or `strict`.", examples=["warn"])
    models: list[ModelLicenses] = Field(description="All offered models.")


class LicenseAdminRoutes:
    """Routes about licenses, for the admin token."""

    def __init__(self, live_catalog: LiveCatalog, policy: LicensePolicy, token: str) -> None:
        self._live_catalog = live_catalog
        self._policy = policy
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/admin/v1/licenses", self.list_licenses)]

    @openapi_operation(
        summary="List licenses of models",
        description="Returns what the licenses of every offered model allow, and which are not accepted."
        " `pixelfactory licenses accept` accepts one.",
        response=LicenseReport,
        access=Access.ADMIN,
    )
    async def list_licenses(self, request: web.Request) -> web.Response:
        """Return the licenses of all offered models."""
        require_admin(request, self._token)
        rows = [
            ModelLicenses(
                model=model.id,
                use=strictest_use(model.manifest),
                licenses=[terms.name for terms in licenses_of(model.manifest)],
                unaccepted=self._policy.accepted.missing(model.manifest),
            )
            for model in self._live_catalog.catalog
        ]
        mode = "strict" if self._policy.is_strict else "warn"
        return json_response(LicenseReport(mode=mode, models=rows))
