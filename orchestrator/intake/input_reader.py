"""Reads the input files of a request: downloads, decodes and checks images and datasets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.values import DatasetParameter
from orchestrator.errors import invalid_field
from orchestrator.media.datasets import DatasetLimits, InputDataset, read_dataset
from orchestrator.media.input_images import ImageLimits, InputImage, read_image
from orchestrator.net.downloads import UrlFetcher
from orchestrator.storage.object_store import content_addressed_key

InputFile = InputImage | InputDataset

#: Maximum number of datasets that are read at the same time. It bounds the memory use, because each may have
#: the largest size; it is large enough that downloads from slow servers do not block the others.
MAX_CONCURRENT_DATASETS = 16
#: Name of the parameter that selects the channel of the mask, and its value for the alpha channel.
MASK_CHANNEL_PARAM, ALPHA_CHANNEL = "mask_channel", "alpha"


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFiles:
    """The input files of a request, by the object keys under which they will be stored."""

    #: The request's parameters with object keys instead of files.
    params: Mapping[str, Any]
    files_by_key: Mapping[str, InputFile]
    #: Captions of datasets, by parameter.
    captions: Mapping[str, str]
    #: Width and height of the main input image in pixels.
    main_image_size: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class InputReader:
    """Reads images and datasets."""

    image_limits: ImageLimits
    dataset_limits: DatasetLimits
    url_fetcher: UrlFetcher
    #: Time limit for downloading a dataset.
    dataset_timeout_seconds: float
    _dataset_slots: asyncio.Semaphore = field(
        default_factory=partial(asyncio.Semaphore, MAX_CONCURRENT_DATASETS)
    )

    async def read_inputs(
        self, model: Model, params: Mapping[str, Any], raw_params: Mapping[str, Any]
    ) -> InputFiles:
        """Read the files of a request.

        `params` are the validated parameters; `raw_params` are the parameters as given and hold the files.
        Raises InvalidRequest.
        """
        params_with_keys = dict(params)
        files: dict[str, InputFile] = {}
        first_files: dict[str, InputFile] = {}
        for name in model.file_inputs:
            if not params.get(name):
                continue
            is_list = isinstance(raw_params[name], list | tuple)
            values = raw_params[name] if is_list else [raw_params[name]]
            read = await asyncio.gather(*(self._read_one(model, name, value) for value in values))
            files |= {input_object_key(file): file for file in read}
            params_with_keys[name] = (
                [input_object_key(file) for file in read] if is_list else input_object_key(read[0])
            )
            first_files[name] = read[0]
        images = {name: file for name, file in first_files.items() if isinstance(file, InputImage)}
        check_mask(images.get("image"), images.get("mask"), params_with_keys)
        main = images.get("image") or next(iter(images.values()), None)
        return InputFiles(
            params=params_with_keys,
            files_by_key=files,
            captions={
                name: file.captions for name, file in first_files.items() if isinstance(file, InputDataset)
            },
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
    """Return the object key under which the file will be stored."""
    return content_addressed_key("inputs", file.sha256, file.content_type.rpartition("/")[2])


def check_mask(image: InputImage | None, mask: InputImage | None, params: Mapping[str, Any]) -> None:
    """Check the size of a mask, and that it marks an area. Raises InvalidRequest."""
    if image is None or mask is None:
        return
    if (mask.width, mask.height) != (image.width, image.height):
        sizes = f"{image.width}x{image.height} pixels (got {mask.width}x{mask.height})"
        raise invalid_field("mask", f"must be as large as `image`: {sizes}")
    if params.get(MASK_CHANNEL_PARAM, ALPHA_CHANNEL) == ALPHA_CHANNEL and not mask.has_alpha:
        raise invalid_field("mask", "must contain transparent pixels; they mark the area to edit")
