"""Runs a model once for its author and waits for the result."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web
from PIL import Image

from orchestrator.billing.accounts import AccountService
from orchestrator.catalog import Model
from orchestrator.catalog.parameters.example_values import example_value
from orchestrator.catalog.parameters.values import ImageListParameter, ImageParameter, Parameter
from orchestrator.catalog.publishing.draft_catalog import DRAFT_SUFFIX
from orchestrator.catalog.publishing.publisher import ModelPublisher
from orchestrator.catalog.publishing.version_files import OPERATORS_ACCOUNT_NAME
from orchestrator.errors import InvalidRequest, NotFound, ServiceUnavailable
from orchestrator.intake.request_preparer import GenerationRequest
from orchestrator.jobs import JobRecord, PendingResponse, ShardStatus
from orchestrator.store import ApiKey
from orchestrator.store.protocol import ApiKeyStore
from orchestrator.web.jobs.schemas import JobResponse, JobResponseBuilder
from orchestrator.web.protocols import GenerationApi

#: How long a response waits for the result; the job goes on.
WAIT_SECONDS = 600
#: How long instances may take to learn of a new version, in another process.
ANNOUNCE_SECONDS = 10.0
_ANNOUNCE_POLL_SECONDS = 0.25

#: Types whose values are checked before a draft is saved; files are checked when the job is submitted.
_CHECKED_TYPES = ("string", "integer", "number", "boolean")


class RefreshableModels(Protocol):
    """The live catalogue."""

    async def refresh(self) -> None:
        """Reload the models now."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRuns:
    """Runs models for authors: charged to the account of a key, free of charge for operators."""

    service: GenerationApi
    keys: ApiKeyStore
    accounts: AccountService
    models: RefreshableModels
    publisher: ModelPublisher
    responses: JobResponseBuilder

    async def run(
        self, request: web.Request, id: str, params: Mapping[str, Any], key: ApiKey | None
    ) -> JobResponse:
        """Run the draft of a model, or the live version if there is none, and return the finished job.

        Without a key it runs for the operators. Raises what `GenerationService.submit` raises, NotFound.
        """
        caller = key or await self._get_operators_key()
        catalog = self.service.catalog_for(caller)
        name = f"{id}{DRAFT_SUFFIX}" if f"{id}{DRAFT_SUFFIX}" in catalog else id
        if name not in catalog:
            raise NotFound(f"There is no model {id[:100]!r}", code="model_not_found", param="id")
        model = catalog[name]
        generation = GenerationRequest(
            model=name,
            params={**_example_params(model, params), **params},
            pending_response=PendingResponse.ID,
            is_free=key is None,
        )
        record = await self._wait(await self._submit(caller, generation))
        await self._record_results(id, model, record)
        return self.responses.build(record, request)

    async def _record_results(self, id: str, model: Model, record: JobRecord) -> None:
        """Note how many results the run has made, if callers pay for several."""
        counts = [len(shard.outputs) for shard in record.shards if shard.status is ShardStatus.SUCCEEDED]
        if counts and model.manifest.batch > 1 and record.job.model_version in (None, model.digest):
            await asyncio.to_thread(self.publisher.record_results, id, model.digest, min(counts))

    async def _submit(self, key: ApiKey, generation: GenerationRequest) -> JobRecord:
        """Submit a job, also while the scheduler of another process learns of the version."""
        deadline = asyncio.get_running_loop().time() + ANNOUNCE_SECONDS
        while True:
            try:
                return await self.service.submit(key, generation)
            except ServiceUnavailable as error:
                is_late = asyncio.get_running_loop().time() > deadline
                if error.code != "model_unavailable" or is_late:
                    raise
            await asyncio.sleep(_ANNOUNCE_POLL_SECONDS)

    async def _wait(self, record: JobRecord) -> JobRecord:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await self.service.wait_for_job(record.job.id)
        except TimeoutError:
            return record

    async def _get_operators_key(self) -> ApiKey:
        """Return a key of the account by which operators call drafts; both are created at first use."""
        account_id = await asyncio.to_thread(self.publisher.files.read_operators_account)
        if account_id is None:
            account = await self.accounts.create_account(OPERATORS_ACCOUNT_NAME)
            account_id = await asyncio.to_thread(self.publisher.choose_operators_account, account.id)
            await self.models.refresh()
        now = self.accounts.now()
        usable = [key for key in await self.keys.list_keys(account_id) if key.is_usable(now)]
        if usable:
            return usable[0]
        key, _ = await self.accounts.create_key(account_id, "test runs")
        return key


def check_test_params(model: Model, params: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for names that the model does not have, and texts and numbers out of range."""
    for name, value in params.items():
        if value is None or name == "n":
            continue
        if name not in model.parameters:
            raise model.unknown_parameter(name)
        if model.parameters[name].type in _CHECKED_TYPES:
            model.parameters[name].validate_value(name, value)


def _example_params(model: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for the parameters that a request must set: the author's own, if they are kept.

    Raises InvalidRequest for other files.
    """
    return {
        name: _own_example(model, name, spec)
        for name, spec in model.parameters.items()
        if spec.required and given.get(name) is None
    }


def _own_example(model: Model, name: str, spec: Parameter) -> Any:
    file = model.example_files.get(name)
    if file is not None:
        return [file.data] if isinstance(spec, ImageListParameter) else file.data
    if spec.type in _CHECKED_TYPES and name in model.manifest.example:
        return model.manifest.example[name]
    return _example_input(name, spec)


def _example_input(name: str, spec: Parameter) -> Any:
    if isinstance(spec, ImageParameter):
        return _example_image()
    if isinstance(spec, ImageListParameter):
        return [_example_image()]
    if spec.type in ("video", "audio", "dataset"):
        raise InvalidRequest(
            f"`{name}` is required for a test run: send a {spec.type} as URL or base64 text in `test_params`,"
            " or the author's own in `example_files`",
            code=f"missing_{name}",
            param=name,
        )
    return example_value(spec)


def _example_image() -> bytes:
    """Return a picture with something to see: a gradient."""
    gradient = Image.linear_gradient("L").resize((768, 768))
    image = Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
