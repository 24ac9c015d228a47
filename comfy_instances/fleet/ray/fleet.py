"""A fleet of instances on the nodes of a Ray cluster.

Ray is asked which actors there are and where their agents listen. From then on the service talks to the
agents directly, also while Ray is unreachable. Actors are detached: they go on when the service ends, and the
next process finds them by their names, with the prompts that they run.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp

from comfy_instances.backoff import backoff_delay
from comfy_instances.fleet.fleet_base import FleetMember, InstanceChanges, lost
from comfy_instances.fleet.health import HealthReport
from comfy_instances.fleet.monitored import MonitoredFleet, version_note
from comfy_instances.fleet.protocol import FleetError, InstanceInfo, InstanceState
from comfy_instances.fleet.ray.connection import Cluster, RayUnavailable
from comfy_instances.fleet.ray.demand import ANY_CARD, Capacity, CapacityPlanner, WaitingWork
from comfy_instances.fleet.ray.options import RayFleetOptions, WantedWeights
from comfy_instances.fleet.ray.placement import (
    Changes,
    PlacedActor,
    PlacementRules,
    card_mismatch,
    plan_changes,
)
from comfy_instances.fleet.ray.remote import (
    AgentClient,
    RemoteInstance,
    ignore_gone,
    load_reports,
    save_reports,
)
from comfy_instances.fleet.ray.values import AgentReport, AgentStatus, ClusterState, RayNode
from comfy_instances.protocol.errors import InstanceError, InstanceGone
from comfy_instances.protocol.server_log import LogSpan
from comfy_instances.session.session import FileRef, InstanceSession, SessionSettings
from comfy_instances.tasks import keep_running, loop_time, spawn

log = logging.getLogger(__name__)
#: Longest pause between two tries to reach Ray, in seconds.
MAX_RECONNECT_SECONDS = 30.0


class RayFleet(MonitoredFleet):
    """One instance for each actor of the namespace. Instances come and go."""

    def __init__(
        self, cluster: Cluster, options: RayFleetOptions, wanted_weights: WantedWeights | None = None
    ) -> None:
        super().__init__(
            (),
            probe_seconds=options.probe_seconds,
            poll_seconds=options.poll_seconds,
            file_refresh_seconds=options.file_refresh_seconds,
        )
        self._cluster = cluster
        self._options = options
        self.wanted_weights = wanted_weights
        self._remotes: dict[str, RemoteInstance] = {}
        #: Members of the past: what still refers to one finds an instance that is gone.
        self._former: dict[str, FleetMember] = {}
        self._nodes: Mapping[str, RayNode] = {}
        self._planner = CapacityPlanner(options.limits)
        self._capacity = Capacity({"": options.limits.min_instances})
        self._sent_bundles: list[dict[str, float]] | None = None
        self._looked = asyncio.Event()
        self._http: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        #: Agents that an earlier process of the service used.
        self._earlier = load_reports(options.state_file)
        for report in self._earlier:
            self._add_instance(report.name)

    async def start(self) -> None:
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        for report in self._earlier:
            await self._connect(self._remotes[report.name], report)
        spawn(keep_running(self._control, "ray control"), "ray control", group=self._tasks)
        try:
            # Attempts of an earlier process are looked for on their instances as soon as this returns.
            await asyncio.wait_for(self._looked.wait(), self._options.discovery_seconds)
        except TimeoutError:
            log.warning("Ray does not respond; using the %d instance(s) known before", len(self._remotes))

    async def prepare(self) -> None:
        """Connect to Ray, so that `start` takes seconds less."""
        with suppress(RayUnavailable):
            await self._cluster.get_state(())

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for remote in self._remotes.values():
            await self._disconnect(remote)
        await super().stop()
        await self._cluster.close()
        if self._http is not None:
            await self._http.close()

    def set_demand(self, waiting: Sequence[WaitingWork], busy: Mapping[str, int]) -> None:
        """Note the waiting work, and the number of busy instances by card. Without autoscaling, no effect."""
        self._capacity = self._planner.update(waiting, busy, loop_time())

    @property
    def follows_demand(self) -> bool:
        """Whether `set_demand` has an effect."""
        return self._options.autoscale

    def card(self, instance_id: str) -> str | None:
        """Return the name of an instance's card by its node's resources; None if unknown."""
        remote = self._remotes.get(instance_id)
        node = self._nodes.get(remote.report.node_id) if remote and remote.report else None
        return node.card if node else None

    async def restart(self, instance_id: str) -> None:
        self._get_member(instance_id)
        remote = self._remotes.get(instance_id)
        if remote is None or remote.agent is None or remote.report is None:
            raise FleetError(f"{instance_id} cannot be restarted: its agent has not been found yet")
        agent, report = remote.agent, remote.report
        # Its prompts are not the cause of what follows.
        if remote.session is not None:
            self.set_session(instance_id, None)
            await remote.session.close(self_inflicted=True)
        try:
            await agent.restart()
        except InstanceGone as error:
            raise FleetError(f"{instance_id} cannot be restarted: {error.message}") from error
        finally:
            await self._connect(remote, report)

    def record_failure(self, instance_id: str) -> None:
        self._get_member(instance_id)
        remote = self._remotes.get(instance_id)
        if remote is not None and remote.agent is not None:
            request = ignore_gone(remote.agent.record_failure())
            spawn(request, "failure record", instance_id, group=self._tasks)

    async def _read_log(self, instance_id: str, lines: int, period: LogSpan | None) -> list[str]:
        return await self._require_agent(instance_id).log_tail(lines, period)

    async def delete_files(self, instance_id: str, files: Sequence[FileRef]) -> None:
        self._get_member(instance_id)
        if files:
            await self._require_agent(instance_id).delete_files(files)

    def _require_agent(self, instance_id: str) -> AgentClient:
        remote = self._remotes.get(instance_id)
        if remote is None or remote.agent is None:
            raise InstanceGone(f"instance {instance_id} is not reachable")
        return remote.agent

    def _get_member(self, instance_id: str) -> FleetMember:
        if instance_id not in self._members and instance_id in self._former:
            return self._former[instance_id]
        return super()._get_member(instance_id)

    async def _control(self) -> None:
        failures = 0
        while True:
            try:
                await self._look()
                failures = 0
            except RayUnavailable as error:
                failures += 1
                # A new head knows nothing of earlier requests.
                self._sent_bundles = None
                if failures == 1:
                    log.warning("%s; instances go on working", error)
            pause = self._options.control_seconds
            await asyncio.sleep(backoff_delay(failures, pause, MAX_RECONNECT_SECONDS) if failures else pause)

    async def _look(self) -> None:
        """Look at the cluster once, and take one step. Raises RayUnavailable."""
        state = await self._cluster.get_state([r.name for r in self._remotes.values() if r.is_connected])
        await self._apply_state(state)
        if not self._looked.is_set():
            present = Counter(self.card(name) or ANY_CARD for name in self._remotes)
            self._capacity = self._planner.seed(present, loop_time())
        try:
            await self._apply_changes(self._plan(state))
            await self._send_bundles()
        finally:
            self._looked.set()

    async def _apply_state(self, state: ClusterState) -> None:
        self._nodes = {node.id: node for node in state.nodes}
        for name in state.actors:
            self._add_instance(name)
        for remote in list(self._remotes.values()):
            report = state.reports.get(remote.name)
            if remote.name not in state.actors:
                await self._remove_instance(remote)
            elif report is not None and report != remote.report:
                await self._connect(remote, report)
            elif remote.report is not None and remote.report.node_id not in self._nodes:
                # Connections to a node that is lost may stay open for long.
                await self._disconnect(remote)
                remote.report = None
                self.update_state(remote.name, InstanceState.DOWN, **lost("its node is lost"))
            waits = remote.report is None
            remote.waiting_since = (remote.waiting_since or loop_time()) if waits else None
        await self._save()

    def _plan(self, state: ClusterState) -> Changes:
        options, limits = self._options, self._options.limits
        weights = {
            remote.report.node_id: remote.status.weights
            for remote in self._remotes.values()
            if remote.report is not None and remote.status is not None
        }
        rules = PlacementRules(
            min_instances=limits.min_instances,
            max_instances=limits.max_instances,
            pending_seconds=options.pending_seconds,
            weights=weights,
        )
        actors = [self._to_placed(remote) for remote in self._remotes.values()]
        wanted = self._capacity if options.autoscale else None
        return plan_changes(state.nodes, actors, wanted, rules, loop_time())

    def _to_placed(self, remote: RemoteInstance) -> PlacedActor:
        settled = loop_time() - (self._options.settle_seconds if remote.is_leaving else 0.0)
        report = remote.report
        return PlacedActor(
            name=remote.name,
            node_id=None if report is None else report.node_id,
            is_idle=remote.idle_since is not None and remote.idle_since <= settled,
            is_outdated=report is not None and report.created_by != self._options.agent.created_by,
            is_leaving=remote.is_leaving,
            waiting_since=remote.waiting_since,
        )

    async def _apply_changes(self, changes: Changes) -> None:
        """Carry out a step. Raises RayUnavailable."""
        for new in changes.create:
            log.info("creating %s on node %s", new.name, new.node_id[:12])
            await self._cluster.create_actor(
                replace(self._options.agent, name=new.name), new.card, new.node_id
            )
            self._add_instance(new.name)
        for name in changes.drain:
            log.info("draining %s, to end it", name)
            self._remotes[name].is_leaving = True
            await self.drain(name)
        for name in changes.end:
            log.info("ending %s", name)
            await self._cluster.kill_actor(name)
            await self._remove_instance(self._remotes[name])

    async def _send_bundles(self) -> None:
        """Send changed requests to the autoscaler, or all of them to a new head. Raises RayUnavailable."""
        if not self._options.autoscale:
            return
        bundles = self._capacity.to_bundles()
        if bundles != self._sent_bundles:
            await self._cluster.request_bundles(bundles)
            self._sent_bundles = bundles

    async def _save(self) -> None:
        """Write the known agents to the file, if they are others than before."""
        reports = [remote.report for remote in self._remotes.values() if remote.report is not None]
        file = self._options.state_file
        if reports == self._earlier:
            return
        try:
            await asyncio.to_thread(save_reports, file, reports)
        except OSError as error:
            log.warning("cannot write %s: %s", file, error)
        else:
            self._earlier = reports

    def _add_instance(self, name: str) -> None:
        if name in self._remotes:
            return
        self._former.pop(name, None)
        info = InstanceInfo(
            id=name,
            url="",
            state=InstanceState.STARTING,
            simulated=self._options.agent.simulate,
            device="unknown",
            adopted=False,
            detail="waits for a node with a free GPU",
        )
        self._members[name] = FleetMember(info, info.state)
        self._remotes[name] = RemoteInstance(name, waiting_since=loop_time())

    async def _remove_instance(self, remote: RemoteInstance) -> None:
        await self._disconnect(remote)
        self.update_state(remote.name, InstanceState.FAILED, **lost("its actor has ended"))
        del self._remotes[remote.name]
        former = self._former[remote.name] = self._members.pop(remote.name)
        former.session = former.node_facts = None

    async def _connect(self, remote: RemoteInstance, report: AgentReport) -> None:
        """Monitor the instance at the address of a report, in place of an earlier one."""
        await self._disconnect(remote)
        assert self._http is not None
        remote.report, remote.agent = report, AgentClient(self._http, report)
        remote.session = InstanceSession(report.url, settings=SessionSettings(token=report.token))
        self.update_state(
            remote.name, InstanceState.STARTING, url=report.url, detail="its agent has been found"
        )
        remote.monitor = spawn(self._monitor(remote.name, remote.session), "instance watcher", remote.name)

    async def _disconnect(self, remote: RemoteInstance) -> None:
        if remote.monitor is not None:
            remote.monitor.cancel()
            await asyncio.gather(remote.monitor, return_exceptions=True)
        remote.monitor = remote.session = remote.agent = remote.status = None
        remote.idle_since = remote.sent_weights = None

    @property
    def _connect_seconds(self) -> float:
        return min(1.0, self._probe_seconds)

    async def _mark_ready(self, instance_id: str, report: HealthReport) -> None:
        remote = self._remotes[instance_id]
        status = await self._observe(remote)
        self._note_idleness(remote, report)
        vram, free = report.vram_total, report.vram_free
        changes = _to_changes(status) | InstanceChanges(
            device=report.device,
            simulated=report.simulated,
            version=report.version,
            vram_total=vram,
            vram_free=free,
        )
        lie = card_mismatch(self.card(instance_id), report.device, vram, simulated=report.simulated)
        if lie is not None:
            self.set_session(instance_id, None)
            self.update_state(instance_id, InstanceState.FAILED, **changes | InstanceChanges(detail=lie))
            return
        state = status.state if status.state is InstanceState.DRAINING else InstanceState.READY
        detail = self._leaving_note(remote) or status.detail or version_note(report.version)
        self.update_state(instance_id, state, **changes | InstanceChanges(detail=detail))

    async def _mark_unreachable(self, instance_id: str) -> None:
        remote = self._remotes[instance_id]
        remote.idle_since = None
        try:
            status = await self._observe(remote)
        except InstanceError as error:
            self.update_state(instance_id, InstanceState.DOWN, **lost(str(error)))
            return
        works = status.state in (InstanceState.READY, InstanceState.DRAINING)
        detail = status.detail or ("its websocket is closed" if works else "starting")
        changes = _to_changes(status) | InstanceChanges(detail=detail, vram_free=None)
        self.update_state(instance_id, InstanceState.DOWN if works else status.state, **changes)

    async def _observe(self, remote: RemoteInstance) -> AgentStatus:
        """Read the agent's status, and send it the list of weights if that is new. Raises InstanceError."""
        status = remote.status = await self._require_agent(remote.name).get_status()
        if self.wanted_weights is not None and self._options.agent.needs_weights:
            wanted = await self.wanted_weights.list_files(status.profile)
            key = frozenset((str(row.get("path")), str(row.get("sha256"))) for row in wanted)
            if status.wants_weights or key != remote.sent_weights:
                await self._require_agent(remote.name).set_weights(wanted)
                remote.sent_weights = key
        return status

    def _note_idleness(self, remote: RemoteInstance, report: HealthReport) -> None:
        is_idle = not (report.running or report.waiting) and remote.session is not None
        if not is_idle or (remote.session is not None and remote.session.is_in_use):
            remote.idle_since = None
        elif remote.idle_since is None:
            remote.idle_since = loop_time()

    def _leaving_note(self, remote: RemoteInstance) -> str | None:
        if remote.is_leaving:
            return "will be ended once it is idle"
        report, mine = remote.report, self._options.agent.created_by
        if report is not None and report.code_version not in ("", mine):
            return f"its node has pixelfactory {report.code_version}, the service {mine}: update the node"
        return None


def _to_changes(status: AgentStatus) -> InstanceChanges:
    return InstanceChanges(
        restarts=status.restarts,
        failures=status.failures,
        supervision_errors=status.supervision_errors,
        started_at=status.started_at,
        memory=status.memory,
        profile=status.profile,
        gpu=status.gpu,
        retry_at=status.retry_at,
    )
