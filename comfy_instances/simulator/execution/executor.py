"""Executes prompts one after the other: the required nodes, in order, except cached ones."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from PIL import Image as PILImage

from comfy_instances.protocol.delivery import PREVIEWS_KEY
from comfy_instances.simulator.deliveries import SimulatedDeliveries, SimulatedFile
from comfy_instances.simulator.execution.cache import CachedResult, ResultCache, compute_signatures
from comfy_instances.simulator.execution.device import (
    OutOfMemoryError,
    ProcessingInterrupted,
    SimulatedDevice,
)
from comfy_instances.simulator.execution.execution_order import ExecutionOrder, is_link
from comfy_instances.simulator.execution.progress import ProgressThrottle
from comfy_instances.simulator.execution.prompt_events import EventSink, PromptEvents
from comfy_instances.simulator.execution.prompt_queue import PromptResult, QueuedPrompt
from comfy_instances.simulator.faults import Fault
from comfy_instances.simulator.nodes import LAZY_INPUT_SELECTORS, run_node
from comfy_instances.simulator.nodes.call import NodeContext, NodeResult
from comfy_instances.simulator.nodes.checking import ContentRefused
from comfy_instances.simulator.nodes.files.loading import compute_file_token
from comfy_instances.simulator.nodes.models.training import LIST_INPUT_NODE_CLASSES
from comfy_instances.simulator.options import InstanceFolders
from comfy_instances.simulator.validation.input_specs import expand_input_specs, nest_inputs
from comfy_instances.simulator.validation.validation import FILE_INPUTS

log = logging.getLogger(__name__)

#: Nodes that run again even with unchanged inputs.
UNCACHED_NODE_CLASSES = frozenset({"SaveImageWebsocket", "WebcamCapture"})
#: Nodes that run before the one that the fault HOLD_NODE holds.
NODES_BEFORE_HOLD = 2


@dataclass(slots=True)
class Executor:
    """The state that outlives a prompt: device and cache. Use it from one thread."""

    node_facts: Mapping[str, Any]
    folders: InstanceFolders
    device: SimulatedDevice
    event_sink: EventSink
    #: Whether samplers send previews if the prompt does not choose a preview method.
    previews_enabled: bool
    #: What our node pack delivers; None without the pack.
    deliveries: SimulatedDeliveries | None = None
    cache: ResultCache = field(default_factory=ResultCache)

    def execute_prompt(self, prompt: QueuedPrompt, fault: Fault | None) -> PromptResult:
        """Run a prompt to its end, successful or not."""
        run = _PromptExecution(self, prompt, fault)
        outcome = run.execute()
        self.cache.retain(run.signatures.values())
        return outcome

    def should_send_previews(self, prompt: QueuedPrompt) -> bool:
        """Return whether samplers send previews while this prompt runs."""
        method = prompt.extra_data.get("preview_method") or "default"
        return self.previews_enabled if method == "default" else method != "none"

    def is_listening(self, prompt: QueuedPrompt) -> bool:
        """Return whether a prompt sends its previews; our node pack switches those of a service."""
        at_start = bool(prompt.extra_data.get(PREVIEWS_KEY, True))
        if self.deliveries is None or PREVIEWS_KEY not in prompt.extra_data:
            return True
        return self.deliveries.listening.get(prompt.prompt_id, at_start)

    def compute_change_token(self, node_id: str, node: Mapping[str, Any]) -> Any:
        """Return what a node's result depends on besides its inputs, such as the content of a file."""
        class_type = node["class_type"]
        if class_type in UNCACHED_NODE_CLASSES:
            return uuid4().hex
        if class_type in FILE_INPUTS:
            try:
                return compute_file_token(
                    self.folders, class_type, node["inputs"][FILE_INPUTS[class_type][0]]
                )
            except (OSError, LookupError, TypeError, AttributeError, ValueError):
                return uuid4().hex
        hidden = self.node_facts[class_type]["input"].get("hidden", {})
        return node_id if "unique_id" in hidden else False


class _PromptExecution:
    """The execution of one prompt."""

    def __init__(self, executor: Executor, prompt: QueuedPrompt, fault: Fault | None) -> None:
        self.executor = executor
        self.prompt = prompt
        self.fault = fault
        self.graph = prompt.graph
        self.events = PromptEvents(prompt, executor.event_sink)
        self.signatures = compute_signatures(
            self.graph, lambda node_id: executor.compute_change_token(node_id, self.graph[node_id])
        )
        found = {node_id: executor.cache.get(key) for node_id, key in self.signatures.items()}
        #: Results of the nodes that are cached or have run.
        self.results = {node_id: entry for node_id, entry in found.items() if entry is not None}
        self.execution_order = ExecutionOrder(
            self.graph, self.is_output_node, self.is_lazy_input, lambda node_id: node_id in self.results
        )

    def execute(self) -> PromptResult:
        """Run the prompt to its end."""
        self.events.start_prompt(cached=list(self.results))
        for node_id in self.prompt.outputs:
            self.execution_order.add_node(node_id)
        return self.events.finish_prompt(success=self.execute_nodes())

    def execute_nodes(self) -> bool:
        """Run all nodes. Return False after an error or an interrupt, which is already published."""
        while (node_id := self.execution_order.next_node()) is not None:
            try:
                finished = self.execute_node(node_id)
            except ProcessingInterrupted:
                where: dict[str, Any] = {"node_id": node_id, "node_type": self.class_type(node_id)}
                where["executed"] = self.events.executed
                self.events.publish("execution_interrupted", broadcast=True, **where)
                return False
            except Exception as error:  # an exception in a node ends the prompt, not the instance
                self.events.publish("execution_error", **self.format_execution_error(node_id, error))
                return False
            if finished:
                self.events.finish_node(node_id)
                self.execution_order.complete_node(node_id)
        return True

    def execute_node(self, node_id: str) -> bool:
        """Run one node. Return False if it must wait for a lazy input that is computed first."""
        cached = self.executor.cache.get(self.signatures[node_id])
        if cached is not None:
            self.results[node_id] = cached
            self.events.report_output(node_id, cached.ui)
            return True
        self.events.start_node(node_id)
        wanted = self.find_missing_lazy_input(node_id)
        if wanted is not None:
            self.execution_order.add_dependency(wanted, node_id)
            return False
        self.inject_fault(self.fault)
        entry = self.call_node_function(node_id)
        self.results[node_id] = entry
        if entry.ui:
            self.events.report_output(node_id, entry.ui)
        if self.fault is not Fault.NO_OUTPUT:
            self.executor.cache.put(self.signatures[node_id], entry)
        self.events.executed.append(node_id)
        return True

    def call_node_function(self, node_id: str) -> CachedResult:
        """Run the node's function once per member of its longest input list, or once for all members."""
        self.executor.device.simulate_work(0)
        class_type = self.class_type(node_id)
        facts = self.executor.node_facts[class_type]
        if self.fault is Fault.NO_OUTPUT and self.is_output_node(node_id):
            return CachedResult([], None)
        call = self.make_node_context(node_id, class_type, facts)
        inputs = self.resolve_inputs(node_id)
        if class_type in LIST_INPUT_NODE_CLASSES:
            calls: list[dict[str, Any]] = [inputs]
        else:
            calls = [
                {name: items[min(index, len(items) - 1)] for name, items in inputs.items()}
                for index in range(max(map(len, inputs.values()), default=1))
            ]
        shown = [run_node(call, nest_inputs(facts, values)) for values in calls]
        return CachedResult(_merge_outputs(shown, facts["output_is_list"]), _merge_ui(shown))

    def make_node_context(self, node_id: str, class_type: str, node_facts: Mapping[str, Any]) -> NodeContext:
        throttle = ProgressThrottle()

        def report_progress(
            value: float, total: float, preview: PILImage.Image | None, image_type: str
        ) -> None:
            if image_type == "JPEG" and not self.executor.is_listening(self.prompt):
                preview = None
            if not throttle.should_send(value, total, has_preview=preview is not None):
                return
            self.events.report_progress(node_id, (value, total), preview, image_type)
            if self.fault is Fault.HOLD_STEP:
                self.executor.device.wait_for_interrupt()

        return NodeContext(
            node_id=node_id,
            class_type=class_type,
            node_facts=node_facts,
            prompt=self.graph,
            extra_pnginfo=self.prompt.extra_data.get("extra_pnginfo") or {},
            folders=self.executor.folders,
            device=self.executor.device,
            previews_enabled=self.executor.should_send_previews(self.prompt),
            report_progress=report_progress,
            send_text=lambda text: self.executor.event_sink.send_text(text, node_id),
            all_facts=self.executor.node_facts,
            deliver=self.deliver,
        )

    def deliver(self, files: Sequence[SimulatedFile]) -> None:
        """Hand files of this prompt over to our node pack."""
        assert self.executor.deliveries is not None
        self.executor.deliveries.add(self.prompt.prompt_id, self.prompt.client_id, files)

    def resolve_inputs(self, node_id: str) -> dict[str, list[Any]]:
        """Return the values of all inputs that the class knows and that are available, by name."""
        node = self.graph[node_id]
        known = expand_input_specs(self.executor.node_facts[node["class_type"]], node["inputs"])
        values: dict[str, list[Any]] = {}
        for name in known.keys() & node["inputs"].keys():
            value = node["inputs"][name]
            if not is_link(value):
                values[name] = [value]
            elif value[0] in self.results:
                values[name] = self.results[value[0]].outputs[int(value[1])]
        return values

    def find_missing_lazy_input(self, node_id: str) -> str | None:
        """Return the node that must run first to provide a lazy input; None if no such input is missing."""
        choose = LAZY_INPUT_SELECTORS.get(self.class_type(node_id))
        if choose is None:
            return None
        literals = {name: items[0] for name, items in self.resolve_inputs(node_id).items() if items}
        value = self.graph[node_id]["inputs"].get(choose(literals))
        return value[0] if is_link(value) and value[0] not in self.results else None

    def inject_fault(self, fault: Fault | None) -> None:
        """Carry out a fault. All but HOLD_NODE take effect at the first node that runs."""
        if fault is Fault.HOLD_NODE and len(self.events.executed) == NODES_BEFORE_HOLD:
            self.executor.device.wait_for_interrupt()
        if self.events.executed:
            return
        match fault:
            case Fault.CRASH:
                log.error("fault crash: the process exits")
                os._exit(1)
            case Fault.HANG:
                log.warning("fault hang: node never ends")
                threading.Event().wait()
            case Fault.DROP_SOCKET:
                self.executor.event_sink.disconnect(self.prompt.client_id)
            case Fault.OUT_OF_MEMORY:
                raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB (simulated fault).")
            case Fault.NODE_ERROR:
                raise RuntimeError("simulated fault")
            case Fault.REFUSE:
                raise ContentRefused("nsfw 0.99 (simulated fault)")

    def format_execution_error(self, node_id: str, error: Exception) -> dict[str, Any]:
        """Return the body of `execution_error`. After an out-of-memory error, unload all models."""
        tips = ""
        if isinstance(error, OutOfMemoryError):
            self.executor.device.unload_weights()
            tips = "This error means you ran out of memory on your GPU."
        log.error("node %s (%s) failed: %s", node_id, self.class_type(node_id), type(error).__name__)
        values = self.resolve_inputs(node_id)
        return {
            "node_id": node_id,
            "node_type": self.class_type(node_id),
            "executed": self.events.executed,
            "exception_message": f"{error}\n{tips}",
            "exception_type": _exception_type(error),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {
                name: [_format_input_value(item) for item in items] for name, items in values.items()
            },
            "current_outputs": list(self.graph),
        }

    def class_type(self, node_id: str) -> str:
        return str(self.graph[node_id]["class_type"])

    def is_output_node(self, node_id: str) -> bool:
        return bool(self.executor.node_facts[self.class_type(node_id)]["output_node"])

    def is_lazy_input(self, node_id: str, input_name: str) -> bool:
        if self.class_type(node_id) not in LAZY_INPUT_SELECTORS:
            return False
        inputs = self.executor.node_facts[self.class_type(node_id)]["input"]
        spec = {**inputs.get("required", {}), **inputs.get("optional", {})}.get(input_name, [])
        return len(spec) > 1 and bool(spec[1].get("lazy"))


def _merge_outputs(results: list[NodeResult], is_list: list[bool]) -> list[list[Any]]:
    """Return the values of all calls per output slot; the values of list slots are flattened."""
    slots = zip(*(one.outputs for one in results), strict=True)
    merged = []
    for values, many in zip(slots, is_list, strict=False):
        flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
        merged.append(flat if many else list(values))
    return merged


def _merge_ui(results: list[NodeResult]) -> dict[str, Any] | None:
    ui: dict[str, Any] = {}
    for one in results:
        for key, items in one.ui.items():
            ui.setdefault(key, []).extend(items)
    return ui or None


def _exception_type(error: Exception) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _format_input_value(value: Any) -> Any:
    """Return a literal unchanged, any other value as its type's name."""
    return value if isinstance(value, str | int | float | None) else f"<{type(value).__name__}>"
