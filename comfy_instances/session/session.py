"""A session with one instance: submit prompts, follow them to their end, and fetch their outputs.

The caller chooses the prompt id. Messages arrive on the socket. After a lost socket, or a silence on an
open one, the session reads `/queue` and `/history` to learn whether the prompt runs, waits, has ended or is
unknown. A prompt ends with `execution_success`, `execution_error` or `execution_interrupted`, with its
history entry, or with an InstanceError when the instance is gone, has forgotten the prompt or has stalled.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from random import Random, SystemRandom
from types import TracebackType
from typing import Any, Self

from yarl import URL

from comfy_instances.protocol.errors import BadGraph, InstanceGone, NoOutput, PromptCancelled
from comfy_instances.protocol.graphs import Graph, with_unique_filename_prefix
from comfy_instances.protocol.history import InstanceQueue
from comfy_instances.protocol.lora_files import (
    LORA_FILE_SUFFIX,
    LORA_FOLDER,
    is_uploaded_lora,
    uploaded_lora_file,
)
from comfy_instances.protocol.messages import ExecutionSuccess
from comfy_instances.protocol.outputs import FileRef, NodeOutput, RunResult
from comfy_instances.protocol.progress import (
    NodeStarted,
    NodeText,
    Preview,
    ProgressEvent,
    ProgressListener,
    StepProgress,
)
from comfy_instances.protocol.rejections import format_node_errors
from comfy_instances.protocol.server_log import LogLine
from comfy_instances.protocol.system_stats import DeviceStats, SystemStats
from comfy_instances.session.client import EXTRA_DATA, ComfyUIClient
from comfy_instances.session.deliveries import Deliveries
from comfy_instances.session.prompt_run import PromptRun
from comfy_instances.session.reconciler import Reconciler
from comfy_instances.session.settings import SessionSettings
from comfy_instances.session.tracker import PromptTracker
from comfy_instances.session.websocket import InstanceWebSocket
from comfy_instances.tasks import loop_time, spawn

__all__ = [
    "DeviceStats",
    "FileRef",
    "InstanceQueue",
    "InstanceSession",
    "NodeOutput",
    "NodeStarted",
    "NodeText",
    "Preview",
    "ProgressEvent",
    "ProgressListener",
    "RunResult",
    "SessionSettings",
    "StepProgress",
    "SystemStats",
]

logger = logging.getLogger(__name__)

#: A history entry may appear some milliseconds after the final message. Seconds between requests for it.
_HISTORY_RETRY_DELAYS_S = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CANCEL_POLL_MIN_S, _CANCEL_POLL_MAX_S = 0.02, 0.5
#: Far more than the prompts whose inputs are on their way to one instance at any time.
_MAX_CANCELLED_EARLY = 256


class InstanceSession:
    """Runs prompts on one instance. It survives restarts of the server.

    Cancelling the task that awaits `run_prompt` or `resume_prompt` does not stop the prompt; use
    `cancel_prompt` for that.
    """

    def __init__(
        self, url: str, *, settings: SessionSettings | None = None, rng: Random | None = None
    ) -> None:
        """`url` is the server's root, `http(s)://host[:port][/path]`. Raises ValueError for anything else."""
        root = URL(url)
        if root.scheme not in ("http", "https") or not root.host:
            raise ValueError(f"instance URL must be http(s)://HOST[:PORT][/PATH] (got {url!r})")
        self.url = url
        self._settings = settings or SessionSettings()
        self._client = ComfyUIClient(root, self._settings)
        #: Results and input files that the node pack of the instance moves itself.
        self.deliveries = Deliveries(self._client, self._settings)
        self._reconciler = Reconciler(self._client, self._settings, self.deliveries.note_encoded)
        self._websocket = InstanceWebSocket(root, self._settings, rng or SystemRandom(), self._reconciler)
        #: Prompts that were cancelled before they were submitted, latest last.
        self._cancelled_early = deque[str](maxlen=_MAX_CANCELLED_EARLY)
        self._tasks: list[asyncio.Task[None]] = []
        self._downloads = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Start to connect. The server need not be running yet."""
        self._client.open()
        loops = {"socket": self._websocket.run(), "reconciler": self._reconciler.run(self._websocket)}
        for name, loop in loops.items():
            self._tasks.append(spawn(loop, f"session {name}", self.url))

    async def close(self, *, self_inflicted: bool = False) -> None:
        """Close all connections. Prompts keep running on the instance; their waiters get InstanceGone.

        With `self_inflicted` no prompt counts as the cause: the instance is stopped on request.
        """
        self._reconciler.mark_running()
        for prompt_run in self._reconciler.prompt_runs.values():
            self._reconciler.lose_run(prompt_run, "the session was closed", self_inflicted=self_inflicted)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._websocket.abandon()
        await self._client.close(on_request=self_inflicted)

    @property
    def is_connected(self) -> bool:
        """Whether the socket is open."""
        return self._websocket.is_open

    @property
    def connections(self) -> int:
        """How often the socket was opened; a change means that another server may respond now."""
        return self._websocket.connections

    @property
    def has_lost_running_prompt(self) -> bool:
        """Whether the instance was lost while it ran a prompt of this session, which may be the cause."""
        return self._reconciler.has_lost_running_prompt

    @property
    def is_in_use(self) -> bool:
        """Whether a prompt of this session has not ended, or results of one are still on the instance."""
        return bool(self._reconciler.prompt_runs) or self._downloads > 0 or self.deliveries.is_in_use

    async def wait_disconnected(self, timeout_s: float) -> None:
        """Wait until the socket closes, or for `timeout_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._websocket.wait_closed()

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until the socket is open. Raises InstanceGone after `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._websocket.wait_open()
        except TimeoutError:
            raise InstanceGone(f"cannot open a websocket to the instance within {timeout_s:g} s") from None

    async def run_prompt(
        self,
        prompt_id: str,
        graph: Graph,
        listener: ProgressListener | None = None,
        *,
        extra_data: Mapping[str, Any] | None = None,
    ) -> RunResult:
        """Submit a graph under `prompt_id` (a new UUID in canonical form) and return its result.

        The prompt id is appended to every `filename_prefix` in the graph. Several prompts may be in flight;
        the instance runs one at a time. Raises any InstanceError, ValueError if the id is in flight already.
        """
        await self.wait_connected(self._settings.connect_timeout_s)
        if prompt_id in self._cancelled_early:
            raise PromptCancelled("the prompt was cancelled before it was submitted")
        graph = with_unique_filename_prefix(graph, prompt_id)
        with self._track_run(prompt_id, graph, listener) as prompt_run:
            await self._submit(prompt_run, graph, {**EXTRA_DATA, **(extra_data or {})})
            return await self._await_result(prompt_run)

    async def resume_prompt(
        self, prompt_id: str, listener: ProgressListener | None = None
    ) -> RunResult | None:
        """Follow a prompt that an earlier session submitted. Return None if the instance does not know it."""
        entry = (await self._client.get_queue()).find(prompt_id)
        record = await self._client.get_history(prompt_id) if entry is None else None
        if entry is None and record is None:
            return None
        alone = not self._reconciler.prompt_runs
        with self._track_run(prompt_id, entry.graph if entry else {}, listener) as prompt_run:
            prompt_run.tracker.mark_messages_lost()
            prompt_run.sent = prompt_run.submitted = True
            if record is not None:
                prompt_run.replay_history(record)
            elif entry is not None and alone and entry.client_id not in (None, self._websocket.client_id):
                # ComfyUI routes messages by client id: reconnect with the id that queued the prompt.
                await self._websocket.reconnect(entry.client_id)
            return await self._await_result(prompt_run)

    async def cancel_prompt(self, prompt_id: str) -> None:
        """Remove a prompt from the queue, or interrupt it, and wait until it is gone. A prompt that was not
        submitted yet is not submitted any more.

        A running prompt stops at its next step or at the end of its node. Its `run_prompt` raises
        PromptCancelled, unless the prompt ended first. Raises InstanceGone if the prompt stays on the
        instance for `cancel_timeout_s`.
        """
        prompt_run = self._reconciler.prompt_runs.get(prompt_id)
        if prompt_run is None:
            self._cancelled_early.append(prompt_id)
        else:
            prompt_run.cancel_requested = True
        await self._cancel_until_gone(prompt_id)
        if prompt_run is None or prompt_run.is_done:
            return
        # A prompt deleted from the queue has no history entry; one that was interrupted or has ended has one.
        record = await self._client.get_history(prompt_id)
        if record is not None:
            prompt_run.replay_history(record)
        prompt_run.fail(PromptCancelled("the prompt was deleted from the queue"))

    async def upload_input(self, name: str, data: bytes, content_type: str, subfolder: str = "") -> str:
        """Upload an input file and return the name by which graphs refer to it. Raises BadGraph."""
        return await self._client.upload_input(name, data, content_type, subfolder)

    async def have_input(self, name: str, data: bytes, content_type: str) -> str:
        """Upload an input file unless the instance has one of this name and size, and return its name.

        Raises BadGraph.
        """
        file = FileRef(filename=name, subfolder="", type="input")
        if await self._client.find_file_size(file) == len(data):
            return name
        return await self.upload_input(name, data, content_type)

    async def upload_lora(self, name: str, data: bytes) -> None:
        """Upload a LoRA, so that loader nodes find it by `name` with the suffix of its file.

        Nothing is sent if the instance has it already. Raises BadGraph if the instance does not take it.
        """
        file = uploaded_lora_file(name)
        if await self._client.find_file_size(file) != len(data):
            await self._client.upload_file(file, data)
        if file.filename not in await self._client.list_model_names(LORA_FOLDER):
            raise BadGraph(
                f"the instance does not list {file.filename} that was uploaded to its output folder"
            )

    async def has_lora(self, name: str, size: int) -> bool:
        """Return whether a LoRA of this size was uploaded under this name."""
        return await self._client.find_file_size(uploaded_lora_file(name)) == size

    async def list_uploaded_loras(self) -> list[str]:
        """Return the names of the LoRAs that were uploaded, without suffix."""
        names = await self._client.list_model_names(LORA_FOLDER)
        return [name.removesuffix(LORA_FILE_SUFFIX) for name in names if is_uploaded_lora(name)]

    async def fetch_file(self, file: FileRef) -> bytes:
        """Download a file. Raises NoOutput if it does not exist or is larger than `max_output_bytes`."""
        self._downloads += 1
        try:
            return await self._client.fetch_file(file)
        finally:
            self._downloads -= 1

    async def delete_history(self, prompt_ids: Sequence[str]) -> None:
        """Delete the history entries of prompts, once their outputs are collected."""
        await self._client.delete_history(prompt_ids)

    async def free_memory(self) -> None:
        """Ask the instance to unload its models and free memory; it does so before the next prompt."""
        await self._client.free_memory()

    async def get_system_stats(self) -> SystemStats:
        return await self._client.get_system_stats()

    async def get_log(self) -> list[LogLine]:
        return await self._client.get_log()

    async def get_object_info(self) -> dict[str, Any]:
        """Return the facts of the instance's node classes, by class name."""
        return await self._client.get_object_info()

    async def list_model_files(self) -> dict[str, list[str]]:
        """Return the names of the model files that the instance lists, by folder."""
        return await self._client.list_model_files()

    async def get_lora_metadata(self, name: str) -> dict[str, Any]:
        """Return the metadata in the header of a LoRA file, by its name without suffix; empty if unknown."""
        return await self._client.get_model_metadata(LORA_FOLDER, name + LORA_FILE_SUFFIX)

    async def get_queue(self) -> InstanceQueue:
        """Return the running and waiting prompts of all clients."""
        return await self._client.get_queue()

    async def get_queue_depth(self) -> int:
        """Return the number of running and waiting prompts."""
        return len(await self._client.get_queue())

    @contextmanager
    def _track_run(
        self, prompt_id: str, graph: Graph, listener: ProgressListener | None
    ) -> Iterator[PromptRun]:
        runs = self._reconciler.prompt_runs
        if prompt_id in runs:
            raise ValueError(f"prompt {prompt_id} is already in flight; use a new id")
        tracker = PromptTracker(prompt_id, graph, self._settings.socket_output_classes, loop_time())
        prompt_run = runs[prompt_id] = PromptRun(tracker, listener)
        try:
            yield prompt_run
        finally:
            del runs[prompt_id]

    async def _submit(self, prompt_run: PromptRun, graph: Graph, extra_data: Mapping[str, Any]) -> None:
        findings: dict[str, Any] = {}
        prompt_run.sent = True
        try:
            findings = await self._client.submit(
                graph, prompt_run.prompt_id, self._websocket.client_id, extra_data
            )
        except InstanceGone as gone:
            # The response may be lost although the server accepted the prompt.
            prompt_run.sent = not (gone.connection_refused or gone.self_inflicted)
            if not prompt_run.sent or not await self._is_accepted(prompt_run):
                raise
        prompt_run.submitted = True
        if not findings and not prompt_run.cancel_requested:
            return
        await self._cancel_until_gone(prompt_run.prompt_id)
        if findings:
            lines = "; ".join(format_node_errors(findings))
            raise BadGraph(f"the instance rejects a part of the graph: {lines}", node_errors=findings)
        raise PromptCancelled("the prompt was cancelled while it was submitted")

    async def _is_accepted(self, prompt_run: PromptRun) -> bool:
        """Whether the server knows the prompt. Raises InstanceGone: the prompt may have ended the server."""
        try:
            return await self._is_known(prompt_run.prompt_id)
        except InstanceGone as gone:
            self._reconciler.mark_running()
            raise self._reconciler.lose_run(
                prompt_run,
                gone.message,
                connection_refused=gone.connection_refused,
                self_inflicted=gone.self_inflicted,
            ) from gone

    async def _is_known(self, prompt_id: str) -> bool:
        if (await self._client.get_queue()).find(prompt_id) is not None:
            return True
        return await self._client.get_history(prompt_id) is not None

    async def _await_result(self, prompt_run: PromptRun) -> RunResult:
        await prompt_run.wait_done()
        if (
            isinstance(prompt_run.tracker.final_message, ExecutionSuccess)
            and not prompt_run.tracker.has_all_outputs
        ):
            await self._recover_outputs(prompt_run)
        return prompt_run.tracker.build_result()

    async def _recover_outputs(self, prompt_run: PromptRun) -> None:
        """Read outputs from history: of nodes without an `executed` message, or whose message was lost."""
        for pause in _HISTORY_RETRY_DELAYS_S:
            await asyncio.sleep(pause)
            record = await self._client.get_history(prompt_run.prompt_id)
            if record is not None:
                prompt_run.replay_history(record)
                return
        if not prompt_run.tracker.has_all_messages:
            raise NoOutput("the instance has no history entry for the prompt, and socket messages were lost")

    async def _cancel_until_gone(self, prompt_id: str) -> None:
        """Delete or interrupt the prompt until `/queue` no longer lists it; it may start in between."""
        deadline = loop_time() + self._settings.cancel_timeout_s
        pause = _CANCEL_POLL_MIN_S
        while (queue := await self._client.get_queue()).find(prompt_id) is not None:
            if loop_time() > deadline:
                raise InstanceGone(
                    f"prompt {prompt_id} is still on the instance"
                    f" {self._settings.cancel_timeout_s:g} s after its cancellation"
                )
            if queue.is_running(prompt_id):
                await self._client.interrupt(prompt_id)
            else:
                await self._client.delete_from_queue(prompt_id)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _CANCEL_POLL_MAX_S)
