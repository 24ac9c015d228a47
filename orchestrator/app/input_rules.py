"""Builds the checks of inputs and outputs from the settings: downloads, sizes, moderation, output check."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from orchestrator.catalog.rendering.output_check import OutputCheck
from orchestrator.execution.results.result_links import ResultLinks
from orchestrator.intake.input_reader import InputReader
from orchestrator.intake.uploaded_files import UPLOAD_PREFIX, UploadedFiles
from orchestrator.media.inputs.datasets import DatasetLimits
from orchestrator.media.inputs.input_images import ImageLimits
from orchestrator.media.inputs.input_videos import VideoLimits
from orchestrator.moderation import (
    Moderation,
    ModerationEndpoint,
    ModerationEndpointConfig,
    ModerationPolicy,
    WordListError,
    WordListPolicy,
)
from orchestrator.net.downloads import FetchPolicy, UrlFetcher
from orchestrator.settings import Settings, SettingsError
from orchestrator.storage.object_store import ObjectStore


def build_fetch_policy(
    settings: Settings, object_store: ObjectStore, links: ResultLinks, uploads: UploadedFiles
) -> FetchPolicy:
    """Return the policy for input URLs: public addresses, and files of the service itself at any address."""

    async def presign_own(url: str) -> str | None:
        return await links.presign_own(url) or await uploads.presign_own(url)

    return FetchPolicy(
        allow_private=settings.allow_private_urls,
        timeout_seconds=settings.input_url_seconds,
        own_url_prefixes=tuple(map(object_store.presigned_url_prefix, ("outputs/", UPLOAD_PREFIX))),
        presign_own=presign_own,
    )


def build_input_reader(settings: Settings, url_fetcher: UrlFetcher) -> InputReader:
    """Return the reader of input files with the configured limits."""
    images = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    datasets = DatasetLimits(
        max_bytes=settings.max_dataset_bytes, max_images=settings.max_dataset_pictures, image_limits=images
    )
    return InputReader(
        image_limits=images,
        dataset_limits=datasets,
        video_limits=VideoLimits(max_bytes=settings.max_dataset_bytes),
        url_fetcher=url_fetcher,
        dataset_timeout_seconds=settings.dataset_url_seconds,
    )


async def open_moderation(settings: Settings, stack: AsyncExitStack) -> Moderation:
    """Return the configured moderation policies; `stack` closes them. Raises SettingsError."""
    policies: list[ModerationPolicy] = []
    if settings.moderation_file:
        policies.append(_load_word_lists(settings.moderation_file))
    if settings.moderation_url:
        key = settings.moderation_key
        config = ModerationEndpointConfig(
            url=settings.moderation_url,
            api_key=key.get_secret_value() if key else None,
            model=settings.moderation_model,
            timeout_seconds=settings.moderation_seconds,
            fail_open=settings.moderation_fail_open,
        )
        policies.append(await stack.enter_async_context(ModerationEndpoint(config)))
    return Moderation(policies)


def build_output_check(settings: Settings) -> OutputCheck | None:
    """Return the check of every image before it is saved; None if none is configured."""
    if settings.output_check is None:
        return None
    return OutputCheck(
        classifier=settings.output_check,
        labels=settings.output_check_labels,
        threshold=settings.output_check_threshold,
    )


def _load_word_lists(file: Path) -> WordListPolicy:
    try:
        return WordListPolicy.load(file)
    except WordListError as error:
        raise SettingsError(f"PIXELFACTORY_MODERATION_FILE: {error}") from error
