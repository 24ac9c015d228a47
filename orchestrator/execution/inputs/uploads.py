"""Brings stored input files to an instance.

An instance with our node pack fetches images and videos itself and caches them by digest; they are uploaded
to all others, and datasets to all, under unguessable names.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfy_instances.session.deliveries import DeliveryUnsupported
from comfy_instances.session.session import FileRef, InstanceSession
from orchestrator.catalog import Model
from orchestrator.execution.results.direct_delivery import DirectDelivery
from orchestrator.media.inputs.datasets import iter_dataset_files
from orchestrator.storage.object_store import ObjectStore

log = logging.getLogger(__name__)

#: Files of one dataset that are uploaded at the same time.
MAX_CONCURRENT_UPLOADS = 4
#: Extensions of the object keys of videos.
VIDEO_EXTENSIONS = frozenset({"mp4", "quicktime", "webm", "x-matroska"})
#: Suffix of the object keys of datasets.
DATASET_SUFFIX = ".zip"
_DIGEST_IN_KEY = re.compile(r"[-/](?P<sha256>[0-9a-f]{64})\.")


@dataclass(frozen=True, slots=True)
class UploadedInputs:
    """Input files on an instance."""

    #: Parameters for the graph: file names on the instance instead of object keys.
    params: Mapping[str, Any]
    files: tuple[FileRef, ...] = ()
    #: Whether the instance has fetched files, which it keeps until they are released.
    is_fetched: bool = False


@dataclass(frozen=True, slots=True)
class InputUploader:
    """Uploads the input files of a run to its instance."""

    object_store: ObjectStore
    delivery: DirectDelivery
    #: Returns an unguessable name.
    generate_token: Callable[[], str]

    async def upload_inputs(
        self,
        session: InstanceSession,
        model: Model,
        params: Mapping[str, Any],
        *,
        prompt_id: str,
        may_fetch: bool,
    ) -> UploadedInputs:
        """Have all input files on the instance: images and videos in the input folder, a dataset in a folder
        of it. If the instance `may_fetch` files itself, it is asked to.

        Raises InstanceError, ObjectStoreError.
        """
        keys = list(dict.fromkeys(input_object_keys(model, params)))
        names = await self._have_fetched(session, prompt_id, keys) if may_fetch else {}
        others = [key for key in keys if key not in names]
        uploads = await asyncio.gather(*(self._upload_input(session, key) for key in others))
        uploaded = {key: name for key, (name, _) in zip(others, uploads, strict=True)}
        files = tuple(file for _, parts in uploads for file in parts)
        return UploadedInputs(
            replace_keys_with_filenames(model, params, {**names, **uploaded}), files, is_fetched=bool(names)
        )

    async def _have_fetched(
        self, session: InstanceSession, prompt_id: str, keys: Iterable[str]
    ) -> dict[str, str]:
        """Return the names of the files that the instance has fetched, by key; none if it cannot."""
        digests = {
            key: found["sha256"]
            for key in keys
            if not key.endswith(DATASET_SUFFIX) and (found := _DIGEST_IN_KEY.search(key))
        }
        if not digests:
            return {}
        grants = await asyncio.gather(
            *(self.delivery.grant_input(key, sha256) for key, sha256 in digests.items())
        )
        try:
            names = await session.deliveries.fetch_inputs(prompt_id, grants)
        except DeliveryUnsupported as error:
            log.warning("%s cannot fetch input files, they are uploaded: %s", session.url, error)
            return {}
        return dict(zip(digests, names, strict=True))

    async def _upload_input(self, session: InstanceSession, key: str) -> tuple[str, list[FileRef]]:
        """Return the name for the graph and the uploaded files."""
        data = await self.object_store.get(key)
        if key.endswith(DATASET_SUFFIX):
            folder = self.generate_token()
            return folder, await _upload_dataset(session, folder, data)
        extension = key.rpartition(".")[2]
        media = "video" if extension in VIDEO_EXTENSIONS else "image"
        name = await session.upload_input(
            f"{self.generate_token()}.{extension}", data, f"{media}/{extension}"
        )
        return name, [FileRef(filename=name, subfolder="", type="input")]


async def _upload_dataset(session: InstanceSession, folder: str, data: bytes) -> list[FileRef]:
    slots = asyncio.Semaphore(MAX_CONCURRENT_UPLOADS)

    async def upload(name: str, content_type: str, content: bytes) -> FileRef:
        async with slots:
            await session.upload_input(name, content, content_type, folder)
        return FileRef(filename=name, subfolder=folder, type="input")

    return await asyncio.gather(*(upload(*file) for file in iter_dataset_files(data)))


def input_object_keys(model: Model, params: Mapping[str, Any]) -> Iterator[str]:
    """Return the object keys of all input files in `params`."""
    for name in model.file_inputs:
        yield from _as_list(params.get(name))


def _as_list(value: Any) -> Iterable[str]:
    return [value] if isinstance(value, str) else value or ()


def replace_keys_with_filenames(
    model: Model, params: Mapping[str, Any], filenames: Mapping[str, str]
) -> dict[str, Any]:
    """Return `params` with the key of each input file replaced by its name in `filenames`."""
    replaced = dict(params)
    for name in model.file_inputs:
        value = params.get(name)
        if value:
            replaced[name] = (
                filenames[value] if isinstance(value, str) else [filenames[item] for item in value]
            )
    return replaced
