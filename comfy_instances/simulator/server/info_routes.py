"""Routes for facts about the instance, and for arming faults."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import psutil
from aiohttp import web

from comfy_instances.protocol.node_facts import RECORDED_VERSION
from comfy_instances.simulator.faults import Fault
from comfy_instances.simulator.files import SAFETENSORS_SUFFIX, read_safetensors_metadata
from comfy_instances.simulator.instance import SimulatedInstance
from comfy_instances.simulator.options import MODEL_FOLDERS
from comfy_instances.simulator.printed_log import PROCESS_LOG
from comfy_instances.simulator.server.websocket_hub import FEATURE_FLAGS


class InfoRoutes:
    def __init__(self, instance: SimulatedInstance) -> None:
        self._instance = instance

    async def root(self, request: web.Request) -> web.Response:
        return web.Response(text="A simulated ComfyUI, for tests and demonstrations.")

    async def features(self, request: web.Request) -> web.Response:
        return web.json_response(FEATURE_FLAGS)

    async def system_stats(self, request: web.Request) -> web.Response:
        """Report system and device; a device name that begins with `simulated` identifies a simulator."""
        memory = psutil.virtual_memory()
        device = self._instance.worker.device
        sizes = {"vram_total": device.total_bytes, "vram_free": device.free_bytes}
        torch = {"torch_vram_total": device.total_bytes - device.free_bytes, "torch_vram_free": 0}
        name = f"simulated GPU with {device.total_bytes / 1024**3:g} GiB"
        system = {
            "os": sys.platform,
            "ram_total": memory.total,
            "ram_free": memory.available,
            "comfyui_version": RECORDED_VERSION,
            "required_frontend_version": None,
            "installed_templates_version": None,
            "required_templates_version": None,
            "comfy_package_versions": [],
            "python_version": sys.version,
            "pytorch_version": "simulated",
            "embedded_python": False,
            "deploy_environment": "local",
            "argv": sys.argv,
        }
        row = {"name": name, "type": "cuda", "index": 0, **sizes, **torch}
        return web.json_response({"system": system, "devices": [row]})

    async def raw_log(self, request: web.Request) -> web.Response:
        size = {"cols": 80, "rows": 24}
        return web.json_response({"entries": PROCESS_LOG.entries(), "size": size})

    async def object_info(self, request: web.Request) -> web.Response:
        facts = self._instance.facts
        return web.json_response({name: _format_node_info(name, facts[name]) for name in facts})

    async def node_info(self, request: web.Request) -> web.Response:
        name = request.match_info["node_class"]
        facts = self._instance.facts.get(name)
        return web.json_response({name: _format_node_info(name, facts)} if facts else {})

    async def model_folders(self, request: web.Request) -> web.Response:
        return web.json_response(MODEL_FOLDERS)

    async def models(self, request: web.Request) -> web.Response:
        if request.match_info["folder"] not in MODEL_FOLDERS:
            return web.Response(status=404)
        names = self._instance.options.folders.list_model_files(request.match_info["folder"])
        return web.json_response(names)

    async def view_metadata(self, request: web.Request) -> web.Response:
        """Return the metadata in the header of a safetensors file; 404 if there is no file or no metadata."""
        name = request.query.get("filename", "")
        folders = self._instance.options.folders
        file = folders.find_model_file(request.match_info["folder"], name)
        if file is None or not name.endswith(SAFETENSORS_SUFFIX):
            return web.Response(status=404)
        try:
            metadata = await asyncio.to_thread(read_safetensors_metadata, file)
        except (OSError, ValueError):
            return web.Response(status=500)
        return web.Response(status=404) if metadata is None else web.json_response(metadata)

    async def embeddings(self, request: web.Request) -> web.Response:
        names = self._instance.options.folders.list_model_files("embeddings")
        return web.json_response([name.rsplit(".", 1)[0] for name in names])

    async def extensions(self, request: web.Request) -> web.Response:
        return web.json_response([])

    async def list_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._instance.faults.counts)

    async def arm_fault(self, request: web.Request) -> web.Response:
        """Arm a fault: `{"kind": KIND, "count": 1}` affects the next `count` prompts; 0 disarms it."""
        body = await request.json()
        kind, count = (body.get("kind"), body.get("count", 1)) if isinstance(body, dict) else (None, 0)
        if kind not in {fault.value for fault in Fault} or type(count) is not int or count < 0:
            known = ", ".join(Fault)
            error = f"kind must be one of {known}; count must be a whole number >= 0 (got {body!r:.200})"
            return web.json_response({"error": error}, status=400)
        self._instance.faults.arm(Fault(kind), count)
        return web.json_response(self._instance.faults.counts)


def _format_node_info(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recorded facts, with empty values for missing fields."""
    blanks = {
        "name": name,
        "display_name": name,
        "description": "",
        "python_module": "nodes",
        "is_input_list": False,
        "has_intermediate_output": False,
        "search_aliases": [],
    }
    return {**blanks, **facts}
