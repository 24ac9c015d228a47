"""Download the missing files of a plan, several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.weights.download import WeightDownloader
from orchestrator.weights.errors import WeightError
from orchestrator.weights.pins import PinnedChecksums
from orchestrator.weights.planning import DownloadPlan, PlannedFile, WeightFileState


class DownloadReporter(Protocol):
    """Shows the progress of downloads."""

    def on_start(self, file: PlannedFile) -> None:
        """Report that the download of a file starts."""

    def on_progress(self, file: PlannedFile, count: int) -> None:
        """Report the number of bytes downloaded so far."""

    def on_finish(self, file: PlannedFile, reason: str | None) -> None:
        """Report that a file is complete, or that it failed for `reason`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadFailure:
    """A file that could not be downloaded."""

    file: PlannedFile
    reason: str


async def download_missing(
    plan: DownloadPlan,
    downloader: WeightDownloader,
    reporter: DownloadReporter,
    *,
    parallel: int,
    replace: bool = False,
) -> Sequence[DownloadFailure]:
    """Download the plan's missing files, `parallel` at a time, and return the failures.

    A file of another size than expected is only overwritten if `replace`. A failed file does not stop the
    others. Raises InsufficientDiskSpace before anything is downloaded, WeightError, OSError.
    """
    plan.check_space()
    plan.models_dir.mkdir(parents=True, exist_ok=True)
    pins = PinnedChecksums(plan.models_dir)
    slots = asyncio.Semaphore(parallel)

    async def download_one(file: PlannedFile) -> DownloadFailure | None:
        async with slots:
            reporter.on_start(file)
            reason = await try_download(file)
            reporter.on_finish(file, reason)
            return DownloadFailure(file=file, reason=reason) if reason else None

    async def try_download(file: PlannedFile) -> str | None:
        if file.state is WeightFileState.WRONG_SIZE and not replace:
            return "a file of another size exists; overwrite it with --replace"
        weight, target = file.weight, plan.models_dir / file.path
        try:
            sha = await downloader.download(
                weight, target, pins.get(weight.path), lambda count: reporter.on_progress(file, count)
            )
        except (WeightError, OSError) as error:
            return str(error)
        if not weight.sha256:
            pins.add(weight.path, sha)
        return None

    found = await asyncio.gather(*(download_one(file) for file in plan.missing_files))
    return [failure for failure in found if failure]
