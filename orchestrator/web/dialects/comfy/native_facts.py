"""ComfyUI's own API: the node classes that callers' graphs may hold, and the weights that instances have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web
from pydantic import RootModel

from orchestrator.errors import NotFound
from orchestrator.own_graphs.policy import GraphPolicy
from orchestrator.own_graphs.shown_bounds import with_bounds
from orchestrator.own_graphs.values import UPLOADED_PREFIX
from orchestrator.web.dialects.comfy.bodies import ComfyUiBody, ComfyUiList
from orchestrator.web.dialects.comfy.graph_jobs import authenticate_graphs
from orchestrator.web.dialects.comfy.native_routes import both
from orchestrator.web.openapi.operation import openapi_operation

_TAG = "comfy"
#: Fields of a class that ComfyUI reports and recorded facts leave out.
_EXTRA = {"display_name": "", "description": "", "python_module": "nodes", "deprecated": False}
#: Folders of weights, and class and input whose choices are the files in them.
WEIGHT_FOLDERS: Mapping[str, tuple[str, str]] = {
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name"),
    "loras": ("LoraLoader", "lora_name"),
    "vae": ("VAELoader", "vae_name"),
    "text_encoders": ("CLIPLoader", "clip_name"),
    "diffusion_models": ("UNETLoader", "unet_name"),
    "clip_vision": ("CLIPVisionLoader", "clip_name"),
    "style_models": ("StyleModelLoader", "style_model_name"),
    "controlnet": ("ControlNetLoader", "control_net_name"),
    "gligen": ("GLIGENLoader", "gligen_name"),
    "upscale_models": ("UpscaleModelLoader", "model_name"),
    "latent_upscale_models": ("LatentUpscaleModelLoader", "model_name"),
    "hypernetworks": ("HypernetworkLoader", "hypernetwork_name"),
    "photomaker": ("PhotoMakerLoader", "photomaker_model_name"),
    "model_patches": ("ModelPatchLoader", "name"),
    "audio_encoders": ("AudioEncoderLoader", "audio_encoder_name"),
    "background_removal": ("LoadBackgroundRemovalModel", "bg_removal_name"),
    "frame_interpolation": ("FrameInterpolationModelLoader", "model_name"),
}
#: Names of folders that clients still use.
_FORMER_FOLDERS = {"clip": "text_encoders", "unet": "diffusion_models"}
#: Choices of loaders that are no files.
_NO_FILES = frozenset({"pixel_space"})


class WeightFolderList(RootModel[list[dict[str, Any]]]):
    """A list of objects, as ComfyUI's newer model lists have them."""


class NodeFactSource(Protocol):
    """What instances say of node classes."""

    async def node_facts(self) -> Mapping[str, Any] | None:
        """Return the facts of an instance that is ready, by class; None if they are not known."""
        ...


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """What callers may know of node classes: those that the policy allows, and that an instance has."""

    policy: GraphPolicy
    #: Facts of an instance; None while they are not known.
    live: Mapping[str, Any] | None

    def describe_all(self) -> dict[str, Any]:
        """Return the facts of all classes by name."""
        found = {name: self.describe(name) for name in self.policy.facts}
        return {name: entry for name, entry in found.items() if entry is not None}

    def describe(self, name: str) -> dict[str, Any] | None:
        """Return the facts of an allowed class; None for others, and for those that no instance has."""
        if not self.policy.is_allowed(name) or (self.live is not None and name not in self.live):
            return None
        entry: Mapping[str, Any] = self.policy.facts[name] if self.live is None else self.live[name]
        inputs = with_bounds(name, _public_inputs(entry["input"]), self.policy.limits)
        return {**_EXTRA, "name": name, "output_node": False, **entry, "input": inputs}

    def weights_in(self, folder: str) -> list[str] | None:
        """Return the files of a folder of weights; None for an unknown one."""
        inputs = WEIGHT_FOLDERS.get(_FORMER_FOLDERS.get(folder, folder))
        if inputs is None:
            return [] if folder == "embeddings" else None
        class_type, name = inputs
        sections = (self.describe(class_type) or {}).get("input", {})
        specs = [sections[section][name] for section in sections if name in (sections[section] or {})]
        return sorted({file for spec in specs for file in _choices(spec) if file not in _NO_FILES})


class NativeFactRoutes:
    """List node classes and weights."""

    def __init__(self, policy: GraphPolicy, instances: NodeFactSource) -> None:
        self._policy = policy
        self._instances = instances

    def routes(self) -> list[web.RouteDef]:
        return [
            *both(web.get, "/object_info", self.list_classes),
            *both(web.get, "/object_info/{name}", self.get_class),
            *both(web.get, "/models", self.list_folders),
            *both(web.get, "/models/{folder}", self.list_weights),
            *both(web.get, "/experiment/models", self.list_folder_objects),
            *both(web.get, "/experiment/models/{folder}", self.list_weight_objects),
        ]

    @openapi_operation(response=ComfyUiBody, response_description="Facts by class.", tag=_TAG)
    async def list_classes(self, request: web.Request) -> web.Response:
        """List the node classes that graphs of yours may hold, with the weights that there are."""
        await authenticate_graphs(request)
        facts = await self._facts()
        text = await asyncio.to_thread(lambda: json.dumps(facts.describe_all()))
        return web.Response(text=text, content_type="application/json")

    @openapi_operation(response=ComfyUiBody, response_description="Facts of the class.", tag=_TAG)
    async def get_class(self, request: web.Request) -> web.Response:
        """Get the facts of a node class."""
        await authenticate_graphs(request)
        name = request.match_info["name"]
        found = (await self._facts()).describe(name)
        return web.json_response({} if found is None else {name: found})

    @openapi_operation(response=ComfyUiList, response_description="Names of folders.", tag=_TAG)
    async def list_folders(self, request: web.Request) -> web.Response:
        """List the folders of weights that loaders of graphs can name files of."""
        await authenticate_graphs(request)
        return web.json_response([*WEIGHT_FOLDERS, "embeddings"])

    @openapi_operation(response=ComfyUiList, response_description="Names of files.", tag=_TAG)
    async def list_weights(self, request: web.Request) -> web.Response:
        """List the files of a folder of weights."""
        return web.json_response(await self._weights(request))

    @openapi_operation(
        response=WeightFolderList, response_description="`name` and `folders` of each.", tag=_TAG
    )
    async def list_folder_objects(self, request: web.Request) -> web.Response:
        """List the folders of weights as objects; where they lie on the instances is not shown."""
        await authenticate_graphs(request)
        return web.json_response([{"name": name, "folders": []} for name in [*WEIGHT_FOLDERS, "embeddings"]])

    @openapi_operation(response=WeightFolderList, response_description="`name` of each file.", tag=_TAG)
    async def list_weight_objects(self, request: web.Request) -> web.Response:
        """List the files of a folder of weights as objects."""
        return web.json_response([{"name": name, "pathIndex": 0} for name in await self._weights(request)])

    async def _facts(self) -> ClassFacts:
        return ClassFacts(self._policy, await self._instances.node_facts())

    async def _weights(self, request: web.Request) -> list[str]:
        """Return the files of the folder that a request names. Raises NotFound."""
        await authenticate_graphs(request)
        folder = request.match_info["folder"]
        found = (await self._facts()).weights_in(folder)
        if found is None:
            raise NotFound(
                f"There is no folder {folder[:60]!r} of weights; GET /models lists all",
                code="folder_not_found",
            )
        return found


def _choices(spec: Any) -> list[str]:
    """Return the choices of an input, in both of ComfyUI's forms."""
    first = spec[0] if isinstance(spec, list | tuple) and spec else None
    if first == "COMBO" and len(spec) > 1 and isinstance(spec[1], Mapping):
        first = spec[1].get("options")
    return [choice for choice in first if isinstance(choice, str)] if isinstance(first, list) else []


def _public_inputs(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a class without files of callers: uploads, and LoRAs of their trainings."""
    return {
        section: {name: _public_input(spec) for name, spec in (inputs or {}).items()}
        if isinstance(inputs, Mapping)
        else inputs
        for section, inputs in sections.items()
    }


def _public_input(spec: Any) -> Any:
    if not isinstance(spec, list | tuple) or not spec:
        return spec
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
    is_upload = any(name.endswith("_upload") and options[name] for name in options)
    first = _public_choices(spec[0], is_upload) if isinstance(spec[0], list) else spec[0]
    if isinstance(options.get("options"), list):
        options = {**options, "options": _public_choices(options["options"], is_upload)}
    return [first, *([options] if len(spec) > 1 else [])]


def _public_choices(choices: list[Any], is_upload: bool) -> list[Any]:
    if is_upload:
        return []
    return [
        choice for choice in choices if not (isinstance(choice, str) and choice.startswith(UPLOADED_PREFIX))
    ]
