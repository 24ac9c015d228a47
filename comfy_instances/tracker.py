"""One prompt as told by its messages. Pure: messages in, progress events out, at the end a result.

Messages may come by the socket or be replayed from history, in part twice: to hear one again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from comfy_instances.errors import (
    InstanceError,
    Interrupted,
    NodeFailed,
    NoOutput,
    OutOfMemory,
    Refused,
)
from comfy_instances.graphs import Graph, nodes_of_class, sinks
from comfy_instances.messages import (
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
from comfy_instances.outputs import NodeOutput, RunResult, outputs_of
from comfy_instances.progress import NodeStarted, Note, Preview, Progress, ProgressEvent

End = ExecutionSuccess | ExecutionError | ExecutionInterrupted

#: What our output check raises, wherever its pack lies.
_REFUSAL = re.compile(r"(^|\.)ContentRefused$")
_MEMORY_TYPES = re.compile(r"(OutOfMemoryError|(^|\.)MemoryError)$")
_MEMORY_WORDS = re.compile(
    r"out of memory|allocation on device|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def failure_of(error: ExecutionError) -> InstanceError:
    """The server's exception, sorted."""
    place = f"node {error.node_id} ({error.node_type})"
    message = f"{place}: {error.exception_type}: {error.exception_message}"
    if _MEMORY_TYPES.search(error.exception_type) or _MEMORY_WORDS.search(error.exception_message):
        return OutOfMemory(message)
    if _REFUSAL.search(error.exception_type):
        return Refused(message)
    return NodeFailed(
        message,
        node_id=error.node_id,
        node_type=error.node_type,
        exception_type=error.exception_type,
    )


class Tracker:
    """What is known of one prompt. `now` is any clock that only runs forward, in seconds."""

    def __init__(self, prompt_id: str, graph: Graph, socket_classes: frozenset[str], now: float) -> None:
        self.prompt_id = prompt_id
        #: False where messages may have been missed: then the outputs are history's to tell.
        self.intact = True
        self.started = False
        self.end: End | None = None
        self._replayed = False
        self._sinks = sinks(graph)
        self._socket_nodes = nodes_of_class(graph, socket_classes)
        self._outputs: dict[str, tuple[NodeOutput, ...]] = {}
        self._cached: frozenset[str] = frozenset()
        self._blocked: ExecutionError | None = None
        self._node = ""
        self._steps: dict[str, Progress] = {}
        self._began: tuple[float | None, float] = (None, now)
        self._ended: tuple[float | None, float] = (None, now)

    @property
    def complete(self) -> bool:
        """True where all outputs are known: history has told them, or every node that could have shown
        something has, and nothing was missed."""
        if self._replayed:
            return True
        return self.intact and bool(self._sinks) and self._sinks <= self._outputs.keys()

    def lose(self) -> None:
        """Messages may be missed from here on, until the first word about this prompt is heard."""
        self.intact = False

    def handle(self, message: Message, now: float) -> list[ProgressEvent]:
        """Take in one message of this prompt."""
        match message:
            case ExecutionStart(timestamp=timestamp) if not self.started:
                self.started = self.intact = True
                self._began = (timestamp, now)
            case ExecutionCached(nodes=nodes):
                self._cached |= frozenset(nodes)
            case Executing(node=str(node)):
                self._node = node
                return [NodeStarted(self.prompt_id, node)]
            case NodeProgress() | ProgressState():
                return list(self._progress(message))
            case ImageFrame():
                return self._image(message)
            case TextFrame(node=node, text=text):
                return [Note(self.prompt_id, node, text)]
            case Executed(node=node, output=output) if output:
                self._outputs[node] = outputs_of(node, output)
            case ExecutionError() if not message.ends_prompt:
                self._blocked = message
            case ExecutionSuccess() | ExecutionError() | ExecutionInterrupted() if self.end is None:
                self.end = message
                self._ended = (message.timestamp, now)
        return []

    def replay(self, messages: Iterable[Message], now: float) -> None:
        """Take in history's record, which tells all but the pictures that were sent by the socket."""
        intact = self.intact
        for message in messages:
            self.handle(message, now)
        self.intact = intact
        self._replayed = True

    def result(self) -> RunResult:
        """The outcome of a prompt that has ended. Raises NodeFailed, OutOfMemory, Interrupted, NoOutput."""
        match self.end:
            case ExecutionError() as error:
                raise failure_of(error)
            case ExecutionInterrupted(node_id=node):
                raise Interrupted(f"interrupted at node {node}")
        if self._blocked is not None:
            raise failure_of(self._blocked)
        if self._socket_nodes and not self.intact:
            raise NoOutput("pictures are sent by the socket only, and it was lost")
        outputs = tuple(item for items in self._outputs.values() for item in items)
        if not outputs:
            raise NoOutput("the prompt ended well and no node left an output")
        return RunResult(self.prompt_id, outputs, self._duration(), self._cached)

    def _progress(self, message: NodeProgress | ProgressState) -> Iterator[Progress]:
        """A server tells each step twice, as a step and within the state of all nodes: pass on one."""
        if isinstance(message, NodeProgress):
            steps = [Progress(self.prompt_id, message.node, message.value, message.max)]
        else:
            steps = [
                Progress(self.prompt_id, row.node, row.value, row.max)
                for row in message.nodes
                if row.state == "running" and row.max > 1
            ]
        for step in steps:
            if step != self._steps.get(step.node):
                self._steps[step.node] = step
                yield step

    def _image(self, frame: ImageFrame) -> list[ProgressEvent]:
        node = frame.node or self._node
        if node not in self._socket_nodes:
            return [Preview(self.prompt_id, node, frame.content_type, frame.data)]
        picture = NodeOutput(node, "images", data=frame.data)
        self._outputs[node] = (*self._outputs.get(node, ()), picture)
        return []

    def _duration(self) -> float:
        (began, heard_begin), (ended, heard_end) = self._began, self._ended
        if began is not None and ended is not None:
            return max(0.0, round(ended - began, 3))
        return max(0.0, heard_end - heard_begin)
