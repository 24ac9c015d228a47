"""Follows one prompt by its messages. Pure: messages in, progress events out, at the end a result.

Messages come from the socket or are replayed from history. A message that arrives twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from comfy_instances.protocol.delivery import DeliveredFile
from comfy_instances.protocol.errors import (
    InstanceError,
    NodeFailed,
    NoOutput,
    OutOfMemory,
    OutputRefused,
    PromptCancelled,
)
from comfy_instances.protocol.graphs import Graph, find_nodes_of_class, find_sink_nodes
from comfy_instances.protocol.messages import (
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    ImageFrame,
    Message,
    NodeProgress,
    ProgressState,
    TextFrame,
)
from comfy_instances.protocol.outputs import NodeOutput, RunResult, parse_outputs
from comfy_instances.protocol.progress import NodeStarted, NodeText, Preview, ProgressEvent, StepProgress

FinalMessage = ExecutionSuccess | ExecutionError | ExecutionInterrupted

#: The exception of the output check node, whatever module its node pack is loaded as.
_CONTENT_REFUSED_TYPE = re.compile(r"(^|\.)ContentRefused$")
_OUT_OF_MEMORY_TYPE = re.compile(r"(OutOfMemoryError|(^|\.)MemoryError)$")
_OUT_OF_MEMORY_MESSAGE = re.compile(
    r"out of memory|allocation on device|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def classify_execution_error(error: ExecutionError) -> InstanceError:
    """Return the InstanceError for an exception that a node raised on the server."""
    node = f"node {error.node_id} ({error.node_type})"
    message = f"{node}: {error.exception_type}: {error.exception_message}"
    if _OUT_OF_MEMORY_TYPE.search(error.exception_type) or _OUT_OF_MEMORY_MESSAGE.search(
        error.exception_message
    ):
        return OutOfMemory(message)
    if _CONTENT_REFUSED_TYPE.search(error.exception_type):
        return OutputRefused(message)
    return NodeFailed(
        message,
        node_id=error.node_id,
        node_type=error.node_type,
        exception_type=error.exception_type,
    )


def to_instance_error(file: DeliveredFile) -> InstanceError:
    """Return the InstanceError for a file that the node pack could not encode."""
    kind, _, message = file.error.partition(": ")
    return classify_execution_error(
        ExecutionError("", file.node, "saver in another thread", kind, message, (), None)
    )


@dataclass(frozen=True, slots=True)
class _Moment:
    """One point in time on two clocks, both in seconds."""

    #: The server's timestamp; None if its message carried none.
    server: float | None
    #: Our monotonic clock when the message arrived.
    local: float


class PromptTracker:
    """The state of one prompt. `now` is a monotonic clock in seconds."""

    def __init__(self, prompt_id: str, graph: Graph, socket_classes: frozenset[str], now: float) -> None:
        self.prompt_id = prompt_id
        #: False if messages may have been missed: then the outputs must be read from history.
        self.has_all_messages = True
        self.has_started = False
        self.final_message: FinalMessage | None = None
        self._has_history = False
        self._sink_nodes = find_sink_nodes(graph)
        self._socket_nodes = find_nodes_of_class(graph, socket_classes)
        self._outputs: dict[str, tuple[NodeOutput, ...]] = {}
        self._cached: frozenset[str] = frozenset()
        self._blocked: ExecutionError | None = None
        self._current_node = ""
        self._step_progress: dict[str, StepProgress] = {}
        self._started_at = self._ended_at = _Moment(None, now)

    @property
    def has_all_outputs(self) -> bool:
        """True if all outputs are known: they were read from history, or no message was missed and every
        sink node has reported its outputs."""
        if self._has_history:
            return True
        return self.has_all_messages and bool(self._sink_nodes) and self._sink_nodes <= self._outputs.keys()

    def mark_messages_lost(self) -> None:
        """Note that messages may be missed until the `execution_start` of this prompt arrives."""
        self.has_all_messages = False

    def handle_message(self, message: Message, now: float) -> list[ProgressEvent]:
        """Apply one message of this prompt and return the progress events that it causes."""
        match message:
            case ExecutionStart(timestamp=timestamp) if not self.has_started:
                self.has_started = self.has_all_messages = True
                self._started_at = _Moment(timestamp, now)
            case ExecutionCached(nodes=nodes):
                self._cached |= frozenset(nodes)
            case Executing(node=str(node)):
                self._current_node = node
                return [NodeStarted(self.prompt_id, node)]
            case NodeProgress() | ProgressState():
                return list(self._progress_events(message))
            case ImageFrame():
                return self._handle_image(message)
            case TextFrame(node=node, text=text):
                return [NodeText(self.prompt_id, node, text)]
            case Executed(node=node, output=output) if output:
                self._outputs[node] = parse_outputs(node, output)
            case ExecutionError() if not message.ends_prompt:
                self._blocked = message
            case ExecutionSuccess() | ExecutionError() | ExecutionInterrupted() if self.final_message is None:
                self.final_message = message
                self._ended_at = _Moment(message.timestamp, now)
        return []

    def replay_history(self, messages: Iterable[Message], now: float) -> None:
        """Apply the prompt's history entry. It holds everything except the images sent by socket."""
        had_all_messages = self.has_all_messages
        for message in messages:
            self.handle_message(message, now)
        self.has_all_messages = had_all_messages
        self._has_history = True

    def build_result(self) -> RunResult:
        """Return the result of a prompt that has ended successfully.

        Raises NodeFailed, OutOfMemory, OutputRefused, PromptCancelled or NoOutput.
        """
        match self.final_message:
            case ExecutionError() as error:
                raise classify_execution_error(error)
            case ExecutionInterrupted(node_id=node):
                raise PromptCancelled(f"the prompt was interrupted at node {node}")
        if self._blocked is not None:
            raise classify_execution_error(self._blocked)
        if self._socket_nodes and not self.has_all_messages:
            raise NoOutput("the graph sends its images by socket only, and socket messages were lost")
        outputs = tuple(item for items in self._outputs.values() for item in items)
        if not outputs:
            raise NoOutput("the prompt succeeded but no node reported an output")
        return RunResult(self.prompt_id, outputs, self._gpu_seconds(), self._cached)

    def _progress_events(self, message: NodeProgress | ProgressState) -> Iterator[StepProgress]:
        """Yield each step once: the server sends it in `progress` and again in `progress_state`."""
        if isinstance(message, NodeProgress):
            steps = [StepProgress(self.prompt_id, message.node, message.value, message.max)]
        else:
            steps = [
                StepProgress(self.prompt_id, row.node, row.value, row.max)
                for row in message.nodes
                if row.state == "running" and row.max > 1
            ]
        for step in steps:
            if step != self._step_progress.get(step.node):
                self._step_progress[step.node] = step
                yield step

    def _handle_image(self, frame: ImageFrame) -> list[ProgressEvent]:
        node = frame.node or self._current_node
        if node not in self._socket_nodes:
            return [Preview(self.prompt_id, node, frame.content_type, frame.data)]
        image = NodeOutput(node, "images", data=frame.data)
        self._outputs[node] = (*self._outputs.get(node, ()), image)
        return []

    def _gpu_seconds(self) -> float:
        """Return the run time by the server's clock, or by ours if it sent no timestamps."""
        started, ended = self._started_at, self._ended_at
        if started.server is not None and ended.server is not None:
            return max(0.0, round(ended.server - started.server, 3))
        return max(0.0, ended.local - started.local)
