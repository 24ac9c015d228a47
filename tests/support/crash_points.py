"""`pixelfactory up` that kills itself before or after a step: a transaction, or a call of another server.

The step is read from a file at each call, so that a running service can be armed between two jobs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

#: Steps of the walks in docs/architecture.md, by the method that makes the transaction or the call.
STEPS: dict[str, tuple[str, str]] = {
    "accept the job": ("orchestrator.store.sqlite.store:SqliteStore", "add_job"),
    "start the attempt": ("orchestrator.store.sqlite.store:SqliteStore", "start_attempt"),
    "upload the input": ("comfy_instances.session.client:ComfyUIClient", "upload_input"),
    "fetch the input": ("comfy_instances.session.deliveries:Deliveries", "fetch_inputs"),
    "follow the results": ("comfy_instances.session.deliveries:Deliveries", "_follow"),
    "forget the prompt": ("comfy_instances.session.deliveries:Deliveries", "forget"),
    "submit the prompt": ("comfy_instances.session.client:ComfyUIClient", "submit"),
    "fetch the output": ("comfy_instances.session.client:ComfyUIClient", "fetch_file"),
    "store the object": ("orchestrator.storage.object_store:ObjectStore", "put"),
    "finish the shard": ("orchestrator.store.sqlite.store:SqliteStore", "finish_shard"),
    "delete the history": ("comfy_instances.session.client:ComfyUIClient", "delete_history"),
    "post the webhook": ("orchestrator.webhooks.sender:WebhookSender", "_post_message"),
    "record the delivery": ("orchestrator.store.sqlite.store:SqliteStore", "record_delivery_attempt"),
    "cancel the job": ("orchestrator.store.sqlite.store:SqliteStore", "cancel_job"),
    "interrupt the prompt": ("comfy_instances.session.client:ComfyUIClient", "interrupt"),
    "end the attempt": ("orchestrator.store.sqlite.store:SqliteStore", "end_attempt"),
    "fail the job": ("orchestrator.store.sqlite.store:SqliteStore", "fail_job"),
    "remove the job": ("orchestrator.store.sqlite.store:SqliteStore", "remove_job"),
    "delete the object": ("orchestrator.storage.object_store:ObjectStore", "delete"),
}


def run_armed(
    armed_file: Path, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path
) -> None:
    """Run `pixelfactory up` in this process. `armed_file` holds `before STEP`, `after STEP` or nothing."""
    from importlib import import_module

    from orchestrator.cli.main import main

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(environment)
    for step, (place, method) in STEPS.items():
        module, name = place.split(":")
        owner = getattr(import_module(module), name)
        setattr(owner, method, _with_crash_points(step, getattr(owner, method), armed_file))
    sys.argv = ["pixelfactory", "up", *arguments]
    main()


def _with_crash_points(step: str, method: Callable[..., Any], armed_file: Path) -> Callable[..., Any]:
    def crash_if_armed(moment: str) -> None:
        if armed_file.exists() and armed_file.read_text() == f"{moment} {step}":
            os.kill(os.getpid(), signal.SIGKILL)

    @wraps(method)
    async def stepped(*arguments: Any, **named: Any) -> Any:
        crash_if_armed("before")
        result = await method(*arguments, **named)
        crash_if_armed("after")
        return result

    return stepped
