"""What an API process knows of scheduler and fleet: a copy that the scheduler keeps current."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from time import monotonic

from comfy_instances.fleet.protocol import InstanceInfo
from orchestrator.catalog import Model
from orchestrator.execution.live.messages import FleetSnapshot
from orchestrator.execution.scheduler.wait_estimator import WaitEstimate

#: How long what was known of the fleet is believed after the connection was lost, in seconds: a standby leads
#: after a few seconds, and instances go on meanwhile.
BELIEVED_SECONDS = 30.0


class FleetMirror:
    """Implements what routes and LoRAs need of a fleet, and of the scheduler."""

    def __init__(
        self,
        read_architectures: Callable[[list[str]], Awaitable[dict[str, tuple[str, ...]]]],
        on_read: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`read_architectures` asks the scheduler which base architectures shared LoRAs fit.

        `on_read` is called with the id of a job whose waiting time is read.
        """
        self._read_architectures = read_architectures
        self._on_read = on_read
        self._snapshot = FleetSnapshot()
        self._current_until = 0.0
        self._estimates: dict[str, WaitEstimate | None] = {}

    def update(self, snapshot: FleetSnapshot) -> None:
        """Replace what is known."""
        self._snapshot, self._current_until = snapshot, float("inf")

    def mark_disconnected(self) -> None:
        """Nothing new comes for now."""
        self._current_until = min(self._current_until, monotonic() + BELIEVED_SECONDS)
        self._estimates.clear()

    def set_estimate(self, job_id: str, estimate: WaitEstimate | None) -> None:
        """Keep the waiting time of a job that a caller follows; None forgets it."""
        if estimate is None:
            self._estimates.pop(job_id, None)
        else:
            self._estimates[job_id] = estimate

    def keep_estimates(self, job_ids: frozenset[str]) -> None:
        """Forget the waiting times of all other jobs."""
        self._estimates = {id: found for id, found in self._estimates.items() if id in job_ids}

    @property
    def _known(self) -> FleetSnapshot:
        return self._snapshot if monotonic() < self._current_until else FleetSnapshot()

    def instances(self) -> list[InstanceInfo]:
        """Return all instances as last reported."""
        return [one.info for one in self._known.instances]

    def expects_instance(self, now: float) -> bool:
        """Whether an instance is available, or returns shortly by itself."""
        return self._known.expects_instance

    def expects_to_serve(self, model: str) -> bool:
        """Whether one of these instances can run the model."""
        return model in self._known.expected_models

    def estimate_job_wait(self, job_id: str, now: float) -> WaitEstimate | None:
        """Return the estimate for a followed job."""
        self._on_read(job_id)
        return self._estimates.get(job_id)

    def names(self) -> list[str]:
        """Return the names of all shared LoRAs, sorted."""
        return sorted({name for one in self._known.instances for name in one.loras or ()})

    def names_by_instance(self, model: Model) -> list[frozenset[str]] | None:
        """Return what each instance lists that can run the model; None while no instance is known."""
        known = [one for one in self._known.instances if one.loras is not None]
        if not known:
            return None
        return [one.loras or frozenset() for one in known if model.id in one.models]

    async def read_architectures(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the base architectures that each LoRA fits by the header of its file."""
        wanted = sorted(set(names) & set(self.names()))
        return await self._read_architectures(wanted) if wanted else {}
