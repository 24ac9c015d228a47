"""What manifests say about results, and marking what is made from stored results for a response."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from orchestrator.catalog import Model
from orchestrator.errors import InvalidRequest, ServiceUnavailable
from orchestrator.jobs import Job
from orchestrator.jobs.objects import input_keys
from orchestrator.media.marks.content_credentials import CredentialsError, MediaInput, MediaOrigin
from orchestrator.media.marks.marking import MediaMarker
from orchestrator.media.marks.source_marks import SourceType
from orchestrator.media.sniffing import EXTENSIONS

log = logging.getLogger(__name__)

#: Characters of the digest of a model, as versions are shown elsewhere.
VERSION_LENGTH = 12
_CONTENT_TYPES = {extension: content_type for content_type, extension in EXTENSIONS.items()}


def origin_of(job: Job, model: Model | None) -> MediaOrigin:
    """Return model, version, prompt and inputs of a job's results; `model` is None if it exists no more."""
    prompt = job.params.get("prompt")
    version = (model.digest if model is not None else job.model_version) or ""
    return MediaOrigin(
        model=job.model,
        version=version[:VERSION_LENGTH],
        prompt=prompt if isinstance(prompt, str) else None,
        inputs=tuple(_list_inputs(job)),
    )


def _list_inputs(job: Job) -> Iterator[MediaInput]:
    for name, keys in input_keys(job.params).items():
        for number, key in enumerate(keys, 1):
            content_type = _CONTENT_TYPES.get(key.rpartition(".")[2])
            yield MediaInput(f"{name} {number}" if len(keys) > 1 else name, content_type)


@dataclass(frozen=True, kw_only=True, slots=True)
class DerivedMediaMarker:
    """Marks what a response makes from a stored result: other formats, thumbnails, pasted images."""

    marker: MediaMarker
    #: Returns the model of a job. Raises InvalidRequest if it is not known any more.
    get_model: Callable[[Job], Model]

    async def mark(
        self, job: Job, data: bytes, content_type: str, source: SourceType = SourceType.GENERATED
    ) -> bytes:
        """Return the same media with the mark, and with a manifest if media are signed.

        Raises ServiceUnavailable if it cannot be signed now.
        """
        try:
            model = self.get_model(job)
        except InvalidRequest:
            model = None
        origin = replace(origin_of(job, model), source=source)
        try:
            return await asyncio.to_thread(self.marker.mark, data, content_type, origin)
        except CredentialsError as error:
            log.error("a response of job %s cannot be signed: %s", job.id, error)
            raise ServiceUnavailable("The result cannot be signed at the moment; retry later") from error
