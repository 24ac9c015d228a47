"""`/admin/v1/models`: publish models, and their versions. For operators and keys with the scope `publish`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping

from aiohttp import web

from orchestrator.billing.price_book import PriceBook
from orchestrator.catalog.import_export import InvalidWorkflow, export_ui
from orchestrator.catalog.publishing.draft_catalog import DRAFT_SUFFIX, parse_files
from orchestrator.catalog.publishing.records import Author
from orchestrator.catalog.publishing.submission import WORKFLOW_NAME, Submission, SubmittedModel
from orchestrator.catalog.publishing.version_files import is_model_id
from orchestrator.errors import Forbidden, InvalidRequest, NotFound
from orchestrator.model_publishing import ModelPublishing
from orchestrator.store import ApiKey
from orchestrator.web.admin.author_auth import authenticate_author
from orchestrator.web.admin.publishing_schemas import (
    ChangeRequest,
    ModelVersions,
    ModelWorkflow,
    PublishReport,
    PublishRequest,
    PublishResponse,
    RollbackRequest,
    TestRunRequest,
    VersionDiff,
    to_model_versions,
    to_model_workflow,
    to_publish_report,
)
from orchestrator.web.admin.trial_runs import TrialRuns, check_test_params
from orchestrator.web.http.request_model import read_request_model
from orchestrator.web.http.response_model import json_response
from orchestrator.web.jobs.schemas import JobResponse
from orchestrator.web.openapi.operation import Access, ParameterSpec, openapi_operation
from pricing.tariff import DEFAULT_TARIFF

#: Largest body of a graph to publish, and what its graphs and facts may be of it: the largest public graphs
#: have 2 MB, and a page sends two formats and the facts of their classes.
MAX_PUBLISH_BYTES = 24 * 2**20
MAX_GRAPHS_BYTES = 4 * 2**20
_VERSION_PARAM = ParameterSpec({"type": "string"}, "`live`, `draft` or the beginning of a version.")


class ModelPublishingRoutes:
    """Routes by which authors publish models. Every process that shares their directory answers them."""

    def __init__(
        self,
        publishing: ModelPublishing,
        trial_runs: TrialRuns,
        get_price_book: Callable[[], PriceBook],
        token: str,
    ) -> None:
        self._publishing = publishing
        self._trial_runs = trial_runs
        self._get_price_book = get_price_book
        self._token = token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/admin/v1/models", self.publish_model),
            web.get("/admin/v1/models/{id}", self.get_model),
            web.delete("/admin/v1/models/{id}", self.remove_model),
            web.get("/admin/v1/models/{id}/workflow", self.get_workflow),
            web.get("/admin/v1/models/{id}/diff", self.get_diff),
            web.post("/admin/v1/models/{id}/publish", self.publish_draft),
            web.post("/admin/v1/models/{id}/rollback", self.roll_back),
            web.post("/admin/v1/models/{id}/test", self.run_test),
        ]

    @openapi_operation(
        summary="Create or replace a model from a graph",
        description="With `dry_run`, only reports what the model would be (200, a report). Otherwise stores "
        "it as a draft, which only its author and operators can call, or, with `publish`, makes it live.",
        body=PublishRequest,
        response=PublishResponse,
        response_description="The stored model.",
        status=201,
        other_responses={200: "The report of a dry run: the field `report` of the other response."},
        access=Access.AUTHOR,
    )
    async def publish_model(self, request: web.Request) -> web.Response:
        """Report on a graph, save it as a draft, test it, or make it live."""
        author, key = await authenticate_author(request, self._token)
        body = await read_request_model(request, PublishRequest, MAX_PUBLISH_BYTES, MAX_GRAPHS_BYTES)
        if body.workflow is None and body.prompt is None:
            raise InvalidRequest(
                "`prompt` (the graph in API format) or `workflow` (the canvas) is required",
                code="missing_prompt",
                param="prompt",
            )
        await self._publishing.check_author(body.id, author)
        replaces = body.replace or body.dry_run
        earlier = await self._publishing.read_latest(body.id, author) if replaces else {}
        made = await self._publishing.read_made(body.id)
        built = await self._publishing.build(_to_submission(body, key, earlier, made))
        report = await self._report(built, author)
        if body.dry_run:
            return json_response(report)
        response = await self._store(request, body, built, author, key)
        return json_response(response.model_copy(update={"report": report}), status=201)

    @openapi_operation(
        summary="Get a model with its versions",
        description="Returns versions and history of a model.",
        response=ModelVersions,
        access=Access.AUTHOR,
    )
    async def get_model(self, request: web.Request) -> web.Response:
        """Return a model's versions and history."""
        author, _ = await authenticate_author(request, self._token)
        return json_response(to_model_versions(await self._publishing.find(_id_of(request), author)))

    @openapi_operation(
        summary="Delete a model",
        description="Stops offering a model, or, with `draft=true`, discards its draft. Jobs go on, and "
        "versions are kept. A shipped model below it is offered again.",
        query={"draft": ParameterSpec({"type": "boolean"}, "Discard the draft only.")},
        response=PublishResponse,
        access=Access.AUTHOR,
    )
    async def remove_model(self, request: web.Request) -> web.Response:
        """Stop offering a model."""
        author, _ = await authenticate_author(request, self._token)
        id, draft = _id_of(request), request.query.get("draft", "").lower() in ("true", "1")
        version = await self._publishing.remove(id, author, "", draft=draft)
        return json_response(PublishResponse(id=id, version=version, state="removed", call_as=""))

    @openapi_operation(
        summary="Get the graph of a version",
        description="Returns the canvas as its author published it, or one that is drawn from the graph:"
        " without `version` of the live model, or of the draft of one that is not live or is named"
        f" `ID{DRAFT_SUFFIX}`, as in the lists of models.",
        query={"version": _VERSION_PARAM},
        response=ModelWorkflow,
        access=Access.AUTHOR,
    )
    async def get_workflow(self, request: web.Request) -> web.Response:
        """Return the graph of a version."""
        author, _ = await authenticate_author(request, self._token)
        id = _id_of(request, may_be_draft=True)
        is_draft = request.match_info["id"] != id
        version = request.query.get("version") or ("draft" if is_draft else "")
        if not version:
            state = await self._publishing.find(id, author)
            version = "draft" if state.draft and not state.live else "live"
        files = await self._publishing.read_version(id, version, author)
        facts = await asyncio.to_thread(self._publishing.load_facts)

        def draw() -> ModelWorkflow:
            model = parse_files(files, self._publishing.publisher.files.directory / id)
            kept = files.get(WORKFLOW_NAME)
            workflow = json.loads(kept) if kept else export_ui(model, facts)
            return to_model_workflow(version, model, workflow)

        try:
            return json_response(await asyncio.to_thread(draw))
        except InvalidWorkflow as error:
            raise InvalidRequest(str(error), code="invalid_workflow") from error

    @openapi_operation(
        summary="Get the difference of two versions",
        description="Returns a unified diff of manifest and graph, by default from the live version to the"
        " draft.",
        query={"from": _VERSION_PARAM, "to": _VERSION_PARAM},
        response=VersionDiff,
        access=Access.AUTHOR,
    )
    async def get_diff(self, request: web.Request) -> web.Response:
        """Return what differs between two versions."""
        author, _ = await authenticate_author(request, self._token)
        old, new = request.query.get("from", "live"), request.query.get("to", "draft")
        diff = await self._publishing.diff(_id_of(request), old, new, author)
        return json_response(VersionDiff(old=old, new=new, diff=diff))

    @openapi_operation(
        summary="Create a live version from a draft",
        description="Publishes the draft of a model. Jobs of the earlier version go on with that.",
        body=ChangeRequest,
        response=PublishResponse,
        access=Access.AUTHOR,
    )
    async def publish_draft(self, request: web.Request) -> web.Response:
        """Make a draft live."""
        author, _ = await authenticate_author(request, self._token)
        body, id = await read_request_model(request, ChangeRequest), _id_of(request)
        version = await self._publishing.publish_draft(id, author, body.why)
        return json_response(PublishResponse(id=id, version=version, state="live", call_as=id))

    @openapi_operation(
        summary="Set an earlier version live",
        description="Makes an earlier version live again.",
        body=RollbackRequest,
        response=PublishResponse,
        access=Access.AUTHOR,
    )
    async def roll_back(self, request: web.Request) -> web.Response:
        """Make an earlier version live."""
        author, _ = await authenticate_author(request, self._token)
        body, id = await read_request_model(request, RollbackRequest), _id_of(request)
        version = await self._publishing.rollback(id, body.version, author, body.why)
        return json_response(PublishResponse(id=id, version=version, state="live", call_as=id))

    @openapi_operation(
        summary="Run a model once",
        description="Runs the draft of a model, or the live version if there is no draft, and waits for the "
        "result. An API key pays as for any request; the run of an operator is free of charge.",
        body=TestRunRequest,
        response=JobResponse,
        access=Access.AUTHOR,
    )
    async def run_test(self, request: web.Request) -> web.Response:
        """Run a model once and return the finished job."""
        author, key = await authenticate_author(request, self._token)
        body, id = await read_request_model(request, TestRunRequest), _id_of(request)
        await self._publishing.find(id, author)
        return json_response(await self._trial_runs.run(request, id, body.params, key))

    async def _store(
        self,
        request: web.Request,
        body: PublishRequest,
        built: SubmittedModel,
        author: Author,
        key: ApiKey | None,
    ) -> PublishResponse:
        id, test = body.id, None
        if body.publish and not body.test_run:
            version = await self._publishing.publish(
                built, author, body.why, replace=body.replace, base_version=body.base_version
            )
            return PublishResponse(id=id, version=version, state="live", call_as=id)
        if body.publish:
            self._publishing.require_complete(built, is_tested_first=True)
        if body.test_run:
            check_test_params(built.model, body.test_params)
        version = await self._publishing.save_draft(built, author, body.why, replace=body.replace)
        if body.test_run:
            test = await self._trial_runs.run(request, id, body.test_params, key)
        if body.publish and test is not None and test.status == "completed":
            version = await self._publishing.publish_draft(id, author, body.why)
            return PublishResponse(id=id, version=version, state="live", call_as=id, test=test)
        call_as = f"{id}{DRAFT_SUFFIX}" if self._publishing.is_live(id) else id
        return PublishResponse(id=id, version=version, state="draft", call_as=call_as, test=test)

    async def _report(self, built: SubmittedModel, author: Author) -> PublishReport:
        prices, model = self._get_price_book(), built.model
        try:
            state = await self._publishing.find(model.id, author)
        except (NotFound, Forbidden):
            state = None
        quote = prices.example_quote(DEFAULT_TARIFF, model)
        price_classes = sorted(prices.default_tariff.prices)
        # A graph of thousands of nodes makes a report of as many rows.
        return await asyncio.to_thread(to_publish_report, built, quote, price_classes, state)


def _id_of(request: web.Request, *, may_be_draft: bool = False) -> str:
    """Return the model of the path, which `may_be_draft`. Raises NotFound for what can be none."""
    id = request.match_info["id"]
    id = id.removesuffix(DRAFT_SUFFIX) if may_be_draft else id
    if not is_model_id(id):
        raise NotFound(f"There is no model {id[:100]!r}", code="model_not_found", param="id")
    return id


def _to_submission(
    body: PublishRequest, key: ApiKey | None, earlier: Mapping[str, str], made: Mapping[str, int]
) -> Submission:
    return Submission(
        id=body.id,
        workflow=body.workflow,
        prompt=body.prompt,
        object_info=body.object_info,
        packs=[pack.model_dump() for pack in body.packs],
        weights=[weight.model_dump() for weight in body.weights],
        example_files=[file.model_dump() for file in body.example_files],
        is_dry_run=body.dry_run,
        manifest=body.manifest,
        default_owner="operator" if key is None else key.account.name,
        earlier=earlier,
        made=made,
    )
