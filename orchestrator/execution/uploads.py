"""Uploads stored input files to an instance, under unguessable names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfy_instances.session.session import FileRef, InstanceSession
from orchestrator.catalog import Model
from orchestrator.media.datasets import iter_dataset_files
from orchestrator.storage.object_store import ObjectStore

#: Files of one dataset that are uploaded at the same time.
MAX_CONCURRENT_UPLOADS = 4
#: Extensions of the object keys of videos.
VIDEO_EXTENSIONS = frozenset({"mp4", "quicktime", "webm", "x-matroska"})
#: Suffix of the object keys of datasets.
DATASET_SUFFIX = ".zip"


@dataclass(frozen=True, slots=True)
class UploadedInputs:
    """Input files on an instance."""

    #: Parameters for the graph: file names on the instance instead of object keys.
    params: Mapping[str, Any]
    files: tuple[FileRef, ...]


@dataclass(frozen=True, slots=True)
class InputUploader:
    """Uploads the input files of a run to its instance."""

    object_store: ObjectStore
    #: Returns an unguessable name.
    generate_token: Callable[[], str]

    async def upload_inputs(
        self, session: InstanceSession, model: Model, params: Mapping[str, Any]
    ) -> UploadedInputs:
        """Upload all input files: images and videos to the input folder, a dataset to a folder in it.

        Raises InstanceError, ObjectStoreError.
        """
        keys = list(dict.fromkeys(input_object_keys(model, params)))
        uploads = await asyncio.gather(*(self._upload_input(session, key) for key in keys))
        names = {key: name for key, (name, _) in zip(keys, uploads, strict=True)}
        files = tuple(file for _, parts in uploads for file in parts)
        return UploadedInputs(replace_keys_with_filenames(model, params, names), files)

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
