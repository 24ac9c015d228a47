"""What a caller wants, and what it is once it is known to be right: an order with a price."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.billing.price_book import PriceBook, to_billable_work
from orchestrator.catalog import Model, size_params_for_image
from orchestrator.catalog.live_catalog import LiveCatalog
from orchestrator.catalog.parameters.values import TextParameter
from orchestrator.errors import InvalidRequest
from orchestrator.intake.input_reader import InputFile, InputReader
from orchestrator.jobs import JobStatus
from orchestrator.media.formats import ImageEncoding
from orchestrator.net.egress import is_valid_webhook_url
from pricing.tariff import DEFAULT_TARIFF, Quote

#: Length of a receiver's address.
MAX_WEBHOOK_URL_LENGTH = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationRequest:
    """What a dialect makes of a body: nothing is checked yet but that it had fields."""

    model: str
    #: Values by parameter name; files as base64 text, data URL, http(s) URL or bytes.
    params: Mapping[str, Any]
    idempotency_key: str | None = None
    #: In whose words it is asked for, and under which name of theirs: `pixazo/flux-dev`. None: in our own.
    origin: str | None = None
    #: The price list that it is charged by, as far as that knows the model.
    tariff: str = DEFAULT_TARIFF
    #: The name by which that knows the model; None: as it is asked for.
    tariff_model: str | None = None
    #: Who is told when the job is finished.
    webhook_url: str | None = None
    #: Of which ends; None: of all.
    webhook_statuses: frozenset[JobStatus] | None = None
    #: What pictures are stored as; None: as the model makes them.
    encoding: ImageEncoding | None = None
    #: Whether the result shall have the size of the first picture, where its sides can be chosen.
    match_image_size: bool = False
    #: Whether what the content policy refuses becomes a job that has failed, instead of an error.
    store_blocked_job: bool = False
    #: Kept with the job's parameters; they mean nothing to the model.
    extra_params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRequest:
    """A request that is known to be right, and its price."""

    request: GenerationRequest
    model: Model
    #: Validated parameters; files as the keys of the objects they will be.
    params: Mapping[str, Any]
    #: The files by those keys.
    files: Mapping[str, InputFile]
    #: Those of datasets, by parameter.
    captions: Mapping[str, str]
    quote: Quote

    @property
    def user_texts(self) -> dict[str, str]:
        """What the caller wrote, by parameter; of a dataset its captions."""
        written = (name for name, spec in self.model.parameters.items() if isinstance(spec, TextParameter))
        texts = {name: self.params[name] for name in written if self.params.get(name)}
        return {**texts, **self.captions}

    @property
    def digest(self) -> str:
        """SHA-256 of what was asked for, equal for equal requests."""
        request = self.request
        manner = (request.tariff, request.webhook_url, request.origin, repr(request.encoding))
        asked = json.dumps([self.model.id, self.params, *manner], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestPreparer:
    """Where requests are read, inputs and all, and priced."""

    live_catalog: LiveCatalog
    #: The price lists of this moment.
    get_price_book: Callable[[], PriceBook]
    input_reader: InputReader
    #: Whether webhooks may go to private addresses, for development.
    allow_private: bool

    async def prepare(self, request: GenerationRequest) -> PreparedRequest:
        """The request as it would run, and what it would cost. Raises InvalidRequest."""
        self._check_webhook_url(request.webhook_url)
        model = self.live_catalog.catalog[request.model]
        params = model.validate_params(
            {name: _replace_bytes(value) for name, value in request.params.items()}
        )
        files = await self.input_reader.read_inputs(model, params, request.params)
        params = dict(files.params)
        if request.match_image_size and files.main_image_size:
            params |= size_params_for_image(model, files.main_image_size)
        work = to_billable_work(model, params, files.main_image_size)
        quote = self.get_price_book().quote(
            request.tariff, model, work, request.tariff_model or request.model
        )
        return PreparedRequest(
            request=request,
            model=model,
            params=params,
            files=files.files_by_key,
            captions=files.captions,
            quote=quote,
        )

    def _check_webhook_url(self, url: str | None) -> None:
        """Refuses at once what could never be delivered; names are looked up when it is."""
        if url is not None and (
            len(url) > MAX_WEBHOOK_URL_LENGTH
            or not is_valid_webhook_url(url, allow_private=self.allow_private)
        ):
            raise InvalidRequest(
                "`webhook_url` must be a public http(s) address",
                code="invalid_webhook_url",
                param="webhook_url",
            )


def _replace_bytes(value: Any) -> Any:
    """Uploaded files look like text to the catalogue, which checks only that there is something."""
    if isinstance(value, bytes):
        return "upload" if value else ""
    return [_replace_bytes(item) for item in value] if isinstance(value, list) else value
