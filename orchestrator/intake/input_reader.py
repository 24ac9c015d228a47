"""Reads the input files of a request: downloads, checks and decodes images, videos and datasets.

The headers of all images are checked against the model's limits before one of them is decoded: a small file
may declare so many pixels that decoding them takes gigabytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from orchestrator.catalog import Model
from orchestrator.catalog.parameters.size_text import Size
from orchestrator.catalog.parameters.values import (
    AudioParameter,
    DatasetParameter,
    ImageParameter,
    VideoParameter,
)
from orchestrator.errors import InvalidRequest, ServiceError, invalid_field
from orchestrator.fair_slots import run_to_end
from orchestrator.intake.field_names import item_name
from orchestrator.intake.input_slots import InputKind, InputOwner, InputSlots
from orchestrator.intake.transparency import ImagePlace
from orchestrator.media.canvas import scale_image
from orchestrator.media.inputs.datasets import DatasetLimits, InputDataset, read_dataset
from orchestrator.media.inputs.input_audio import InputAudio, read_audio
from orchestrator.media.inputs.input_images import (
    ImageLimits,
    InputImage,
    InspectedImage,
    decode_inspected_image,
    fetch_image,
    inspect_image,
    transform_input_image,
)
from orchestrator.media.inputs.input_videos import InputVideo, VideoLimits, read_video
from orchestrator.media.inputs.payloads import is_url
from orchestrator.net.downloads import UrlFetcher
from orchestrator.storage.object_store import content_addressed_key

T = TypeVar("T")
InputFile = InputImage | InputVideo | InputAudio | InputDataset
CheckedFile = InspectedImage | InputVideo | InputAudio | InputDataset

#: Name of the parameter that selects the channel of the mask, and its value for the alpha channel.
MASK_CHANNEL_PARAM, ALPHA_CHANNEL, RED_CHANNEL = "mask_channel", "alpha", "red"


@dataclass(frozen=True, kw_only=True, slots=True)
class InputFiles:
    """The input files of a request, by keys that name their content."""

    #: The request's parameters with these keys instead of files.
    params: Mapping[str, Any]
    files_by_key: Mapping[str, InputFile]
    #: Captions of datasets, by parameter.
    captions: Mapping[str, str]
    #: Width and height of the main input image in pixels.
    main_image_size: tuple[int, int] | None
    #: The main input video.
    video: InputVideo | None = None
    #: Sentences about images that were scaled down.
    warnings: tuple[str, ...] = ()
    #: Which images have transparent pixels.
    transparent: tuple[ImagePlace, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class InputReader:
    """Reads images, videos, audio and datasets."""

    image_limits: ImageLimits
    dataset_limits: DatasetLimits
    url_fetcher: UrlFetcher
    #: Time limit for downloading a dataset or a video.
    dataset_timeout_seconds: float
    video_limits: VideoLimits = field(default_factory=VideoLimits)
    slots: InputSlots = field(default_factory=InputSlots)

    async def read_inputs(
        self, owner: InputOwner, model: Model, params: Mapping[str, Any], raw_params: Mapping[str, Any]
    ) -> InputFiles:
        """Read the files of a request.

        `params` are the validated parameters; `raw_params` are the parameters as given and hold the files.
        Raises InvalidRequest, and RateLimited if too many files of the account wait to be read.
        """
        params_with_keys = dict(params)
        files: dict[str, InputFile] = {}
        first_files: dict[str, InputFile] = {}
        warnings: dict[str, None] = {}
        transparent: list[ImagePlace] = []
        checked = await self._check_files(owner, model, params, raw_params)
        for name, values in checked.items():
            names = _item_names(name, raw_params[name])
            read = await _run_all(
                self._decode_file(owner, model, name, value, param)
                for value, param in zip(values, names, strict=True)
            )
            warnings |= dict.fromkeys(_scaling_warnings(model, name, values, read))
            files |= {input_object_key(file): file for file in read}
            params_with_keys[name] = (
                [input_object_key(file) for file in read]
                if isinstance(raw_params[name], list | tuple)
                else input_object_key(read[0])
            )
            first_files[name] = read[0]
            transparent += [(name, place) for place, file in enumerate(read) if _is_transparent(file)]
            warnings |= dict.fromkeys((*_dataset_warnings(name, read), *warn_of_animations(name, read)))
        images = {name: file for name, file in first_files.items() if isinstance(file, InputImage)}
        check_mask(images.get("image"), images.get("mask"), params_with_keys)
        check_area_to_edit(model, images)
        videos = (file for file in first_files.values() if isinstance(file, InputVideo))
        main = images.get("image") or next(iter(images.values()), None)
        return InputFiles(
            params=params_with_keys,
            files_by_key=files,
            captions={
                name: file.captions for name, file in first_files.items() if isinstance(file, InputDataset)
            },
            main_image_size=(main.width, main.height) if main else None,
            video=next(videos, None),
            warnings=tuple(warnings),
            transparent=tuple(transparent),
        )

    async def find_transparency(self, owner: InputOwner, image: str | bytes) -> tuple[str | bytes, bool]:
        """Return the image, fetched if it is a URL, and whether it has transparent pixels.

        Raises InvalidRequest, and RateLimited if too many files of the account wait to be read.
        """
        async with self._download_slot(owner, InputKind.IMAGE, image):
            fetched = await fetch_image(image, limits=self.image_limits, fetch=self.url_fetcher.fetch)
        inspected = await inspect_image(fetched, limits=self.image_limits)
        if inspected.content_type == "image/jpeg":
            return fetched, False
        async with self.slots.decode(owner, InputKind.IMAGE):
            return fetched, (await run_to_end(decode_inspected_image(inspected))).is_transparent

    async def _check_files(
        self, owner: InputOwner, model: Model, params: Mapping[str, Any], raw_params: Mapping[str, Any]
    ) -> dict[str, list[CheckedFile]]:
        """Fetch the files of a request and check their headers; datasets are decoded last."""
        checked: dict[str, list[CheckedFile]] = {}
        given = [name for name in model.file_inputs if params.get(name)]
        decoded_last = VideoParameter | AudioParameter | DatasetParameter
        for name in sorted(given, key=lambda name: isinstance(model.parameters[name], decoded_last)):
            raw = raw_params[name]
            values = raw if isinstance(raw, list | tuple) else [raw]
            checked[name] = await _run_all(
                self._check_file(owner, model, name, value, param)
                for value, param in zip(values, _item_names(name, raw), strict=True)
            )
        first = {name: checked[name][0] for name in ("image", "mask") if name in checked}
        check_mask_size(first.get("image"), first.get("mask"))
        return {name: checked[name] for name in given}

    async def _check_file(
        self, owner: InputOwner, model: Model, name: str, value: str | bytes, param: str
    ) -> CheckedFile:
        """Fetch a file and check its headers; errors name `param`, an item of `name` if that is a list."""
        spec = model.parameters[name]
        if isinstance(spec, VideoParameter):
            return await self._read_video(owner, spec, param, value)
        if isinstance(spec, AudioParameter):
            return await self._read_audio(owner, spec, param, value)
        if isinstance(spec, DatasetParameter):
            return await self._read_dataset(owner, spec, param, value)
        async with self._download_slot(owner, InputKind.IMAGE, value):
            image = await inspect_image(
                value, limits=self.image_limits, param=param, fetch=self.url_fetcher.fetch
            )
        model.limit_image_size(image.width, image.height, name, field=param)
        return image

    async def _read_video(
        self, owner: InputOwner, spec: VideoParameter, name: str, value: str | bytes
    ) -> InputVideo:
        fetch = partial(self.url_fetcher.fetch, timeout_seconds=self.dataset_timeout_seconds)
        async with self._download_slot(owner, InputKind.VIDEO, value):
            video = await read_video(
                value,
                limits=self.video_limits,
                param=name,
                fetch=fetch,
                probe_slot=self.slots.decode(owner, InputKind.VIDEO),
            )
        spec.validate_video(name, Size(video.width, video.height), video.seconds)
        return video

    async def _read_audio(
        self, owner: InputOwner, spec: AudioParameter, name: str, value: str | bytes
    ) -> InputAudio:
        fetch = partial(self.url_fetcher.fetch, timeout_seconds=self.dataset_timeout_seconds)
        async with self._download_slot(owner, InputKind.VIDEO, value):
            audio = await read_audio(
                value,
                max_bytes=self.video_limits.max_bytes,
                param=name,
                fetch=fetch,
                probe_slot=self.slots.decode(owner, InputKind.VIDEO),
            )
        spec.validate_seconds(name, audio.seconds)
        return audio

    async def _read_dataset(
        self, owner: InputOwner, spec: DatasetParameter, name: str, value: str | bytes
    ) -> InputDataset:
        fetch = partial(self.url_fetcher.fetch, timeout_seconds=self.dataset_timeout_seconds)
        async with self._download_slot(owner, InputKind.DATASET, value):
            return await read_dataset(
                value,
                limits=self.dataset_limits,
                param=name,
                fetch=fetch,
                check_count=partial(spec.validate_image_count, name),
                decoder_slot=self.slots.decode(owner, InputKind.DATASET),
            )

    def _download_slot(
        self, owner: InputOwner, kind: InputKind, value: str | bytes
    ) -> AbstractAsyncContextManager[None]:
        """Return the slot that a file holds until it is downloaded; files in the request need none."""
        return self.slots.download(owner, kind) if is_url(value) else nullcontext()

    async def _decode_file(
        self, owner: InputOwner, model: Model, name: str, file: CheckedFile, param: str
    ) -> InputFile:
        """Decode an image, and scale it down to the largest size that the model takes."""
        if not isinstance(file, InspectedImage):
            return file
        async with self.slots.decode(owner, InputKind.IMAGE):
            image = await run_to_end(decode_inspected_image(file, param=param))
            size = model.limit_image_size(image.width, image.height, name, field=param)
            scaled = await run_to_end(transform_input_image(lambda: scale_image(image, size)))
            return replace(scaled, is_animated=image.is_animated)


async def _run_all(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results in order. If one fails, end the others, whose downloads would go on for nothing."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as errors:
        # Not `except*`: up to Python 3.11.3, what is raised there is raised in a group.
        rejected, others = errors.split(ServiceError)
        if rejected is None or others is not None:
            raise
        raise rejected.exceptions[0] from None
    return [task.result() for task in tasks]


def _item_names(name: str, raw: Any) -> list[str]:
    """Return the names in errors of the files that a parameter has."""
    return [item_name(name, index) for index in range(len(raw))] if isinstance(raw, list | tuple) else [name]


def _scaling_warnings(
    model: Model,
    name: str,
    checked: Iterable[CheckedFile],
    read: Iterable[InputFile],
) -> Iterator[str]:
    for before, after in zip(checked, read, strict=True):
        if isinstance(before, InspectedImage) and isinstance(after, InputImage):
            old, new = (before.width, before.height), (after.width, after.height)
            if old != new:
                yield (
                    f"`{name}` was scaled down from {old[0]}x{old[1]} to {new[0]}x{new[1]} pixels,"
                    f" the largest size that {model.id} takes"
                )


def _dataset_warnings(name: str, read: Iterable[InputFile]) -> Iterator[str]:
    for file in read:
        if isinstance(file, InputDataset):
            yield from (f"`{name}`: {sentence}" for sentence in file.unused)


def _is_transparent(file: InputFile) -> bool:
    return isinstance(file, InputImage) and file.is_transparent


def warn_of_animations(name: str, read: Iterable[InputFile]) -> Iterator[str]:
    """Yield a sentence for each animation of which only the first frame is used."""
    for file in read:
        if isinstance(file, InputImage) and file.is_animated:
            yield f"`{name}` is an animation, of which only the first frame is used"


def input_object_key(file: InputFile) -> str:
    """Return the key of a file's content. The job that stores the file gives it a key of its own."""
    return content_addressed_key("inputs", file.sha256, file.content_type.rpartition("/")[2])


def check_mask_size(image: object, mask: object) -> None:
    """Check that a mask is as large as the image. Raises InvalidRequest."""
    if not isinstance(image, InspectedImage) or not isinstance(mask, InspectedImage):
        return
    if (mask.width, mask.height) != (image.width, image.height):
        sizes = f"{image.width}x{image.height} pixels (got {mask.width}x{mask.height})"
        raise invalid_field("mask", f"must be as large as `image`: {sizes}")


def check_area_to_edit(model: Model, images: Mapping[str, InputImage]) -> None:
    """Check that a model which replaces a marked area gets one. Raises InvalidRequest (`missing_mask`)."""
    spec, image = model.parameters.get("mask"), images.get("image")
    replaces_area = isinstance(spec, ImageParameter) and spec.canvas
    if replaces_area and image is not None and "mask" not in images and not image.is_transparent:
        raise InvalidRequest(
            f"Model {model.id} needs a `mask`, or an `image` with transparent pixels;"
            " they mark the area to edit",
            code="missing_mask",
            param="mask",
        )


def check_mask(image: InputImage | None, mask: InputImage | None, params: Mapping[str, Any]) -> None:
    """Check that a mask marks an area. Raises InvalidRequest."""
    if image is None or mask is None:
        return
    if params.get(MASK_CHANNEL_PARAM, ALPHA_CHANNEL) == ALPHA_CHANNEL:
        if not mask.is_transparent:
            other = " (with `mask_channel` red, white ones do)" if MASK_CHANNEL_PARAM in params else ""
            raise invalid_field("mask", f"must contain transparent pixels; they mark the area to edit{other}")
    elif mask.most_red == 0:
        raise invalid_field("mask", "must contain white pixels; they mark the area to edit (it is all black)")
