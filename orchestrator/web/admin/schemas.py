"""Bodies of the admin API, and the functions that build them."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from orchestrator.billing.reports import MarginGroupBy, to_job_margin_response, to_margin_response
from orchestrator.catalog import CatalogError
from orchestrator.jobs import JobRecord
from orchestrator.store import Account, AuditViolation
from orchestrator.web.account.billing_schemas import EXAMPLE_JOB_ID, WalletBalance, to_wallet_balance
from orchestrator.web.account.key_schemas import ApiKeyResponse
from orchestrator.web.http.response_model import IsoDatetime, ResponseModel
from pricing.costs import CostRates, Margin
from pricing.ledger import Balance

_EXAMPLE_ACCOUNT = "acct_9b0a4f7c"


class AccountResponse(ResponseModel):
    """An account."""

    id: str = Field(description="Id of the account.", examples=[_EXAMPLE_ACCOUNT])
    name: str = Field(description="Name of the account.", examples=["Example Ltd."])
    plan: str = Field(description="Id of its plan.", examples=["free"])
    created_at: IsoDatetime = Field(description="When it was created.")


class AccountList(ResponseModel):
    """All accounts."""

    accounts: list[AccountResponse] = Field(description="The accounts, oldest first.")


class ApiKeyList(ResponseModel):
    """API keys, revoked and expired ones included."""

    keys: list[ApiKeyResponse] = Field(description="The keys, oldest first.")


class AccountWallet(WalletBalance):
    """The wallet of an account."""

    account: str = Field(description="Id of the account.", examples=[_EXAMPLE_ACCOUNT])


class AccountWalletDetails(AccountWallet):
    """The wallet of an account, with allowance and open jobs."""

    allowance_usd: float = Field(
        description="Rest of this month's allowance; part of the balance.", examples=[3.5]
    )
    unfinished_jobs: int = Field(description="Number of unfinished jobs.", examples=[2])


class MarginReportRow(ResponseModel):
    """Revenue and cost of one model, day or device."""

    model: str | None = Field(
        None, description="Id of the model, in a report by model.", examples=["sdxl-1.0"]
    )
    day: date | None = Field(None, description="Day (UTC), in a report by day.")
    device: str | None = Field(None, description="Device, in a report by device.", examples=["NVIDIA H100"])
    shards: int = Field(description="Number of shards that ran.", examples=[310])
    gpu_seconds: float = Field(description="Time that prompts ran.", examples=[518.204])
    revenue_usd: float = Field(description="Amount charged.", examples=[0.93])
    cost_usd: float = Field(description="Cost of running, storing and sending the outputs.", examples=[0.41])
    margin_usd: float = Field(description="Revenue less cost.", examples=[0.52])
    usd_per_gpu_second: float | None = Field(
        description="Revenue per second of GPU time; null without GPU time.", examples=[0.001795]
    )


class MarginReport(ResponseModel):
    """Revenue and cost by model, day or device."""

    margins: list[MarginReportRow] = Field(description="The rows of the report.")


class ShardUsage(ResponseModel):
    """Resources that one shard used."""

    shard: str = Field(description="Id of the shard.", examples=[f"{EXAMPLE_JOB_ID}-0"])
    attempts: int = Field(description="Number of attempts.", examples=[1])
    device: str | None = Field(
        description="Device that ran it; null before it ran.", examples=["NVIDIA H100"]
    )
    gpu_seconds: float = Field(description="Time that its prompt ran.", examples=[1.672])
    load_seconds: float = Field(description="Part of it that loaded the model.", examples=[0.0])
    peak_vram: int | None = Field(
        description="Peak GPU memory in bytes; null: unknown.", examples=[14829130000]
    )
    bytes_stored: int = Field(description="Size of its outputs in bytes.", examples=[1482913])
    model_digest: str | None = Field(description="Version of the model that ran.", examples=["3f2a9c0d5b7e"])


class JobMargin(ResponseModel):
    """Resources, revenue and cost of one job."""

    job: str = Field(description="Id of the job.", examples=[EXAMPLE_JOB_ID])
    model: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    status: str = Field(description="State of the job.", examples=["succeeded"])
    account: str = Field(description="Id of the account.", examples=[_EXAMPLE_ACCOUNT])
    shards: list[ShardUsage] = Field(description="Resources by shard.")
    revenue_usd: float = Field(description="Amount charged.", examples=[0.003])
    cost_usd: float = Field(description="Cost of running the job and storing its outputs.", examples=[0.0013])
    margin_usd: float = Field(description="Revenue less cost.", examples=[0.0017])


class LedgerViolation(ResponseModel):
    """A rule of the ledger that does not hold."""

    rule: str = Field(description="The rule.", examples=["balanced"])
    subject: str = Field(description="Job, account or table concerned.", examples=[_EXAMPLE_ACCOUNT])
    detail: str = Field(description="What is wrong.", examples=["the balance differs from its entries"])


class LedgerAudit(ResponseModel):
    """Result of checking the whole ledger."""

    in_order: bool = Field(description="Whether every rule holds.", examples=[True])
    violations: list[LedgerViolation] = Field(description="Rules that do not hold.", examples=[[]])


class AdminModel(ResponseModel):
    """A model of the live catalogue."""

    id: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    type: str = Field(description="Kind of model.", examples=["image"])
    aliases: list[str] = Field(description="Other names of the model.", examples=[["flux-schnell"]])
    stands_in_for: list[str] = Field(
        description="Names of models that are not installed and that it replaces.", examples=[["dall-e-3"]]
    )
    digest: str = Field(
        description="Version of the model: digest of manifest and graph.", examples=["3f2a9c0d"]
    )
    price_class: str = Field(description="Row of the price list.", examples=["fast"])
    served_by: list[str] = Field(description="Ids of the instances that can run it.", examples=[["gpu-0"]])


class RejectedModel(ResponseModel):
    """A model folder that could not be loaded. Its previous version stays in use, if there was one."""

    file: str = Field(description="File with the error.", examples=["workflows/my-model/model.toml"])
    where: str = Field(description="Place in the file.", examples=["parameters.steps"])
    reason: str = Field(description="What is wrong.", examples=["`maximum` must not be below `minimum`"])


class AdminModelList(ResponseModel):
    """The live catalogue."""

    models: list[AdminModel] = Field(description="Models that are offered.")
    drafts: list[AdminModel] = Field(description="Drafts.")
    refused: list[RejectedModel] = Field(description="Model folders that could not be loaded.")


class AssignedShardResponse(ResponseModel):
    """A shard that is assigned to an instance."""

    shard: str = Field(description="Id of the shard.", examples=[f"{EXAMPLE_JOB_ID}-0"])
    job: str = Field(description="Id of its job.", examples=[EXAMPLE_JOB_ID])
    model: str = Field(description="Id of the model.", examples=["flux-1-schnell"])
    state: str = Field(description="`running`, or `waiting` behind the running shard.", examples=["running"])
    attempt: int = Field(description="Number of the attempt, from 1; 0 before it starts.", examples=[1])
    age_seconds: float = Field(description="Seconds since it was assigned to the instance.", examples=[1.25])
    account: str = Field(description="Id of the account that sent it.", examples=[_EXAMPLE_ACCOUNT])
    progress: float | None = Field(
        description="Share of its run that is done, 0 to 1; null before it reports any.", examples=[0.6]
    )
    step: int | None = Field(description="Steps of the running node that are done.", examples=[12])
    steps: int | None = Field(description="Steps that the running node has.", examples=[20])


class InstanceResponse(ResponseModel):
    """A ComfyUI instance. Sizes are bytes; null means unknown."""

    id: str = Field(description="Id of the instance.", examples=["gpu-0"])
    url: str = Field(description="URL of its ComfyUI server.", examples=["http://127.0.0.1:8188"])
    state: str = Field(
        description="`starting`, `ready`, `draining` (finishes its work), `drained` (has finished it),"
        " `down` or"
        " `failed`.",
        examples=["ready"],
    )
    since: IsoDatetime | None = Field(description="Time of the last change of its state.")
    started_at: IsoDatetime | None = Field(
        description="When its process was started; null for adopted instances."
    )
    detail: str | None = Field(description="Why it is in this state.", examples=[None])
    retry_at: IsoDatetime | None = Field(
        description="When its process is started again; null while one runs, and for adopted instances."
    )
    history: str = Field(
        description="One character per minute of the last hour, oldest first: `0` to `9` for the share in"
        " which"
        " it ran prompts, `l` if it mostly loaded a model, `r` if it was drained, `d` if it was down, `.` if"
        " nothing is known.",
        examples=["." * 50 + "0379998l00"],
    )
    device: str = Field(description="Name of its GPU, `cpu` or `simulated`.", examples=["NVIDIA H100"])
    profile: str | None = Field(description="Name of its GPU profile.", examples=["hopper-80gb"])
    pci_id: str | None = Field(description="PCI bus id of its GPU.", examples=["00000000:01:00.0"])
    simulated: bool = Field(description="Whether it is a simulator.", examples=[False])
    adopted: bool = Field(description="Whether it is started and stopped by someone else.", examples=[False])
    version: str | None = Field(description="Version of ComfyUI.", examples=["0.3.40"])
    busy: float = Field(
        description="Share of the last minute in which it ran prompts, 0 to 1.", examples=[0.97]
    )
    utilisation: float | None = Field(description="GPU utilisation, 0 to 1.", examples=[0.99])
    temperature: float | None = Field(description="GPU temperature in degrees Celsius.", examples=[64])
    power: float | None = Field(description="GPU power draw in watts.", examples=[412.5])
    vram_total: int | None = Field(description="GPU memory.", examples=[85899345920])
    vram_free: int | None = Field(description="Free GPU memory.", examples=[51539607552])
    vram_used: int | None = Field(description="Used GPU memory.", examples=[34359738368])
    memory: int | None = Field(description="Resident memory of its process.", examples=[8589934592])
    restarts: int = Field(description="Number of restarts of its process.", examples=[0])
    failures: int = Field(
        description="Number of failures in a row; ends while it ran a prompt do not count.", examples=[0]
    )
    supervision_errors: int = Field(
        description="Errors of its supervision, such as a lack of descriptors, since the service started.",
        examples=[0],
    )
    delivery: str | None = Field(
        description="How results leave it: `direct` (its node pack stores them), `service` (they pass through"
        " the service), or `degraded` (the same, although it has the node pack); null before its first"
        " prompt.",
        examples=["direct"],
    )
    delivery_detail: str | None = Field(description="Why it is not `direct`.", examples=[None])
    warming: str | None = Field(
        description="Model that it loads ahead of requests; null for none.", examples=[None]
    )
    models_held: list[str] = Field(
        description="Models in its memory, least recently used first.", examples=[["flux-1-schnell"]]
    )
    shards: list[AssignedShardResponse] = Field(description="Its shards, the running one first.")


class InstanceList(ResponseModel):
    """All instances of the fleet."""

    instances: list[InstanceResponse] = Field(description="The instances, by id.")


def to_account_response(account: Account) -> AccountResponse:
    """Return an account."""
    return AccountResponse(id=account.id, name=account.name, plan=account.plan, created_at=account.created_at)


def to_account_wallet(account_id: str, balance: Balance) -> AccountWallet:
    """Return the wallet of an account."""
    return AccountWallet(account=account_id, **dict(to_wallet_balance(balance)))


def to_margin_report(margins: list[Margin[str]], by: MarginGroupBy) -> MarginReport:
    """Return a report of margins added up `by` one column."""
    rows = [MarginReportRow.model_validate(to_margin_response(margin, by)) for margin in margins]
    return MarginReport(margins=rows)


def to_job_margin(record: JobRecord, costs: CostRates) -> JobMargin:
    """Return resources, revenue and cost of a job."""
    return JobMargin.model_validate(to_job_margin_response(record, costs))


def to_ledger_audit(violations: list[AuditViolation]) -> LedgerAudit:
    """Return the result of an audit."""
    rows = [LedgerViolation(rule=one.rule, subject=one.subject, detail=one.detail) for one in violations]
    return LedgerAudit(in_order=not rows, violations=rows)


def to_rejected_model(error: CatalogError) -> RejectedModel:
    """Return a model folder that could not be loaded."""
    return RejectedModel(file=str(error.file), where=error.where, reason=error.reason)
