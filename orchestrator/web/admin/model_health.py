"""`/admin/v1/health/models` and graphs of jobs: what only the process that runs the jobs knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from aiohttp import web
from pydantic import Field

from comfy_instances.fleet.protocol import InstanceInfo, InstanceState
from orchestrator.catalog import Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.errors import NotFound
from orchestrator.execution.instances.capabilities import CapabilityCache
from orchestrator.execution.runner import OUTPUT_FILENAME_PREFIX
from orchestrator.execution.scheduler import Scheduler
from orchestrator.jobs import Attempt, Job, JobRecord, JobStatus
from orchestrator.store.job_search import ModelOutcomes
from orchestrator.store.values import JobFilter, Page
from orchestrator.web.account.billing_schemas import EXAMPLE_JOB_ID
from orchestrator.web.admin.quarantine import QuarantinedGraph
from orchestrator.web.auth import require_admin
from orchestrator.web.http.errors import job_not_found
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel, json_response
from orchestrator.web.openapi.operation import ParameterSpec, openapi_operation

#: Latest jobs of all models of which outcomes are counted.
OUTCOME_JOBS = 5000
#: Latest failed jobs of a model, and lines of what an instance lacks, that are shown.
SHOWN_FAILURES, SHOWN_LACKS = 5, 3
SHARD_PARAM = ParameterSpec(
    {"type": "integer", "minimum": 0, "default": 0},
    "Number of the shard, from 0: each result has its own seed.",
)


class ModelHealth(ResponseModel):
    """How a model does."""

    id: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    name: str = Field(description="Its name.", examples=["FLUX.1 [schnell]"])
    type: str = Field(description="Kind of model.", examples=["image"])
    version: str = Field(description="Version: digest of manifest and graph.", examples=["3f2a9c0d5b7e"])
    state: str = Field(
        description="`good`; `failing` if a tenth of its latest jobs failed; `unserved` if no instance can"
        " run"
        " it; `unused` without jobs.",
        examples=["good"],
    )
    succeeded: int = Field(description="Succeeded ones of the latest jobs.", examples=[480])
    failed: int = Field(description="Failed ones of the latest jobs.", examples=[3])
    cancelled: int = Field(description="Cancelled ones of the latest jobs.", examples=[1])
    success_rate: float | None = Field(
        description="Share of succeeded ones among those that succeeded or failed, 0 to 1; null without any.",
        examples=[0.9938],
    )
    waiting: int = Field(description="Shards that wait for an instance.", examples=[0])
    run_seconds_manifest: float = Field(
        description="Seconds of a default request on the reference GPU, by the manifest.", examples=[2.1]
    )
    run_seconds_learned: float | None = Field(
        description="The same as the latest runs took it; null before the first.", examples=[1.9]
    )
    load_seconds_manifest: float = Field(description="Seconds to load it, by the manifest.", examples=[12])
    load_seconds_learned: float | None = Field(
        description="The same as the latest loads took it; null before the first.", examples=[9.5]
    )
    measured_runs: int = Field(description="Latest runs that were measured.", examples=[15])
    served_by: list[str] = Field(description="Instances that can run it now.", examples=[["gpu-0"]])
    loaded_on: list[str] = Field(description="Instances that have it in memory.", examples=[["gpu-0"]])


class ModelHealthList(ResponseModel):
    """How all offered models do."""

    latest_jobs: int = Field(description="Number of latest jobs that are counted.", examples=[OUTCOME_JOBS])
    models: list[ModelHealth] = Field(description="The models, those with trouble first.")


class InstanceFitness(ResponseModel):
    """Whether an instance can run a model."""

    instance: str = Field(description="Id of the instance.", examples=["gpu-1"])
    can_run: bool = Field(description="Whether it can run it now.", examples=[False])
    reasons: list[str] = Field(
        description="Why not.", examples=[["4.ckpt_name: the file flux1-schnell.safetensors is missing"]]
    )


class FailedJob(ResponseModel):
    """A failed job of a model."""

    job: str = Field(description="Id of the job.", examples=[EXAMPLE_JOB_ID])
    at: IsoDatetime | None = Field(description="When it failed.")
    code: str = Field(description="Code of its error.", examples=["out_of_memory"])
    message: str = Field(description="The error as its caller sees it.", examples=["A node failed."])


class ModelHealthDetails(ModelHealth):
    """How one model does, and where it can run."""

    instances: list[InstanceFitness] = Field(description="All instances.")
    failures: list[FailedJob] = Field(description="Its latest failed jobs, newest first.")


class OutcomeStore(Protocol):
    """The part of the store that knows how jobs ended."""

    async def count_outcomes(self, latest: int) -> Sequence[ModelOutcomes]: ...

    async def search_jobs(
        self, job_filter: JobFilter, limit: int = 50, cursor: str | None = None
    ) -> Page[JobRecord]: ...

    async def list_attempts(self, job_id: str) -> list[Attempt]: ...

    async def find_job(self, job_id: str) -> JobRecord | None: ...


class InstanceLister(Protocol):
    """The part of the fleet that lists its instances."""

    def instances(self) -> list[InstanceInfo]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelHealthRoutes:
    """Routes of the health of models and of graphs of jobs. All need the admin token."""

    live_catalog: LiveCatalog
    scheduler: Scheduler
    capabilities: CapabilityCache
    fleet: InstanceLister
    store: OutcomeStore
    model_of_job: Callable[[Job], Model]
    token: str

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin/v1/health/models", self.list_models),
            web.get("/admin/v1/health/models/{id}", self.get_model),
            web.get("/admin/v1/jobs/{id}/graph", self.get_graph),
        ]

    @openapi_operation(
        summary="List the health of models",
        description="Returns how the latest jobs of every offered model ended, its learned run and load times"
        " beside those of the manifest, and the instances that can run it.",
        response=ModelHealthList,
    )
    async def list_models(self, request: web.Request) -> web.Response:
        """Return how all models do."""
        require_admin(request, self.token)
        outcomes = await self._read_outcomes()
        depths = self.scheduler.queue.depth_by_model()
        models = [
            ModelHealth(**self._health_fields(model, outcomes, depths)) for model in self.live_catalog.catalog
        ]
        models.sort(key=lambda one: (_STATE_ORDER[one.state], one.id))
        return json_response(ModelHealthList(latest_jobs=OUTCOME_JOBS, models=models))

    @openapi_operation(
        summary="Get the health of a model",
        description="Returns the same of one model, its latest failed jobs, and for each instance whether"
        " it can"
        " run the model and why not.",
        response=ModelHealthDetails,
    )
    async def get_model(self, request: web.Request) -> web.Response:
        """Return how one model does."""
        require_admin(request, self.token)
        name = request.match_info["id"]
        model = next((one for one in self.live_catalog.catalog if one.id == name), None)
        if model is None:
            raise NotFound(f"Model {name[:100]!r} is not offered", code="model_not_found")
        failed = JobFilter(status=JobStatus.FAILED, models=(name,), includes_removed=True)
        page = await self.store.search_jobs(failed, SHOWN_FAILURES)
        depths = self.scheduler.queue.depth_by_model()
        return json_response(
            ModelHealthDetails(
                **self._health_fields(model, await self._read_outcomes(), depths),
                instances=[self._fitness(info, model) for info in self.fleet.instances()],
                failures=[
                    FailedJob(
                        job=record.job.id,
                        at=record.job.finished_at,
                        code=record.job.error.code,
                        message=record.job.error.message,
                    )
                    for record in page.items
                    if record.job.error is not None
                ],
            )
        )

    @openapi_operation(
        summary="Download the graph of a job",
        description="Returns the graph of a shard in ComfyUI's API format, as it was rendered for the"
        " instance"
        " that ran its last attempt. ComfyUI opens the file. It holds the caller's prompt; input files are"
        " named"
        " by their object keys.",
        query={"shard": SHARD_PARAM},
        response=QuarantinedGraph,
        response_description="The graph: nodes by id.",
        response_example={"7": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 1024}}},
    )
    async def get_graph(self, request: web.Request) -> web.Response:
        """Return the graph of one shard as a file."""
        require_admin(request, self.token)
        job_id, text = request.match_info["id"], request.query.get("shard", "0")
        record = await self.store.find_job(job_id)
        if record is None:
            raise job_not_found(job_id)
        index = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
        if not 0 <= index < len(record.shards):
            raise NotFound(f"Job {job_id} has no shard {text[:20]!r}", code="not_found", param="shard")
        shard = record.shards[index]
        attempts = [one for one in await self.store.list_attempts(job_id) if one.shard_id == shard.id]
        capabilities = self.capabilities.get(attempts[-1].instance_id if attempts else "")
        model = self.model_of_job(record.job)
        graph = capabilities.render_graph(model, shard.params, OUTPUT_FILENAME_PREFIX)
        headers = {"Content-Disposition": f'attachment; filename="{shard.id}.json"'}
        return web.json_response(graph, headers=headers)

    async def _read_outcomes(self) -> Mapping[str, ModelOutcomes]:
        return {row.model: row for row in await self.store.count_outcomes(OUTCOME_JOBS)}

    def _health_fields(
        self, model: Model, outcomes: Mapping[str, ModelOutcomes], depths: Mapping[str, int]
    ) -> dict[str, Any]:
        counted = outcomes.get(model.id, ModelOutcomes(model=model.id))
        ended = counted.succeeded + counted.failed
        up = [instance for instance in self.scheduler.instances.values() if instance.is_up]
        served_by = [instance.id for instance in up if instance.serves(model.id)]
        rate = round(counted.succeeded / ended, 4) if ended else None
        estimates = self.scheduler.estimates
        run, runs = _learned(estimates.run_ratios, model.id)
        load, _ = _learned(estimates.load_ratios, model.id)
        run_seconds = model.estimate_run_seconds(model.example_params())
        load_seconds = model.manifest.estimate_for(None).load_seconds
        return {
            "id": model.id,
            "name": model.manifest.name,
            "type": model.kind,
            "version": model.digest,
            "state": _state(served_by, rate),
            "succeeded": counted.succeeded,
            "failed": counted.failed,
            "cancelled": counted.cancelled,
            "success_rate": rate,
            "waiting": depths.get(model.id, 0),
            "run_seconds_manifest": round(run_seconds, 3),
            "run_seconds_learned": None if run is None else round(run_seconds * run, 3),
            "load_seconds_manifest": load_seconds,
            "load_seconds_learned": None if load is None else round(load_seconds * load, 3),
            "measured_runs": runs,
            "served_by": served_by,
            "loaded_on": [instance.id for instance in up if model.id in instance.loaded_models],
        }

    def _fitness(self, info: InstanceInfo, model: Model) -> InstanceFitness:
        scheduled = self.scheduler.instances.get(info.id)
        can_run = scheduled is not None and scheduled.is_up and scheduled.serves(model.id)
        reasons = [] if can_run else self._explain(info, model)
        return InstanceFitness(instance=info.id, can_run=can_run, reasons=reasons)

    def _explain(self, info: InstanceInfo, model: Model) -> list[str]:
        """Return why an instance cannot run a model."""
        state = (
            []
            if info.state is InstanceState.READY
            else [f"it is {info.state}: {info.detail or 'no reason is known'}"]
        )
        lacks = self.capabilities.get(info.id).missing_requirements(model)
        more = [f"and {len(lacks) - SHOWN_LACKS} more"] if len(lacks) > SHOWN_LACKS else []
        return [*state, *lacks[:SHOWN_LACKS], *more] or ["it is being looked at; ask again"]


#: Order of the list.
_STATE_ORDER = {"unserved": 0, "failing": 1, "good": 2, "unused": 3}
#: Share of succeeded jobs below which a model is failing.
GOOD_RATE = 0.9


def _state(served_by: Sequence[str], rate: float | None) -> str:
    if not served_by:
        return "unserved"
    if rate is None:
        return "unused"
    return "good" if rate >= GOOD_RATE else "failing"


def _learned(ratios: Mapping[tuple[str, float], Any], model: str) -> tuple[float | None, int]:
    """Return measured / expected over all speeds of GPUs, and the number of measurements."""
    found = [row for (name, _), row in ratios.items() if name == model]
    return (median(row.value for row in found) if found else None), sum(len(row.recent) for row in found)
