"""Draws workflows in a test, most of them in UI format."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import Any

from orchestrator.catalog.checks.node_facts import NodeFacts
from orchestrator.catalog.import_export import ImportedModel, import_workflow
from tests.support.drafts import FACTS

TODAY = date(2026, 7, 1)


def import_pinned(data: Any, *, id: str, facts: NodeFacts = FACTS) -> ImportedModel:
    """Import a workflow at a fixed day and ComfyUI version."""
    return import_workflow(data, id=id, facts=facts, today=TODAY, comfyui_version="0.33.0")


def imported(data: Any, id: str = "drawn") -> ImportedModel:
    return import_pinned(data, id=id)


def parameters(result: ImportedModel) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(result.manifest)["parameters"]
    return found


def api(**nodes: Any) -> dict[str, Any]:
    """An API-format graph of nodes by id: class, title and inputs."""
    return {
        id: {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}
        for id, (class_type, title, inputs) in nodes.items()
    }


def drawn(**nodes: Any) -> dict[str, Any]:
    """A whole text-to-image graph in API format, with `nodes` added or put in place of its own."""
    sampler: dict[str, Any] = {
        "model": ["model", 0],
        "positive": ["text", 0],
        "negative": ["text", 0],
        "latent_image": ["latent", 0],
    }
    sampler |= {"seed": 1, "steps": 20, "cfg": 7.0, "denoise": 1.0}
    sampler |= {"sampler_name": "euler", "scheduler": "simple"}
    return api(
        **{
            "model": ("CheckpointLoaderSimple", "", {"ckpt_name": "base.safetensors"}),
            "text": ("CLIPTextEncode", "", {"text": "a fox", "clip": ["model", 1]}),
            "latent": ("EmptyLatentImage", "", {"width": 1024, "height": 768, "batch_size": 1}),
            "sampler": ("KSampler", "", sampler),
            "decode": ("VAEDecode", "", {"samples": ["sampler", 0], "vae": ["model", 2]}),
            "save": ("SaveImage", "", {"images": ["decode", 0], "filename_prefix": "x"}),
        }
        | nodes
    )


def widget(name: str, type: str = "STRING", link: int | None = None) -> dict[str, Any]:
    return {"name": name, "type": type, "link": link, "widget": {"name": name}}


def socket(name: str, type: str, link: int | None = None) -> dict[str, Any]:
    return {"name": name, "type": type, "link": link}


def node(id: int, type: str, **fields: Any) -> dict[str, Any]:
    outputs = [{"name": kind, "type": kind, "links": []} for kind in fields.pop("gives", [])]
    return {"id": id, "type": type, "mode": 0, "inputs": [], "outputs": outputs, "properties": {}} | fields


def workflow(*nodes: dict[str, Any], links: list[Any], **fields: Any) -> dict[str, Any]:
    return {"version": 0.4, "nodes": list(nodes), "links": links, "extra": {}} | fields


def save(id: int, link: int) -> dict[str, Any]:
    return node(id, "SaveImage", inputs=[socket("images", "IMAGE", link)], widgets_values=["ComfyUI"])


def image(id: int, color: int = 0) -> dict[str, Any]:
    return node(id, "EmptyImage", gives=["IMAGE"], widgets_values=[64, 64, 1, color])


def invert(id: int, link: int, **fields: Any) -> dict[str, Any]:
    return node(id, "ImageInvert", inputs=[socket("image", "IMAGE", link)], gives=["IMAGE"], **fields)


def sdxl() -> dict[str, Any]:
    """A whole text-to-image workflow as the frontend saves it."""
    text = [socket("clip", "CLIP", 2), widget("text")]
    sampler = [
        socket("model", "MODEL", 1),
        socket("positive", "CONDITIONING", 4),
        socket("negative", "CONDITIONING", 5),
        socket("latent_image", "LATENT", 6),
    ]
    models = [{"name": "base.safetensors", "url": "https://weights.example/base.safetensors?download=true"}]
    return workflow(
        node(
            4,
            "CheckpointLoaderSimple",
            gives=["MODEL", "CLIP", "VAE"],
            widgets_values=["base.safetensors"],
            properties={"models": models, "cnr_id": "comfy-core"},
        ),
        node(
            6, "CLIPTextEncode", inputs=text, gives=["CONDITIONING"], widgets_values=["a fox {a|b} {{ 1 }}"]
        ),
        node(
            7,
            "CLIPTextEncode",
            inputs=[socket("clip", "CLIP", 3), widget("text")],
            gives=["CONDITIONING"],
            widgets_values=["blurry"],
        ),
        node(5, "EmptyLatentImage", gives=["LATENT"], widgets_values=[1024, 768, 1]),
        node(
            3,
            "KSampler",
            inputs=sampler,
            gives=["LATENT"],
            widgets_values=[42, "randomize", 25.0, 7, "dpmpp_2m", "karras", 1],
        ),
        node(
            8,
            "VAEDecode",
            inputs=[socket("samples", "LATENT", 7), socket("vae", "VAE", 8)],
            gives=["IMAGE"],
        ),
        save(9, 9),
        node(10, "Note", widgets_values=["Read me"]),
        links=[
            [1, 4, 0, 3, 0, "MODEL"],
            [2, 4, 1, 6, 0, "CLIP"],
            [3, 4, 1, 7, 0, "CLIP"],
            [4, 6, 0, 3, 1, "CONDITIONING"],
            [5, 7, 0, 3, 2, "CONDITIONING"],
            [6, 5, 0, 3, 3, "LATENT"],
            [7, 3, 0, 8, 0, "LATENT"],
            [8, 4, 2, 8, 1, "VAE"],
            [9, 8, 0, 9, 0, "IMAGE"],
        ],
    )
