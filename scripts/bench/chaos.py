"""Runs a campaign of operations and faults against the service, and audits what it left.

    .venv/bin/python -m scripts.bench.chaos [--operations 10000] [--faults 500] [--seed 1] [--quick] [--roles]

Callers of four accounts use every dialect while instances, the orchestrator, the S3 server and the webhook
receiver are killed and stopped, a small file system fills up and the clock moves. Afterwards an auditor
compares what callers were told with database, bucket, ledger and webhooks. The exit status is 1 if anything
differs. With `--roles` the service is several processes on PostgreSQL, whose faults are those of its parts.
The plan (kinds and order) follows from the seed; the timing is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from scripts.bench.campaign.auditor import Auditor, Violation, summarise
from scripts.bench.campaign.caller import Caller
from scripts.bench.campaign.external import ExternalFleet
from scripts.bench.campaign.faults import FAULTS, QUICK_FAULTS, FaultInjector, draw_faults
from scripts.bench.campaign.observations import Observation, Outcome
from scripts.bench.campaign.operations import OPERATIONS, draw_operations
from scripts.bench.campaign.rig import Rig
from scripts.bench.campaign.role_faults import RoleFaultInjector
from scripts.bench.campaign.roles import RoleRig
from scripts.bench.report import save_results

TMPFS_BYTES = 700 * 10**6
REST_SECONDS = 240.0
SETTLE_SECONDS = 20.0
#: How many faults may be behind the operations.
FAULTS_BEHIND = 3
#: Outcomes whose reasons the table lists.
TOLD_WHY = (Outcome.FAILED, Outcome.REFUSED, Outcome.LOST, Outcome.STUCK)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=12, help="operations at the same time")
    parser.add_argument("--time-scale", type=float, default=0.05, help="of the simulated instances")
    parser.add_argument(
        "--comfyui",
        type=Path,
        metavar="DIR",
        help="folder of an installed ComfyUI: adopt it and three simulators instead of supervising three",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="copy of the service's log")
    parser.add_argument("--keep", type=Path, help="directory for data and log, kept afterwards")
    parser.add_argument("--quick", action="store_true", help="120 operations and 24 faults; saves no result")
    parser.add_argument("--roles", action="store_true", help="run the roles as processes of their own")
    options = parser.parse_args()
    operations, faults = (120, 24) if options.quick else (options.operations, options.faults)
    with campaign_directory(options.keep, fills_disk=not options.roles) as (directory, tmpfs):
        external = None
        if options.comfyui or options.roles:
            external = ExternalFleet(directory / "instances", options.comfyui, options.time_scale)
        rig = (RoleRig if options.roles else Rig)(directory, options.time_scale, external)
        campaign = Campaign(rig, options.seed, options.concurrency, tmpfs)
        violations = asyncio.run(campaign.run(operations, faults, quick=options.quick))
        if options.log:
            options.log.write_text(rig.read_log())
    campaign.print_table(violations)
    if not options.quick:
        save_results("chaos_roles" if options.roles else "chaos", campaign.result(violations))
    sys.exit(1 if violations else 0)


@contextmanager
def campaign_directory(kept: Path | None, *, fills_disk: bool) -> Iterator[tuple[Path, Path | None]]:
    """Yield the directory of the campaign, and the small file system that it is on, if one can be mounted."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        directory = kept or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        mounted = fills_disk and not kept and os.geteuid() == 0 and _mount_tmpfs(directory)
        try:
            yield directory, directory if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", "-l", str(directory)], check=False)


def _mount_tmpfs(directory: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(directory)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


class Campaign:
    """One run: callers and faults side by side, then rest, then the audit."""

    def __init__(self, rig: Rig, seed: int, concurrency: int, tmpfs: Path | None) -> None:
        self._rig, self._seed, self._concurrency, self._tmpfs = rig, seed, concurrency, tmpfs
        self._seen: list[Observation] = []
        self._faults: Counter[str] = Counter()
        self._missed = 0
        self._seconds = 0.0
        #: Faults per operation.
        self._fault_rate = 0.0

    async def run(self, operations: int, faults: int, *, quick: bool = False) -> list[Violation]:
        rng = random.Random(self._seed)
        kinds = draw_operations(operations, rng)
        fault_kinds = draw_faults(faults, rng, self._list_faults(quick=quick))
        self._fault_rate = faults / operations
        started = time.monotonic()
        self._rig.directory.mkdir(parents=True, exist_ok=True)
        self._rig.shift_clock(0)
        await self._rig.receiver.start()
        if self._rig.external is not None:
            await self._rig.external.start()
        await self._rig.start()
        try:
            await self._rig.create_accounts()
            injector = self._injector()
            callers = asyncio.create_task(self._run_callers(kinds, rng))
            await self._run_faults(injector, fault_kinds, callers)
            await callers
            await injector.end()
            self._missed = injector.missed
            await self._wait_for_rest()
            violations = await Auditor(self._rig, self._seen).audit()
        finally:
            await self._rig.stop(signal.SIGTERM)
            await self._rig.receiver.stop()
            if self._rig.external is not None:
                await self._rig.external.stop()
        self._seconds = time.monotonic() - started
        return violations

    def _list_faults(self, *, quick: bool) -> Sequence[str]:
        if isinstance(self._rig, RoleRig):
            return tuple(RoleFaultInjector.faults)
        return QUICK_FAULTS if quick else FAULTS

    def _injector(self) -> FaultInjector:
        rng = random.Random(self._seed + 1)
        if isinstance(self._rig, RoleRig):
            return RoleFaultInjector(self._rig, rng, self._tmpfs)
        return FaultInjector(self._rig, rng, self._tmpfs)

    async def _run_callers(self, kinds: Sequence[str], rng: random.Random) -> None:
        queue = list(enumerate(kinds))
        queue.reverse()
        callers = [Caller(self._rig, account, random.Random(rng.random())) for account in self._rig.accounts]

        async def work(caller: Caller) -> None:
            while queue:
                # The faults are spread over all operations, however fast these are.
                if queue[-1][0] * self._fault_rate > self._faults.total() + FAULTS_BEHIND:
                    await asyncio.sleep(0.05)
                    continue
                number, kind = queue.pop()
                self._seen.append(await caller.run(number, OPERATIONS[kind]))

        await asyncio.gather(*(work(callers[index % len(callers)]) for index in range(self._concurrency)))

    async def _run_faults(
        self, injector: FaultInjector, kinds: Sequence[str], callers: asyncio.Task[None]
    ) -> None:
        """Spread the faults evenly over the operations, and inject none after the last operation."""
        rng = random.Random(self._seed + 2)
        for kind in kinds:
            if callers.done():
                break
            await asyncio.sleep(rng.uniform(0.1, 1.5))
            await injector.inject(kind)
            self._faults[kind] += 1

    async def _wait_for_rest(self) -> None:
        """Wait until no job is unfinished and the fleet is ready, or for REST_SECONDS."""
        deadline = time.monotonic() + REST_SECONDS
        while time.monotonic() < deadline:
            rows = (await self._rig.admin("/admin/v1/instances"))["instances"]
            if all(row["state"] == "ready" for row in rows) and not self._rig.count_unfinished():
                break
            await asyncio.sleep(0.5)
        # What nobody needs is removed and refunded after the times in the rig's settings.
        await asyncio.sleep(SETTLE_SECONDS)

    def result(self, violations: Sequence[Violation]) -> dict[str, object]:
        outcomes: dict[str, Counter[str]] = {}
        for seen in self._seen:
            outcomes.setdefault(seen.kind, Counter())[seen.outcome.value] += 1
        return {
            "seed": self._seed,
            "operations": len(self._seen),
            "faults": dict(self._faults),
            "faults_without_target": self._missed,
            "roles": isinstance(self._rig, RoleRig),
            "real_comfyui": self._rig.external is not None and self._rig.external.comfyui is not None,
            "disk_was_filled": self._tmpfs is not None,
            "service_starts": self._rig.starts,
            "seconds": round(self._seconds),
            "outcomes": {kind: dict(found) for kind, found in sorted(outcomes.items())},
            "violations": summarise(violations),
            "examples": [asdict(violation) for violation in violations[:20]],
        }

    def print_table(self, violations: Sequence[Violation]) -> None:
        columns = list(Outcome)
        print(
            f"seed {self._seed}: {len(self._seen)} operations, {sum(self._faults.values())} faults,", end=" "
        )
        print(f"{self._rig.starts} starts of the service, {self._seconds:.0f} s")
        print(f"{'operation':16}" + "".join(f"{column.value:>11}" for column in columns))
        for kind in sorted({seen.kind for seen in self._seen}):
            counts = Counter(seen.outcome for seen in self._seen if seen.kind == kind)
            print(f"{kind:16}" + "".join(f"{counts[column] or '':>11}" for column in columns))
        refused = Counter(f"{seen.kind}: {seen.detail}" for seen in self._seen if seen.outcome in TOLD_WHY)
        for reason, count in refused.most_common(20):
            print(f"{count:5} x {reason}")
        print("faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(self._faults.items())))
        if self._tmpfs is None and not isinstance(self._rig, RoleRig):
            print("the disk was not filled: mounting a tmpfs needs root")
        for rule, count in summarise(violations).items():
            print(f"VIOLATED {count:5} x {rule}")
        for violation in violations[:40]:
            print(f"  {violation.rule}: {violation.subject} {violation.detail}")
        print("nothing lost" if not violations else f"{len(violations)} violations")


if __name__ == "__main__":
    main()
