"""The files that come with a request: fetched, opened and checked as its model's parameters say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import DatasetParameter as DatasetParameter
from orchestrator.intake.masks import check_mask
from orchestrator.media.datasets import DatasetLimits, InputDataset, read_dataset
from orchestrator.media.input_images import ImageLimits, InputImage, read_image
from orchestrator.net.downloads import UrlFetcher
from orchestrator.storage.object_store import content_addressed_key

InputFile = InputImage | InputDataset

#: Datasets that are on their way in at once: a bound on memory, of which each may take its limit, and enough
#: that callers who are sent to slow servers leave room for the others.
MAX_CONCURRENT_DATASETS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFiles:
    """What came with a request, by the keys of the objects that they will be."""

    #: The request's parameters with keys in the places of files.
    params: Mapping[str, Any]
    files_by_key: Mapping[str, InputFile]
    #: What the pictures of datasets show, by parameter.
    captions: Mapping[str, str]
    #: Width and height of the main picture in pixels.
    main_image_size: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class InputReader:
    """Reads pictures and datasets."""

    image_limits: ImageLimits
    dataset_limits: DatasetLimits
    url_fetcher: UrlFetcher
    #: How long fetching a dataset may take.
    dataset_timeout_seconds: float
    _dataset_slots: asyncio.Semaphore = field(
        default_factory=partial(asyncio.Semaphore, MAX_CONCURRENT_DATASETS)
    )

    async def read_inputs(
        self, model: Model, params: Mapping[str, Any], raw_params: Mapping[str, Any]
    ) -> InputFiles:
        """The files of a request: `params` are validated and say which there are, `raw_params` holds them.
        Raises InvalidRequest."""
        placed = dict(params)
        files: dict[str, InputFile] = {}
        first: dict[str, InputFile] = {}
        for name in model.file_inputs:
            if not params.get(name):
                continue
            several = isinstance(raw_params[name], list | tuple)
            values = raw_params[name] if several else [raw_params[name]]
            read = await asyncio.gather(*(self._read_one(model, name, value) for value in values))
            files |= {input_object_key(file): file for file in read}
            placed[name] = [input_object_key(file) for file in read] if several else input_object_key(read[0])
            first[name] = read[0]
        pictures = {name: file for name, file in first.items() if isinstance(file, InputImage)}
        check_mask(pictures.get("image"), pictures.get("mask"), placed)
        main = pictures.get("image") or next(iter(pictures.values()), None)
        return InputFiles(
            params=placed,
            files_by_key=files,
            captions={name: file.captions for name, file in first.items() if isinstance(file, InputDataset)},
            main_image_size=(main.width, main.height) if main else None,
        )

    async def _read_one(self, model: Model, name: str, value: str | bytes) -> InputFile:
        spec = model.parameters[name]
        if isinstance(spec, DatasetParameter):
            return await self._read_dataset(spec, name, value)
        image = await read_image(value, limits=self.image_limits, param=name, fetch=self.url_fetcher.fetch)
        model.validate_image_size(image.width, image.height, name)
        return image

    async def _read_dataset(self, spec: DatasetParameter, name: str, value: str | bytes) -> InputDataset:
        fetch = partial(self.url_fetcher.fetch, timeout_seconds=self.dataset_timeout_seconds)
        async with self._dataset_slots:
            dataset = await read_dataset(value, limits=self.dataset_limits, param=name, fetch=fetch)
        spec.validate_image_count(name, dataset.image_count)
        return dataset


def input_object_key(file: InputFile) -> str:
    """The key of the object that the file will be."""
    return content_addressed_key("inputs", file.sha256, file.content_type.rpartition("/")[2])
