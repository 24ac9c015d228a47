"""Finds the LoRAs that a request names, and checks that they fit its model, before anything is charged.

A text stands for a LoRA that the caller's account has trained (by the job, by the URL of its output, or by
name, which means the newest one of that name), or else for a file that the operator has put on instances.
LoRAs of other accounts are unknown, whatever names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from comfy_instances.protocol.lora_files import UPLOADED_LORA_PREFIX
from orchestrator.catalog import Model
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.manifest import ModelKind
from orchestrator.catalog.parameters.loras import is_lora_name
from orchestrator.errors import InvalidRequest, invalid_field
from orchestrator.execution.results.expiry import ExpiryPolicy
from orchestrator.jobs import JobRecord, JobStatus
from orchestrator.jobs.loras import Lora
from orchestrator.jobs.objects import is_job_object
from orchestrator.similar_names import find_similar
from orchestrator.store.loras import LoraStore

#: Longest part of a text that an error repeats, and most names that it suggests.
MAX_SHOWN_CHARACTERS, MAX_SUGGESTIONS = 100, 3
#: LoRAs of an account among which the nearest names are looked for.
MAX_NAMES = 200
LIST_HINT = "`GET /api/v1/loras` lists the LoRAs that you can use"
#: Parameter of trainers that names the LoRA.
NAME_PARAM = "lora_name"

_JOB_ID = re.compile(r"job_[0-9a-f]{32}")
#: Pixazo writes the id of a job as a UUID after the name of the model.
_REQUEST_ID = re.compile(r"(?:[\w.-]+_)?(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.ASCII)


class SharedLoraSource(Protocol):
    """Knows the LoRAs of the instances, which all accounts may use."""

    def names(self) -> list[str]:
        """Return the names of all shared LoRAs, sorted."""
        ...

    def names_by_instance(self, model: Model) -> list[frozenset[str]] | None:
        """Return what each instance lists that can run the model; None while no instance is known."""
        ...

    async def read_architectures(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the base architectures that each LoRA fits by its header, the likeliest first."""
        ...


class TrainingStore(LoraStore, Protocol):
    """LoRAs, and the jobs that make them."""

    async def find_job(self, job_id: str) -> JobRecord | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedLoras:
    """The LoRAs of a request."""

    #: The request's parameters, with `{"job_id", "strength"}` for LoRAs of the account.
    params: Mapping[str, Any]
    #: Keys of the objects of these LoRAs, by the jobs that trained them.
    objects: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraResolver:
    """Resolves LoRAs of an account and shared ones."""

    store: TrainingStore
    shared: SharedLoraSource
    expiry: ExpiryPolicy
    live_catalog: LiveCatalog

    async def resolve(self, account_id: str, model: Model, params: Mapping[str, Any]) -> ResolvedLoras:
        """Return validated parameters in which each LoRA is one that can be used with the model.

        Raises InvalidRequest (`unknown_lora`, `duplicate_lora`, `lora_mismatch`, `lora_expired`,
        `lora_not_ready`).
        """
        check_new_name(model, params)
        resolved, objects = dict(params), dict[str, str]()
        for name in model.lora_inputs:
            items = []
            for item in params.get(name) or ():
                lora = await self._find_own(account_id, name, item["name"])
                if lora is None:
                    items.append(item)
                    continue
                self._check_base(lora, model, name)
                objects[lora.job_id] = lora.key
                items.append({"job_id": lora.job_id, "strength": item["strength"]})
            _check_distinct(name, items)
            await self._check_shared(account_id, model, name, [i["name"] for i in items if "name" in i])
            resolved[name] = items
        return ResolvedLoras(params=resolved, objects=objects)

    async def _find_own(self, account_id: str, param: str, text: str) -> Lora | None:
        """Return the account's LoRA that a text stands for; None for a name that may be a shared one."""
        if is_url(text):
            reference = _reference_in(text)
            lora = await self.store.find_lora(account_id, reference) if reference else None
            if lora is None:
                raise _unknown_lora(
                    f"`{param}`: the URL is not of a LoRA that this account has trained; {LIST_HINT}",
                    param,
                )
        elif job_id := _job_id_in(text):
            lora = await self.store.find_lora(account_id, job_id)
            if lora is None:
                raise await self._explain_job(account_id, param, job_id)
        else:
            lora = await self.store.find_lora(account_id, text)
        if lora is not None and self.expiry.is_lora_expired(lora):
            raise InvalidRequest(
                f"`{param}`: the LoRA {lora.name} has expired and its file is deleted; train it again",
                code="lora_expired",
                param=param,
            )
        return lora

    async def _explain_job(self, account_id: str, param: str, job_id: str) -> InvalidRequest:
        """Return the error for a job that has no LoRA."""
        record = await self.store.find_job(job_id)
        if record is None or record.job.account_id != account_id or record.job.removed_at is not None:
            return _unknown_lora(f"`{param}`: this account has no job {job_id}; {LIST_HINT}", param)
        job = record.job
        if not self._is_training(job.model):
            return _unknown_lora(
                f"`{param}`: job {job_id} has trained no LoRA: its model is {job.shown_model}; {LIST_HINT}",
                param,
            )
        if not job.is_finished:
            return InvalidRequest(
                f"`{param}`: job {job_id} is still training; use its LoRA when the job has completed",
                code="lora_not_ready",
                param=param,
            )
        if job.status is not JobStatus.SUCCEEDED:
            return _unknown_lora(
                f"`{param}`: the training job {job_id} has {job.status}; train it again", param
            )
        return InvalidRequest(
            f"`{param}`: the LoRA of job {job_id} has expired and its file is deleted; train it again",
            code="lora_expired",
            param=param,
        )

    def _is_training(self, model_id: str) -> bool:
        try:
            return self.live_catalog.get_known_model(model_id).kind is ModelKind.TRAINER
        except InvalidRequest:
            return False

    def _check_base(self, lora: Lora, model: Model, param: str) -> None:
        """Raise InvalidRequest for a LoRA of another architecture, with the models that take it."""
        if lora.base == model.lora_base:
            return
        raise self._mismatch(lora.name, [lora.base], model, param)

    async def _check_shared_bases(self, names: Iterable[str], model: Model, param: str) -> None:
        """Raise InvalidRequest for a file whose header names an architecture that is not the model's."""
        for name, bases in (await self.shared.read_architectures(names)).items():
            if bases and model.lora_base not in bases:
                raise self._mismatch(name, bases, model, param)

    def _mismatch(self, name: str, bases: Sequence[str], model: Model, param: str) -> InvalidRequest:
        others = self.list_models_for(*bases)
        way_out = f"; use it with {', '.join(others)}" if others else ""
        return InvalidRequest(
            f"`{param}`: the LoRA {name} was trained for {bases[0]}, but model {model.id} takes LoRAs"
            f" for {model.lora_base}{way_out}",
            code="lora_mismatch",
            param=param,
        )

    def list_models_for(self, *bases: str) -> list[str]:
        """Return the models that take LoRAs with one of these base architectures."""
        return [one.id for one in self.live_catalog.catalog if one.lora_inputs and one.lora_base in bases]

    async def _check_shared(self, account_id: str, model: Model, param: str, names: Iterable[str]) -> None:
        """Raise InvalidRequest unless some instance that can run the model has all of these files."""
        wanted = set(names) - model.default_loras(param)
        offers = self.shared.names_by_instance(model) if wanted else None
        # While no instance can run the model, the error is that one, which passes.
        if not offers:
            return
        if any(wanted <= offer for offer in offers):
            return await self._check_shared_bases(wanted, model, param)
        known = frozenset[str]().union(*offers)
        missing = sorted(wanted - known)
        if not missing and len(wanted) > 1:
            raise InvalidRequest(
                f"`{param}`: no instance has all of the LoRAs {', '.join(sorted(wanted))}; request fewer",
                code="unknown_lora",
                param=param,
            )
        own = [lora.name for lora in (await self.store.list_loras(account_id, MAX_NAMES)).items]
        shown = missing[0][:MAX_SHOWN_CHARACTERS]
        nearest = find_similar(shown, dict.fromkeys([*own, *sorted(known)]), MAX_SUGGESTIONS)
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else "."
        raise _unknown_lora(
            f"`{param}`: there is no LoRA {shown!r} for model {model.id}{hint} {LIST_HINT}", param
        )


def check_new_name(model: Model, params: Mapping[str, Any]) -> None:
    """Check the name that a training request gives its LoRA. Raises InvalidRequest."""
    name = params.get(NAME_PARAM)
    if model.kind is not ModelKind.TRAINER or not name:
        return
    if not is_lora_name(name) or name.endswith(".safetensors"):
        raise invalid_field(
            NAME_PARAM,
            "must have letters, digits, `.`, `_` and `-` only, not begin with `.` and have no file extension"
            f" (got {name[:MAX_SHOWN_CHARACTERS]!r})",
        )
    if _job_id_in(name) or name.startswith(UPLOADED_LORA_PREFIX):
        raise invalid_field(NAME_PARAM, "must not look like the id of a job; choose another name")


def _check_distinct(param: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Raise InvalidRequest if two entries are the same LoRA, in whatever ways they name it."""
    positions: dict[str, int] = {}
    for index, item in enumerate(items):
        reference = str(item.get("job_id") or item["name"])
        first = positions.setdefault(reference, index)
        if first != index:
            raise InvalidRequest(
                f"`{param}`: entries {first + 1} and {index + 1} are the same LoRA"
                f" ({reference[:MAX_SHOWN_CHARACTERS]}); send it once, with the sum of their strengths",
                code="duplicate_lora",
                param=param,
            )


def is_url(text: str) -> bool:
    """Return whether a reference to a LoRA is a URL."""
    return text.lower().startswith(("http://", "https://"))


def _unknown_lora(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, code="unknown_lora", param=param)


def _job_id_in(text: str) -> str | None:
    """Return the job that a text is the id of, in the notation of any dialect."""
    if _JOB_ID.fullmatch(text):
        return text
    found = _REQUEST_ID.fullmatch(text)
    return f"job_{UUID(found['uuid']).hex}" if found else None


def _reference_in(url: str) -> str | None:
    """Return the key at the end of the path of a URL, whatever server and bucket precede it."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    key = "/".join(path.split("/")[-3:])
    return key if is_job_object(key) else None
