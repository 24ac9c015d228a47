"""Download the missing files of a plan, several at a time, and make those that are made from others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.catalog import WeightFile
from orchestrator.weights.download import WeightDownloader
from orchestrator.weights.errors import WeightError
from orchestrator.weights.pins import PinnedChecksums
from orchestrator.weights.planning import DownloadPlan, PlannedFile, WeightFileState

#: `quantize(weight, source, target, on_progress)` makes a row's file and returns its SHA-256; `on_progress`
#: receives the bytes of the source that are done, and all. Raises WeightError, OSError.
QuantizeFile = Callable[[WeightFile, Path, Path, Callable[[int, int], None]], str]


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

    found = await asyncio.gather(*(download_one(file) for file in plan.missing_downloads))
    return [failure for failure in found if failure]


def make_missing(
    plan: DownloadPlan, quantize: QuantizeFile, reporter: DownloadReporter
) -> Sequence[DownloadFailure]:
    """Make the plan's missing files from the sources that were downloaded, and return the failures.

    A file that was made is pinned by its checksum. What was interrupted goes on where it stopped.
    """
    pins = PinnedChecksums(plan.models_dir)
    failures = []
    for file in plan.missing_made:
        reporter.on_start(file)
        reason = None
        try:
            pins.add(file.path, _make(plan, file, quantize, reporter))
        except (WeightError, OSError) as error:
            reason = str(error)
            failures.append(DownloadFailure(file=file, reason=reason))
        reporter.on_finish(file, reason)
    return failures


def _make(plan: DownloadPlan, file: PlannedFile, quantize: QuantizeFile, reporter: DownloadReporter) -> str:
    if file.weight.source is None:
        raise WeightError("the manifest does not say what it is made from")
    source = plan.models_dir / file.weight.source.path
    if not source.is_file():
        raise WeightError(f"it is made from {file.weight.source.path}, which was not downloaded")

    def on_progress(done: int, total: int) -> None:
        # The bar counts bytes of the new file.
        reporter.on_progress(file, file.weight.bytes * done // max(total, 1))

    return quantize(file.weight, source, plan.models_dir / file.path, on_progress)


def remove_sources(plan: DownloadPlan, still_used: Collection[str]) -> list[str]:
    """Delete the sources of made files that are complete, and return their paths. Raises OSError.

    Files in `still_used`, paths that models load, are kept.
    """
    removed = []
    for file in plan.files:
        source = file.weight.source
        if source is None or source.path in still_used or not (plan.models_dir / file.path).is_file():
            continue
        if (plan.models_dir / source.path).is_file():
            (plan.models_dir / source.path).unlink()
            removed.append(source.path)
    return removed
