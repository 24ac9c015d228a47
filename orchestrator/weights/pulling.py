"""Several files at once, as far as they are lacking."""

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
    """Who shows the progress."""

    def on_start(self, file: PlannedFile) -> None: ...

    def on_progress(self, file: PlannedFile, count: int) -> None:
        """So many bytes of it are there."""

    def on_finish(self, file: PlannedFile, reason: str | None) -> None:
        """It is in its place, or `reason` says why not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadFailure:
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
    """Fetches what the plan lacks, `parallel` files at a time; what could not be had.

    A file of another size than expected is only overwritten where `replace` says so. One that fails keeps
    none of the others. Raises InsufficientDiskSpace before anything is fetched, WeightError, OSError.
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
            return "there is such a file of another size; `--replace` overwrites it"
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
