"""Several files at once, as far as they are lacking."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.weights.download import Downloader
from orchestrator.weights.errors import WeightError
from orchestrator.weights.pins import Pins
from orchestrator.weights.planning import Plan, PlannedFile, State


class Reporter(Protocol):
    """Who shows the progress."""

    def begins(self, file: PlannedFile) -> None: ...

    def has(self, file: PlannedFile, count: int) -> None:
        """So many bytes of it are there."""

    def ends(self, file: PlannedFile, reason: str | None) -> None:
        """It is in its place, or `reason` says why not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    file: PlannedFile
    reason: str


async def pull(
    plan: Plan, downloader: Downloader, reporter: Reporter, *, parallel: int, replace: bool = False
) -> Sequence[Failure]:
    """Fetches what the plan lacks, `parallel` files at a time; what could not be had.

    A file of another size than expected is only overwritten where `replace` says so. One that fails keeps
    none of the others. Raises NoSpace before anything is fetched, WeightError, OSError.
    """
    plan.check_space()
    plan.models_dir.mkdir(parents=True, exist_ok=True)
    pins = Pins(plan.models_dir)
    slots = asyncio.Semaphore(parallel)

    async def one(file: PlannedFile) -> Failure | None:
        async with slots:
            reporter.begins(file)
            reason = await _reason(file)
            reporter.ends(file, reason)
            return Failure(file=file, reason=reason) if reason else None

    async def _reason(file: PlannedFile) -> str | None:
        if file.state is State.WRONG and not replace:
            return "there is such a file of another size; `--replace` overwrites it"
        weight, target = file.weight, plan.models_dir / file.path
        try:
            sha = await downloader.fetch(
                weight, target, pins.get(weight.path), lambda count: reporter.has(file, count)
            )
        except (WeightError, OSError) as error:
            return str(error)
        if not weight.sha256:
            pins.add(weight.path, sha)
        return None

    found = await asyncio.gather(*(one(file) for file in plan.lacking))
    return [failure for failure in found if failure]
