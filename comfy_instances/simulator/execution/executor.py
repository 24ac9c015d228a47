"""Runs one prompt after the other: what is needed, in order, unless it is cached."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from PIL import Image as Pictures

from comfy_instances.simulator.execution.cache import Cache, Entry, signatures
from comfy_instances.simulator.execution.device import Device, Interrupted, OutOfMemoryError
from comfy_instances.simulator.execution.execution_order import Order, is_link
from comfy_instances.simulator.execution.progress import Throttle
from comfy_instances.simulator.execution.prompt_events import Course, Wire
from comfy_instances.simulator.execution.prompt_queue import Outcome, Prompt
from comfy_instances.simulator.faults import Fault
from comfy_instances.simulator.nodes import CHOOSERS, perform
from comfy_instances.simulator.nodes.call import Call, Shown
from comfy_instances.simulator.nodes.checking import ContentRefused
from comfy_instances.simulator.nodes.files.loading import file_state
from comfy_instances.simulator.nodes.models.training import TAKES_LISTS
from comfy_instances.simulator.options import Folders
from comfy_instances.simulator.validation.input_specs import nest, unfold
from comfy_instances.simulator.validation.validation import FILE_INPUTS

log = logging.getLogger(__name__)

#: Nodes that run again even if nothing has changed.
NEVER_CACHED = frozenset({"SaveImageWebsocket", "WebcamCapture"})


@dataclass(slots=True)
class Executor:
    """What outlives a prompt: the device and the cache. To be used from one thread."""

    facts: Mapping[str, Any]
    folders: Folders
    device: Device
    wire: Wire
    #: Whether samplers show unfinished work where the prompt does not say.
    previews: bool
    cache: Cache = field(default_factory=Cache)

    def run(self, prompt: Prompt, fault: Fault | None) -> Outcome:
        """To its end, good or bad."""
        run = _Run(self, prompt, fault)
        outcome = run.go()
        self.cache.keep(run.signatures.values())
        return outcome

    def shows_previews(self, prompt: Prompt) -> bool:
        method = prompt.extra_data.get("preview_method") or "default"
        return self.previews if method == "default" else method != "none"

    def state(self, node_id: str, node: Mapping[str, Any]) -> Any:
        """What a node's result depends on beside its inputs."""
        class_type = node["class_type"]
        if class_type in NEVER_CACHED:
            return uuid4().hex
        if class_type in FILE_INPUTS:
            try:
                return file_state(self.folders, class_type, node["inputs"][FILE_INPUTS[class_type][0]])
            except (OSError, LookupError, TypeError, AttributeError, ValueError):
                return uuid4().hex
        hidden = self.facts[class_type]["input"].get("hidden", {})
        return node_id if "unique_id" in hidden else False


class _Run:
    """One prompt under way."""

    def __init__(self, executor: Executor, prompt: Prompt, fault: Fault | None) -> None:
        self.executor = executor
        self.prompt = prompt
        self.fault = fault
        self.graph = prompt.graph
        self.course = Course(prompt, executor.wire)
        self.signatures = signatures(self.graph, lambda node_id: executor.state(node_id, self.graph[node_id]))
        found = {node_id: executor.cache.get(key) for node_id, key in self.signatures.items()}
        #: Entries of the nodes that are cached or have run.
        self.results = {node_id: entry for node_id, entry in found.items() if entry is not None}
        self.order = Order(self.graph, self.is_output, self.is_lazy, lambda node_id: node_id in self.results)

    def go(self) -> Outcome:
        self.course.begin(cached=list(self.results))
        for node_id in self.prompt.outputs:
            self.order.add(node_id)
        return self.course.end(success=self.run_nodes())

    def run_nodes(self) -> bool:
        """Whether all went well; if not, the client knows by now."""
        while (node_id := self.order.next()) is not None:
            try:
                finished = self.run_node(node_id)
            except Interrupted:
                where: dict[str, Any] = {"node_id": node_id, "node_type": self.class_type(node_id)}
                where["executed"] = self.course.executed
                self.course.tell("execution_interrupted", broadcast=True, **where)
                return False
            except Exception as error:  # whatever a node raises is the prompt's end, not the instance's
                self.course.tell("execution_error", **self.describe(node_id, error))
                return False
            if finished:
                self.course.finish(node_id)
                self.order.done(node_id)
        return True

    def run_node(self, node_id: str) -> bool:
        """Whether it has a result now; if not, it waits for an input that it has just asked for."""
        cached = self.executor.cache.get(self.signatures[node_id])
        if cached is not None:
            self.results[node_id] = cached
            self.course.show(node_id, cached.ui)
            return True
        self.course.start(node_id)
        wanted = self.wanted_input(node_id)
        if wanted is not None:
            self.order.require(wanted, node_id)
            return False
        self.suffer(self.fault)
        entry = self.perform(node_id)
        self.results[node_id] = entry
        if entry.ui:
            self.course.show(node_id, entry.ui)
        if self.fault is not Fault.NO_OUTPUT:
            self.executor.cache.put(self.signatures[node_id], entry)
        self.course.executed.append(node_id)
        return True

    def perform(self, node_id: str) -> Entry:
        """Run the node's function once for each member of its longest input list, or for all at once."""
        self.executor.device.spend(0)
        class_type = self.class_type(node_id)
        facts = self.executor.facts[class_type]
        if self.fault is Fault.NO_OUTPUT and self.is_output(node_id):
            return Entry([], None)
        call = self.call(node_id, class_type, facts)
        inputs = self.inputs(node_id)
        if class_type in TAKES_LISTS:
            calls: list[dict[str, Any]] = [inputs]
        else:
            calls = [
                {name: items[min(index, len(items) - 1)] for name, items in inputs.items()}
                for index in range(max(map(len, inputs.values()), default=1))
            ]
        shown = [perform(call, nest(facts, values)) for values in calls]
        return Entry(_merged(shown, facts["output_is_list"]), _merged_ui(shown))

    def call(self, node_id: str, class_type: str, facts: Mapping[str, Any]) -> Call:
        throttle = Throttle()

        def report(value: float, total: float, picture: Pictures.Image | None, image_type: str) -> None:
            if not throttle.passes(value, total, shown=picture is not None):
                return
            self.course.step(node_id, (value, total), picture, image_type)

        return Call(
            node_id=node_id,
            class_type=class_type,
            facts=facts,
            prompt=self.graph,
            extra_pnginfo=self.prompt.extra_data.get("extra_pnginfo") or {},
            folders=self.executor.folders,
            device=self.executor.device,
            previews=self.executor.shows_previews(self.prompt),
            report=report,
            tell=lambda text: self.executor.wire.send_text(text, node_id),
        )

    def inputs(self, node_id: str) -> dict[str, list[Any]]:
        """Name -> list of values, for all inputs that the class knows and that have a value by now."""
        node = self.graph[node_id]
        known = unfold(self.executor.facts[node["class_type"]], node["inputs"])
        values: dict[str, list[Any]] = {}
        for name in known.keys() & node["inputs"].keys():
            value = node["inputs"][name]
            if not is_link(value):
                values[name] = [value]
            elif value[0] in self.results:
                values[name] = self.results[value[0]].outputs[int(value[1])]
        return values

    def wanted_input(self, node_id: str) -> str | None:
        """The node behind a lazy input that is needed and not there."""
        choose = CHOOSERS.get(self.class_type(node_id))
        if choose is None:
            return None
        literals = {name: items[0] for name, items in self.inputs(node_id).items() if items}
        value = self.graph[node_id]["inputs"].get(choose(literals))
        return value[0] if is_link(value) and value[0] not in self.results else None

    def suffer(self, fault: Fault | None) -> None:
        """What was asked for through the faults, at the first node that runs."""
        if self.course.executed:
            return
        match fault:
            case Fault.CRASH:
                log.error("crashing, as asked for")
                os._exit(1)
            case Fault.HANG:
                log.warning("hanging, as asked for")
                threading.Event().wait()
            case Fault.DROP_SOCKET:
                self.executor.wire.drop(self.prompt.client_id)
            case Fault.OUT_OF_MEMORY:
                raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB (simulated fault).")
            case Fault.NODE_ERROR:
                raise RuntimeError("simulated fault")
            case Fault.REFUSE:
                raise ContentRefused("nsfw 0.99 (simulated fault)")

    def describe(self, node_id: str, error: Exception) -> dict[str, Any]:
        """The body of `execution_error`. Out of memory, all models are unloaded."""
        tips = ""
        if isinstance(error, OutOfMemoryError):
            self.executor.device.unload()
            tips = "This error means you ran out of memory on your GPU."
        log.error("node %s (%s) failed: %s", node_id, self.class_type(node_id), type(error).__name__)
        values = self.inputs(node_id)
        return {
            "node_id": node_id,
            "node_type": self.class_type(node_id),
            "executed": self.course.executed,
            "exception_message": f"{error}\n{tips}",
            "exception_type": _type_name(error),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {name: [_shown(item) for item in items] for name, items in values.items()},
            "current_outputs": list(self.graph),
        }

    def class_type(self, node_id: str) -> str:
        return str(self.graph[node_id]["class_type"])

    def is_output(self, node_id: str) -> bool:
        return bool(self.executor.facts[self.class_type(node_id)]["output_node"])

    def is_lazy(self, node_id: str, name: str) -> bool:
        if self.class_type(node_id) not in CHOOSERS:
            return False
        inputs = self.executor.facts[self.class_type(node_id)]["input"]
        spec = {**inputs.get("required", {}), **inputs.get("optional", {})}.get(name, [])
        return len(spec) > 1 and bool(spec[1].get("lazy"))


def _merged(shown: list[Shown], is_list: list[bool]) -> list[list[Any]]:
    """Per output slot the values of all calls; a slot that yields lists is flattened."""
    slots = zip(*(one.outputs for one in shown), strict=True)
    merged = []
    for values, many in zip(slots, is_list, strict=False):
        flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
        merged.append(flat if many else list(values))
    return merged


def _merged_ui(shown: list[Shown]) -> dict[str, Any] | None:
    ui: dict[str, Any] = {}
    for one in shown:
        for key, items in one.ui.items():
            ui.setdefault(key, []).extend(items)
    return ui or None


def _type_name(error: Exception) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: Any) -> Any:
    """A literal as it is, all else by its type."""
    return value if isinstance(value, str | int | float | None) else f"<{type(value).__name__}>"
