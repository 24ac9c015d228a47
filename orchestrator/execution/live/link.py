"""The connection of an API process to the scheduler that leads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from types import TracebackType

import aiohttp

from comfy_instances.log_text import error_text
from comfy_instances.tasks import keep_running, spawn
from orchestrator.errors import ServiceError, ServiceUnavailable
from orchestrator.execution.instances.capacity import Capacity
from orchestrator.execution.live.messages import (
    MAX_MESSAGE_BYTES,
    SCHEDULER_MESSAGES,
    CallersMessage,
    CapacityRequest,
    CapacityResponse,
    FleetMessage,
    JobChangedMessage,
    LoraArchitectures,
    LoraNames,
    SchedulerMessage,
    ShardMessage,
    WaitMessage,
)
from orchestrator.execution.live.mirror import FleetMirror
from orchestrator.execution.live.recently_read import RecentlyRead
from orchestrator.execution.live.stored_events import StoredJobEvents
from orchestrator.execution.results.responses import ResponseTracker
from orchestrator.jobs import Job, JobRecord, Shard
from orchestrator.jobs.events import EventHub
from pricing.plans import Plan

log = logging.getLogger(__name__)

#: Pause before the next attempt to reach the scheduler, in seconds.
RETRY_SECONDS = 0.25
#: How often the jobs of callers are compared with the last message about them, in seconds.
CALLERS_SECONDS = 0.1
#: How long the scheduler may take to connect, and to answer a question, in seconds.
CONNECT_SECONDS, ANSWER_SECONDS = 2.0, 3.0
#: Interval of websocket pings, in seconds: a scheduler that stands still is left.
PING_SECONDS = 2.0
#: How often a scheduler that cannot be reached is logged, in seconds.
LOG_SECONDS = 30.0

#: Logged where the scheduler does not know this process as one of its installation.
WRONG_SECRET = (
    "it refuses this process, whose session secret is another one: give all processes the same"
    " DATA_DIR/session-secret, or the same PIXELFACTORY_SESSION_SECRET"
)

LIVE_PATH = "/internal/v1/live"
CAPACITY_PATH = "/internal/v1/capacity"
LORAS_PATH = "/internal/v1/lora-architectures"


class SchedulerLink:
    """Follows the leading scheduler: keeps the mirror current, passes events on, and asks questions.

    Implements `JobScheduling` of `execution.instances.capacity`: the scheduler learns of jobs from the store.
    """

    def __init__(
        self,
        *,
        find_url: Callable[[], Awaitable[str | None]],
        secret: str,
        events: EventHub,
        stored_events: StoredJobEvents,
        responses: ResponseTracker,
    ) -> None:
        """`find_url` returns where the leader is reached; `secret` is shared by all processes."""
        self._find_url = find_url
        self._secret = secret
        self._events = events
        self._stored_events = stored_events
        self._responses = responses
        self._progress_read, self._waits_read = RecentlyRead(), RecentlyRead()
        events.on_read = self._progress_read.note
        self.mirror = FleetMirror(self._read_architectures, self._waits_read.note)
        self._url: str | None = None
        self._http: aiohttp.ClientSession | None = None
        self._logged_at = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> SchedulerLink:
        self._http = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._secret}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        )
        spawn(keep_running(self._run, "scheduler link"), "scheduler link", group=self._tasks)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    @property
    def url(self) -> str | None:
        """The address of the scheduler that this process is connected to."""
        return self._url

    @property
    def http(self) -> aiohttp.ClientSession:
        """The HTTP client with the shared secret."""
        assert self._http is not None, "the link was not entered"
        return self._http

    async def find_capacity(self, account_id: str, model: str) -> Capacity:
        """Ask how soon a new job could start.

        While no scheduler answers, jobs for models of the known fleet are taken: they are stored, and the
        next leader runs them within seconds. Raises ServiceUnavailable once that has not come about for long.
        """
        request = CapacityRequest(account_id=account_id, model=model)
        with suppress(ServiceUnavailable):
            answer = await self.ask(CAPACITY_PATH, request.model_dump_json())
            return CapacityResponse.model_validate_json(answer).capacity
        if self._url is None and not self.mirror.expects_instance(monotonic()):
            raise no_scheduler()
        serves = self.mirror.expects_to_serve(model)
        return Capacity(0.0 if self.mirror.expects_instance(monotonic()) else None, serves_model=serves)

    def reserve_job(self, job: Job, shards: Sequence[Shard], plan: Plan) -> None:
        """Do nothing: the scheduler learns of new jobs from the store."""

    def withdraw_job(self, job_id: str) -> None:
        """Do nothing: nothing was reserved."""

    def schedule_job(self, record: JobRecord, plan: Plan) -> None:
        """Do nothing: the scheduler learns of new jobs from the store."""

    def cancel_job(self, job_id: str) -> None:
        """Do nothing: the scheduler learns of cancellations from the store."""

    def cancel_shard(self, job_id: str, shard_id: str) -> None:
        """Do nothing: the scheduler learns of cancellations from the store."""

    async def _read_architectures(self, names: list[str]) -> dict[str, tuple[str, ...]]:
        with suppress(ServiceUnavailable):
            answer = await self.ask(LORAS_PATH, LoraNames(names=tuple(names)).model_dump_json())
            return dict(LoraArchitectures.model_validate_json(answer).architectures)
        return dict.fromkeys(names, ())

    async def ask(self, path: str, body: str) -> bytes:
        """Return the scheduler's answer to a question. Raises ServiceUnavailable."""
        if self._url is None:
            raise no_scheduler()
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self.http.post(self._url + path, data=body) as response,
            ):
                if response.status == HTTPStatus.OK:
                    return await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise no_scheduler() from error
        raise no_scheduler()

    async def _run(self) -> None:
        while True:
            try:
                await self._follow_leader()
            except (aiohttp.ClientError, OSError, TimeoutError, ServiceError) as error:
                self._log_failure(error_text(error))
            finally:
                self._url = None
                self.mirror.mark_disconnected()
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow_leader(self) -> None:
        url = await self._find_url()
        if url is None:
            self._log_failure("none has been elected yet")
            return
        connecting = self.http.ws_connect(
            url + LIVE_PATH, heartbeat=PING_SECONDS, max_msg_size=MAX_MESSAGE_BYTES
        )
        async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
            try:
                socket = await connecting
            except aiohttp.WSServerHandshakeError as error:
                self._log_failure(WRONG_SECRET if error.status == HTTPStatus.UNAUTHORIZED else str(error))
                return
        async with socket:
            log.info("connected to the scheduler at %s", url)
            self._url = url
            telling = spawn(self._tell_callers(socket), "callers")
            try:
                await self._handle_all(socket)
            finally:
                telling.cancel()
        self._log_failure("it has closed the connection")

    async def _handle_all(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._handle(SCHEDULER_MESSAGES.validate_json(message.data))

    def _log_failure(self, reason: str) -> None:
        if monotonic() - self._logged_at >= LOG_SECONDS:
            self._logged_at = monotonic()
            log.warning("the scheduler cannot be reached: %s", reason)

    async def _tell_callers(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Say which jobs the callers of this process follow and wait for, whenever that changes."""
        sent: CallersMessage | None = None
        while not socket.closed:
            # Those that callers poll are followed too: the next response tells their progress.
            estimated = frozenset(self._waits_read.job_ids())
            followed = estimated | self._events.subscribed_job_ids() | self._progress_read.job_ids()
            current = CallersMessage(
                followed=followed,
                previewed=followed & self._events.previewed_job_ids(),
                estimated=estimated,
                awaited=self._responses.live_job_ids(),
            )
            if current != sent:
                self.mirror.keep_estimates(estimated)
                with suppress(ConnectionError):
                    await socket.send_str(current.model_dump_json())
                sent = current
            await asyncio.sleep(CALLERS_SECONDS)

    def _handle(self, message: SchedulerMessage) -> None:
        match message:
            case FleetMessage(fleet=fleet):
                self.mirror.update(fleet)
            case WaitMessage(job_id=job_id, estimate=estimate):
                self.mirror.set_estimate(job_id, estimate)
            case JobChangedMessage(job_id=job_id):
                self._stored_events.report(job_id)
            case ShardMessage(job_id=job_id, started=started, progress=progress, preview=preview):
                for event in (started, progress, preview):
                    if event is not None:
                        self._events.publish(job_id, event)


def no_scheduler() -> ServiceUnavailable:
    """Return the error of a request that only the scheduler can answer."""
    return ServiceUnavailable(
        "The scheduler cannot be reached; retry in a few seconds", code="no_scheduler", retry_after=2
    )
